//! The reference model of the cache: the answers that it must give, over a `Vec` in access order.
//!
//! Model tests and the fuzzer run the same operations on both, and validate the cache after each.
//!
//! Under `Policy::S3Fifo` the reference evicts what the cache evicted, and checks that this was
//! needed and is not the entry that was just written. The order of eviction has a reference of its
//! own, [`s3_fifo`](crate::s3_fifo).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakproof::unsync::LruCache;
use leakproof::{ManualClock, Policy, RemovalCause};

/// One step. Keys are numbers, so that both a fuzzer and a generator can make them.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    Insert {
        key: u16,
        weight: u8,
    },
    InsertWithTtl {
        key: u16,
        weight: u8,
        ttl: u16,
    },
    Get(u16),
    /// Changes the weight of an entry in place.
    Update {
        key: u16,
        weight: u8,
    },
    Peek(u16),
    Compute(u16),
    Remove(u16),
    PopLru,
    PopOldest,
    /// Keeps the keys that this number plus 1 does not divide.
    Retain(u8),
    SetMaxEntries(u16),
    SetMaxWeight(u16),
    Advance(u16),
    SetBack(u16),
    Sweep,
    Clear,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_entries: usize,
    pub max_weight: u64,
    pub ttl: u64,
    pub idle_timeout: u64,
    /// The stale window. It changes no answer that the reference gives.
    pub stale: u64,
    /// Every fourth key gets a ttl from its weight.
    pub expire_after: bool,
    pub policy: Policy,
}

impl Limits {
    /// Returns `true` if the order of accesses is known. The longest idle timeout means none.
    fn keeps_recency(&self) -> bool {
        self.policy == Policy::Lru || self.idle_timeout != u64::MAX
    }

    /// Returns what the cache's `expire_after` returns.
    fn derived_ttl(&self, key: u16, weight: u8) -> Option<u64> {
        (self.expire_after && key & 3 == 0).then(|| u64::from(weight) * 10)
    }
}

struct Entry {
    key: u16,
    value: u32,
    weight: u64,
    written: u64,
    /// Its own ttl.
    ttl: Option<u64>,
    used: u64,
    /// Orders entries that were written at the same time.
    step: u32,
}

type Removal = (u16, u32, RemovalCause);

/// The reference: entries in order of access, the least recently used first.
struct Reference {
    limits: Limits,
    now: u64,
    entries: Vec<Entry>,
    removals: Vec<Removal>,
    /// The keys that the cache evicted and the reference did not yet, in this order.
    victims: VecDeque<u16>,
    hits: u64,
    misses: u64,
}

impl Reference {
    /// Returns the position of the entry to evict.
    fn victim(&mut self) -> usize {
        if self.limits.policy == Policy::Lru {
            return 0;
        }
        let key = self.victims.pop_front().expect("an eviction is needed");
        self.find(key).expect("an older entry is evicted")
    }
    fn remove_at(&mut self, at: usize, cause: RemovalCause) -> u32 {
        let entry = self.entries.remove(at);
        self.removals.push((entry.key, entry.value, cause));
        entry.value
    }

    fn expire(&mut self) {
        let (now, limits) = (self.now, self.limits);
        let cause = |entry: &Entry| {
            let (by_ttl, by_idle_timeout) = (
                entry.written + entry.ttl.unwrap_or(limits.ttl),
                entry.used.saturating_add(limits.idle_timeout),
            );
            let cause = if by_ttl <= by_idle_timeout {
                RemovalCause::Expired
            } else {
                RemovalCause::Idle
            };
            (now >= by_ttl.min(by_idle_timeout)).then_some(cause)
        };
        while let Some((at, cause)) = self
            .entries
            .iter()
            .enumerate()
            .find_map(|(at, it)| Some((at, cause(it)?)))
        {
            self.remove_at(at, cause);
        }
    }

    fn find(&self, key: u16) -> Option<usize> {
        self.entries.iter().position(|entry| entry.key == key)
    }

    fn weight(&self) -> u64 {
        self.entries.iter().map(|entry| entry.weight).sum()
    }

    fn evict(&mut self, entries: usize, weight: u64) {
        while self.entries.len() + entries > self.limits.max_entries
            || self.weight() + weight > self.limits.max_weight
        {
            let at = self.victim();
            self.remove_at(at, RemovalCause::Evicted);
        }
    }

    fn get(&mut self, key: u16) -> Option<u32> {
        let Some(at) = self.find(key) else {
            self.misses += 1;
            return None;
        };
        self.hits += 1;
        let mut entry = self.entries.remove(at);
        entry.used = self.now;
        let value = entry.value;
        self.entries.push(entry);
        Some(value)
    }

    fn update(&mut self, key: u16, weight: u8) -> Option<u32> {
        let value = self.get(key)?;
        let mut entry = self.entries.pop().expect("it was just accessed");
        entry.weight = u64::from(weight).max(1);
        let weight = entry.weight;
        if weight > self.limits.max_weight {
            self.entries.push(entry);
            // The cache evicts such an entry first.
            let victim = self.victims.pop_front();
            assert!(victim.is_none_or(|victim| victim == key));
            self.remove_at(self.entries.len() - 1, RemovalCause::Evicted);
            return Some(value);
        }
        self.evict(1, weight);
        self.entries.push(entry);
        Some(value)
    }

