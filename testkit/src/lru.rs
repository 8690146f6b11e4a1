//! The reference model of the cache: the answers that it must give, over a `Vec` in access order.
//!
//! Model tests and the fuzzer run the same operations on both, and validate the cache after each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakproof::unsync::LruCache;
use leakproof::{ManualClock, RemovalCause};

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
}

impl Limits {
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
    hits: u64,
    misses: u64,
}

impl Reference {
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
                entry.used + limits.idle_timeout,
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
            self.remove_at(0, RemovalCause::Evicted);
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
        hits: 0,
        misses: 0,
    };
    for (step, op) in ops.iter().enumerate() {
        let value = step as u32;
        model.expire();
        match *op {
            Op::Insert { key, weight } => {
                let expected = model.insert(key, value, weight, None);
                let former = cache.insert(key, (value, weight));
                assert_eq!(former.map(|former| former.0), expected);
            }
            Op::InsertWithTtl { key, weight, ttl } => {
                let expected = model.insert(key, value, weight, Some(u64::from(ttl)));
                let ttl = Duration::from_nanos(u64::from(ttl));
                let former = cache.insert_with_ttl(key, (value, weight), ttl);
                assert_eq!(former.map(|former| former.0), expected);
            }
            Op::Get(key) => assert_eq!(cache.get(&key).map(|value| value.0), model.get(key)),
            Op::Peek(key) => {
                let expected = model.find(key).map(|at| model.entries[at].value);
                assert_eq!(cache.peek(&key).map(|value| value.0), expected);
                assert_eq!(cache.contains_key(&key), expected.is_some());
                let stale = cache.peek_stale(&key).map(|value| value.0);
                assert!(stale == expected || expected.is_none() && limits.stale > 0);
            }
            Op::Compute(key) => {
                let expected = model.get(key).unwrap_or_else(|| {
                    model.insert(key, value, 3, None);
                    value
                });
                assert_eq!(cache.get_or_insert_with(&key, || (value, 3)).0, expected);
            }
            Op::Remove(key) => {
                let expected = model
                    .find(key)
                    .map(|at| model.remove_at(at, RemovalCause::Removed));
                assert_eq!(cache.remove(&key).map(|value| value.0), expected);
            }
            Op::PopLru => {
                let expected =
                    (!model.entries.is_empty()).then(|| model.remove_at(0, RemovalCause::Removed));
                assert_eq!(cache.pop_lru().map(|(_, value)| value.0), expected);
            }
            Op::PopOldest => {
                let expected = model
                    .oldest()
                    .map(|at| model.remove_at(at, RemovalCause::Removed));
                assert_eq!(cache.pop_oldest().map(|(_, value)| value.0), expected);
            }
            Op::Retain(divisor) => {
                let divisor = u16::from(divisor) + 1;
                while let Some(at) = model
                    .entries
                    .iter()
                    .position(|entry| entry.key % divisor == 0)
                {
                    model.remove_at(at, RemovalCause::Removed);
                }
                cache.retain(|key, _| key % divisor != 0);
            }
            Op::SetMaxEntries(max) => {
                model.limits.max_entries = usize::from(max) + 1;
                model.evict(0, 0);
                cache
                    .set_max_entries(model.limits.max_entries)
                    .expect("a valid limit");
            }
            Op::SetMaxWeight(max) => {
                model.limits.max_weight = u64::from(max) + 1;
                model.evict(0, 0);
                cache
                    .set_max_weight(model.limits.max_weight)
                    .expect("a valid limit");
            }
            Op::Advance(by) => {
                model.now += u64::from(by);
                time.set(Duration::from_nanos(model.now));
                model.expire();
            }
            Op::SetBack(by) => time.set(Duration::from_nanos(
                model.now.saturating_sub(u64::from(by)),
            )),
            Op::Sweep => drop(cache.sweep()),
            Op::Clear => {
                while !model.entries.is_empty() {
                    model.remove_at(0, RemovalCause::Removed);
                }
                cache.clear();
            }
        }
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
    let live: Vec<(u16, u32)> = cache.iter().map(|(key, value)| (*key, value.0)).collect();
    let expected: Vec<(u16, u32)> = model
        .entries
        .iter()
        .rev()
        .map(|entry| (entry.key, entry.value))
        .collect();
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