    /// Returns the former value, or `None` if the entry is refused.
    fn insert(&mut self, key: u16, value: u32, weight: u8, ttl: Option<u64>) -> Option<u32> {
        let ttl = ttl.or(self.limits.derived_ttl(key, weight));
        let weight = u64::from(weight).max(1);
        let former = self
            .find(key)
            .map(|at| self.remove_at(at, RemovalCause::Replaced));
        if ttl == Some(0) {
            self.removals.push((key, value, RemovalCause::Expired));
            return former;
        }
        if weight > self.limits.max_weight {
            self.removals.push((key, value, RemovalCause::Rejected));
            return None;
        }
        self.evict(1, weight);
        self.entries.push(Entry {
            key,
            value,
            weight,
            written: self.now,
            ttl,
            used: self.now,
            step: value,
        });
        former
    }

    /// Entries with their own ttl come after others that were written at the same time.
    fn oldest(&self) -> Option<usize> {
        (0..self.entries.len()).min_by_key(|&at| {
            let entry = &self.entries[at];
            (entry.written, entry.ttl.is_some(), entry.step)
        })
    }
}

/// Applies an operation to the cache, and returns the value that it returns.
fn apply(
    cache: &mut LruCache<u16, (u32, u8)>,
    time: &ManualClock,
    model: &Reference,
    op: &Op,
    value: u32,
) -> Option<u32> {
    let former = |former: Option<(u32, u8)>| former.map(|former| former.0);
    match *op {
        Op::Insert { key, weight } => former(cache.insert(key, (value, weight))),
        Op::InsertWithTtl { key, weight, ttl } => {
            let ttl = Duration::from_nanos(u64::from(ttl));
            former(cache.insert_with_ttl(key, (value, weight), ttl))
        }
        Op::Get(key) => cache.get(&key).map(|value| value.0),
        Op::Update { key, weight } => cache.update(&key, |value| {
            value.1 = weight;
            value.0
        }),
        Op::Peek(key) => {
            let peeked = cache.peek(&key).map(|value| value.0);
            assert_eq!(cache.contains_key(&key), peeked.is_some());
            let stale = cache.peek_stale(&key).map(|value| value.0);
            assert!(stale == peeked || peeked.is_none() && model.limits.stale > 0);
            peeked
        }
        Op::Compute(key) => Some(cache.get_or_insert_with(&key, || (value, 3)).0),
        Op::Remove(key) => former(cache.remove(&key)),
        Op::PopLru => {
            let first = cache.peek_lru().map(|(_, value)| value.0);
            let popped = cache.pop_lru().map(|(_, value)| value.0);
            assert_eq!(popped, first, "`peek_lru` shows what `pop_lru` removes");
            popped
        }
        Op::PopOldest => cache.pop_oldest().map(|(_, value)| value.0),
        Op::Retain(divisor) => {
            let divisor = u16::from(divisor) + 1;
            cache.retain(|key, _| key % divisor != 0);
            None
        }
        Op::SetMaxEntries(max) => {
            let max = usize::from(max) + 1;
            cache.set_max_entries(max).expect("a valid limit");
            None
        }
        Op::SetMaxWeight(max) => {
            let max = u64::from(max) + 1;
            cache.set_max_weight(max).expect("a valid limit");
            None
        }
        Op::Advance(by) => {
            time.set(Duration::from_nanos(model.now + u64::from(by)));
            None
        }
        Op::SetBack(by) => {
            let at = model.now.saturating_sub(u64::from(by));
            time.set(Duration::from_nanos(at));
            None
        }
        Op::Sweep => {
            cache.sweep();
            None
        }
        Op::Clear => {
            cache.clear();
            None
        }
    }
}

impl Reference {
    /// Applies an operation, and returns the value that the cache must return, which returned
    /// `answer`.
    fn apply(&mut self, op: &Op, value: u32, answer: Option<u32>) -> Option<u32> {
        match *op {
            Op::Insert { key, weight } => self.insert(key, value, weight, None),
            Op::InsertWithTtl { key, weight, ttl } => {
                self.insert(key, value, weight, Some(u64::from(ttl)))
            }
            Op::Get(key) => self.get(key),
            Op::Update { key, weight } => self.update(key, weight),
            Op::Peek(key) => self.find(key).map(|at| self.entries[at].value),
            Op::Compute(key) => self.get(key).or_else(|| {
                self.insert(key, value, 3, None);
                Some(value)
            }),
            Op::Remove(key) => {
                let at = self.find(key)?;
                Some(self.remove_at(at, RemovalCause::Removed))
            }
            Op::PopLru => {
                let at = if self.limits.keeps_recency() {
                    (!self.entries.is_empty()).then_some(0)
                } else {
                    // Any live entry may be the next to evict.
                    self.entries.iter().position(|it| Some(it.value) == answer)
                };
                assert_eq!(at.is_none(), self.entries.is_empty());
                Some(self.remove_at(at?, RemovalCause::Removed))
            }
            Op::PopOldest => {
                let at = self.oldest()?;
                Some(self.remove_at(at, RemovalCause::Removed))
            }
            Op::Retain(divisor) => {
                let divisor = u16::from(divisor) + 1;
                while let Some(at) = self
                    .entries
                    .iter()
                    .position(|entry| entry.key % divisor == 0)
                {
                    self.remove_at(at, RemovalCause::Removed);
                }
                None
            }
            Op::SetMaxEntries(max) => {
                self.limits.max_entries = usize::from(max) + 1;
                self.evict(0, 0);
                None
            }
            Op::SetMaxWeight(max) => {
                self.limits.max_weight = u64::from(max) + 1;
                self.evict(0, 0);
                None
            }
            Op::Advance(by) => {
                self.now += u64::from(by);
                self.expire();
                None
            }
            Op::SetBack(_) | Op::Sweep => None,
            Op::Clear => {
                while !self.entries.is_empty() {
                    self.remove_at(0, RemovalCause::Removed);
                }
                None
            }
        }
    }
}

/// Runs the operations on the cache and on the reference, and compares their answers.
pub fn run(limits: Limits, ops: &[Op]) {
    let time = ManualClock::new();
    let removals = Arc::new(Mutex::new(Vec::<Removal>::new()));
    let log = Arc::clone(&removals);
    let mut cache = LruCache::<u16, (u32, u8)>::builder()
        .max_entries(limits.max_entries)
        .max_weight(limits.max_weight)
        .weigher(|_, value| u32::from(value.1))
        .ttl(Duration::from_nanos(limits.ttl))
        .idle_timeout(Duration::from_nanos(limits.idle_timeout))
        .stale(Duration::from_nanos(limits.stale))
        .policy(limits.policy)
        .expire_after(move |&key, &(_, weight)| {
            limits.derived_ttl(key, weight).map(Duration::from_nanos)
        })
        .on_removal(move |key, value, cause| {
            log.lock()
                .expect("not poisoned")
                .push((*key, value.0, cause))
        })
        .clock(&time)
        .build()
        .expect("valid limits");
    let mut model = Reference {
        limits,
        now: 0,
        entries: Vec::new(),
        removals: Vec::new(),
        victims: VecDeque::new(),
        hits: 0,
        misses: 0,
    };
    let mut noted = 0;
    for (step, op) in ops.iter().enumerate() {
        let value = step as u32;
        model.expire();
        let answer = apply(&mut cache, &time, &model, op, value);
        let log = removals.lock().expect("not poisoned").clone();
        let evicted = log[noted..]
            .iter()
            .filter(|it| it.2 == RemovalCause::Evicted);
        if limits.policy != Policy::Lru {
            model.victims.extend(evicted.map(|it| it.0));
        }
        noted = log.len();
        assert_eq!(answer, model.apply(op, value, answer));
        assert!(
            limits.policy == Policy::Lru || model.victims.is_empty(),
            "every eviction was needed"
        );
        compare(&cache, &model);
    }
    // A sweep would leave stale entries.
    while !model.entries.is_empty() {
        model.remove_at(0, RemovalCause::Removed);
    }
    cache.clear();
    let sorted = |mut removals: Vec<Removal>| {
        removals.sort_unstable();
        removals
    };
    let removals = removals.lock().expect("not poisoned").clone();
    assert_eq!(
        sorted(removals),
        sorted(model.removals),
        "the removals and their causes"
    );
}

fn compare(cache: &LruCache<u16, (u32, u8)>, model: &Reference) {
    let mut live: Vec<(u16, u32)> = cache.iter().map(|(key, value)| (*key, value.0)).collect();
    let mut expected: Vec<(u16, u32)> = model
        .entries
        .iter()
        .rev()
        .map(|entry| (entry.key, entry.value))
        .collect();
    if !model.limits.keeps_recency() {
        live.sort_unstable();
        expected.sort_unstable();
    }
    assert_eq!(
        live, expected,
        "the live entries, the most recently used first"
    );
    let stats = cache.stats();
    assert_eq!((cache.len(), stats.len), (expected.len(), expected.len()));
    assert_eq!(
        (cache.weight(), stats.weight),
        (model.weight(), model.weight())
    );
    let oldest = model
        .oldest()
        .map(|at| Duration::from_nanos(model.now - model.entries[at].written));
    assert_eq!(stats.oldest_entry_age, oldest);
    assert_eq!((stats.hits, stats.misses), (model.hits, model.misses));
    let mut left = BTreeMap::<RemovalCause, u64>::new();
    for (_, _, cause) in &model.removals {
        *left.entry(*cause).or_default() += 1;
    }
    for (cause, count) in [
        (RemovalCause::Expired, stats.expired),
        (RemovalCause::Idle, stats.idle),
        (RemovalCause::Evicted, stats.evicted),
        (RemovalCause::Replaced, stats.replaced),
        (RemovalCause::Removed, stats.removed),
        (RemovalCause::Rejected, stats.rejected),
    ] {
        assert_eq!(count, left.get(&cause).copied().unwrap_or(0), "{cause}");
    }
    cache.validate();
}
