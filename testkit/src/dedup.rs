//! The reference model of a dedup map, built from std collections, and the operations that drive
//! both.
//!
//! Every answer is compared. Model tests also compare all entries and validate the map's structure
//! after every step; the fuzz target does so less often, see [`Check`], and at the end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::time::Duration;

use leakproof::unsync::{DedupMap, Token};
use leakproof::{Claim, ManualClock, Recorded};

/// One step. Keys and claims are numbers, so that a fuzzer and a generator can make them.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    Record(u8),
    Batch(Vec<u8>),
    Contains(u8),
    Remove(u8),
    Claim(u8),
    Commit(u8),
    Release(u8),
    /// Extends the lease of a claim by a number of nanoseconds.
    Extend(u8, u16),
    Advance(u16),
    SetBack(u16),
    Sweep,
    Clear,
    /// Records up to 4,096 new ids, one per nanosecond. Every 64th has a long key.
    RecordNew(u16),
    /// Removes a number of consecutive ids, beginning with one of the oldest.
    RemoveMany(u8, u16),
    /// Removes all ids except every nth.
    RemoveAllBut(u8),
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub ttl: u64,
    pub lease: u64,
    pub max_entries: usize,
    pub max_in_flight: usize,
    pub max_bytes: usize,
    /// `true` if values have drop glue.
    pub boxed_values: bool,
}

struct Entry<V> {
    key: String,
    time: u64,
    value: V,
}

struct Claimed {
    key: String,
    since: u64,
    until: u64,
    number: u64,
}

/// A token of the map with what the reference knows of it.
struct Ticket {
    token: Token,
    /// `None` if the key is too long to be stored.
    number: Option<u64>,
}

/// The steps after which all entries are compared and the structure is validated. Both take time in
/// proportion to the number of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    EveryStep,
    /// When the steps since the last check have touched at least an eighth as many entries as there
    /// are. So the checks take a constant share of the time, and a fuzzer gets more runs out of it.
    Amortized,
}

/// The reference: recorded ids in order of arrival, and claims.
struct Reference<V> {
    limits: Limits,
    now: u64,
    recorded: VecDeque<Entry<V>>,
    /// The bytes of their keys.
    recorded_bytes: usize,
    in_flight: Vec<Claimed>,
    next_number: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl<V> Reference<V> {
    fn expire(&mut self) {
        let (now, ttl) = (self.now, self.limits.ttl);
        let is_due = |entry: &Entry<V>| now - entry.time >= ttl;
        let expired = match self.recorded.front() {
            Some(oldest) if is_due(oldest) => self.recorded.partition_point(is_due),
            _ => 0,
        };
        self.drop_oldest(expired);
        self.count("expired", expired);
        let before = self.in_flight.len();
        self.in_flight.retain(|claim| claim.until > now);
        self.count("leases_expired", before - self.in_flight.len());
    }

    fn count(&mut self, counter: &'static str, by: usize) {
        if by > 0 {
            *self.counts.entry(counter).or_default() += by as u64;
        }
    }

    fn drop_oldest(&mut self, count: usize) {
        for entry in self.recorded.drain(..count) {
            self.recorded_bytes -= entry.key.len();
        }
    }

    fn push(&mut self, key: String, value: V) {
        self.recorded_bytes += key.len();
        self.recorded.push_back(Entry {
            key,
            time: self.now,
            value,
        });
    }

    fn in_flight_bytes(&self) -> usize {
        self.in_flight.iter().map(|claim| claim.key.len()).sum()
    }

    fn make_room(&mut self, entries: usize, bytes: usize) -> bool {
        let kept = self.in_flight_bytes() + bytes;
        if kept > self.limits.max_bytes {
            return false;
        }
        let mut bytes = self.recorded_bytes + kept;
        let (mut evicted, mut left) = (0, self.recorded.len());
        while left + entries > self.limits.max_entries || bytes > self.limits.max_bytes {
            bytes -= self.recorded[evicted].key.len();
            (evicted, left) = (evicted + 1, left - 1);
        }
        self.drop_oldest(evicted);
        self.count("evicted", evicted);
        true
    }

    /// Records a new id. Returns `false` if there is no room for it.
    fn record_new(&mut self, key: &str, value: V) -> bool {
        let has_room = self.make_room(1, key.len());
        if has_room {
            self.push(key.to_owned(), value);
        }
        self.count(if has_room { "inserted" } else { "rejected" }, 1);
        has_room
    }

    fn claim_of(&self, ticket: &Ticket) -> Option<usize> {
        self.in_flight
            .iter()
            .position(|claim| Some(claim.number) == ticket.number)
    }
}

/// Returns the id of a number: one is empty, some are long, and the others differ in
/// their ends.
pub fn id(number: u8) -> String {
    match number {
        0 => String::new(),
        1..=3 => "long".repeat(30 * usize::from(number)),
        4 => "longest".repeat(300),
        _ => format!("1203630@g.us:{number}"),
    }
}

/// Runs the operations on a map and on the reference.
///
/// # Panics
///
/// Panics if they differ, or if the map's structure is broken.
pub fn run(limits: Limits, ops: &[Op], check: Check) {
    if limits.boxed_values {
        run_with(limits, ops, check, |step| Box::new(step as u32));
    } else {
        run_with(limits, ops, check, |step| step as u32);
    }
}

fn run_with<V: Clone + Debug + PartialEq>(
    limits: Limits,
    ops: &[Op],
    check: Check,
    value_of: fn(usize) -> V,
) {
    let time = ManualClock::new();
    let map = DedupMap::<str, V>::builder()
        .ttl(Duration::from_nanos(limits.ttl))
        .lease(Duration::from_nanos(limits.lease))
        .max_entries(limits.max_entries)
        .max_in_flight(limits.max_in_flight)
        .max_bytes(limits.max_bytes)
        .clock(time.clock())
        .build()
        .expect("the limits are valid");
    let model = Reference {
        limits,
        now: 0,
        recorded: VecDeque::new(),
        recorded_bytes: 0,
        in_flight: Vec::new(),
        next_number: 0,
        counts: BTreeMap::new(),
    };
    let mut pair = Pair {
        map,
        model,
        time,
        tickets: Vec::new(),
    };
    let mut touched = 0;
    for (step, op) in ops.iter().enumerate() {
        pair.step(step, op, value_of);
        pair.compare_stats();
        touched += op.touched();
        if check == Check::EveryStep || touched > pair.model.recorded.len() / 8 {
            pair.compare_entries();
            touched = 0;
        }
    }
    pair.compare_entries();
}

impl Op {
    /// Returns about the number of entries that the operation touches.
    fn touched(&self) -> usize {
        match self {
            Self::Batch(keys) => keys.len(),
            Self::RecordNew(count) | Self::RemoveMany(_, count) => usize::from(*count) % 4_096,
            Self::Clear | Self::RemoveAllBut(_) => 4_096,
            _ => 1,
        }
    }
}

struct Pair<V> {
    map: DedupMap<str, V>,
    model: Reference<V>,
    time: ManualClock,
    tickets: Vec<Ticket>,
}

impl<V: Clone + Debug + PartialEq> Pair<V> {
    fn step(&mut self, step: usize, op: &Op, value_of: fn(usize) -> V) {
        let value = value_of(step);
        match op {
            Op::Record(key) => self.record(&id(*key), value),
            Op::Batch(keys) => keys
                .iter()
                .for_each(|key| self.record(&id(*key), value.clone())),
            Op::Contains(key) => self.contains(&id(*key)),
            Op::Remove(key) => {
                self.model.expire();
                let key = id(*key);
                let at = self
                    .model
                    .recorded
                    .iter()
                    .position(|entry| entry.key == key);
                let removed = at.and_then(|at| self.model.recorded.remove(at));
                self.model.recorded_bytes -= removed.as_ref().map_or(0, |entry| entry.key.len());
                let removed = removed.map(|entry| entry.value);
                self.model.count("removed", usize::from(removed.is_some()));
                assert_eq!(self.map.remove(&key), removed);
            }
            Op::RemoveMany(from, count) => {
                let (from, count) = (usize::from(*from), usize::from(*count));
                self.remove_if(|at| (from..from + count).contains(&at));
            }
            Op::RemoveAllBut(nth) => {
                let nth = usize::from(*nth) + 1;
                self.remove_if(|at| at % nth > 0);
            }
            Op::RecordNew(count) => {
                for number in 0..*count % 4_096 {
                    self.advance(1);
                    self.model.expire();
                    let padding = if number % 64 == 63 { 300 } else { 0 };
                    let key = format!("{step}-{number}{}", "x".repeat(padding));
                    let stored = self.model.record_new(&key, value.clone());
                    let recorded = self.map.record(&key, value.clone());
                    assert_eq!(recorded == Recorded::New, stored);
                }
            }
            Op::Claim(key) => self.claim(&id(*key)),
            Op::Commit(which) => self.commit(*which, value),
            Op::Release(which) => self.release(*which),
            Op::Extend(which, by) => self.extend(*which, u64::from(*by)),
            Op::Advance(by) => self.advance((*by).into()),
            Op::SetBack(by) => {
                let earlier = self.model.now.saturating_sub(u64::from(*by));
                self.time.set(Duration::from_nanos(earlier));
            }
            Op::Sweep => {
                self.map.sweep();
            }
            Op::Clear => {
                self.model.expire();
                self.model.count("removed", self.model.recorded.len());
                self.model.drop_oldest(self.model.recorded.len());
                self.map.clear();
            }
        }
    }

    fn advance(&mut self, by: u64) {
        self.model.now += by;
        self.time.set(Duration::from_nanos(self.model.now));
    }

    fn contains(&self, key: &str) {
        let Reference { now, limits, .. } = self.model;
        let mut live = self
            .model
            .recorded
            .iter()
            .filter(|entry| now - entry.time < limits.ttl);
        let known = live.find(|entry| entry.key == key);
        assert_eq!(self.map.contains_key(key), known.is_some());
        assert_eq!(self.map.get(key), known.map(|entry| &entry.value));
        let age = known.map(|entry| Duration::from_nanos(now - entry.time));
        assert_eq!(self.map.age(key), age);
    }

    fn remove_if(&mut self, remove: impl Fn(usize) -> bool) {
        self.model.expire();
        let mut at = 0;
        let map = &mut self.map;
        let before = self.model.recorded.len();
        let bytes = &mut self.model.recorded_bytes;
        self.model.recorded.retain(|entry| {
            let removed = remove(at);
            at += 1;
            if removed {
                *bytes -= entry.key.len();
                assert_eq!(map.remove(&entry.key).as_ref(), Some(&entry.value));
            }
            !removed
        });
        self.model
            .count("removed", before - self.model.recorded.len());
    }

    fn record(&mut self, key: &str, value: V) {
        let model = &mut self.model;
        model.expire();
        let expected = if let Some(entry) = model.recorded.iter().find(|entry| entry.key == key) {
            let age = Duration::from_nanos(model.now - entry.time);
            let value = entry.value.clone();
            model.count("duplicates", 1);
            Recorded::Duplicate { age, value }
        } else if model.in_flight.iter().any(|claim| claim.key == key) {
            model.count("in_flight_hits", 1);
            Recorded::InFlight
        } else if model.record_new(key, value.clone()) {
            Recorded::New
        } else {
            Recorded::Rejected {
                value: value.clone(),
            }
        };
        assert_eq!(self.map.record(key, value), expected);
    }

    fn claim(&mut self, key: &str) {
        let model = &mut self.model;
        model.expire();
        let answer = self.map.claim(key);
        if let Some(entry) = model.recorded.iter().find(|entry| entry.key == key) {
            let expected = (Duration::from_nanos(model.now - entry.time), &entry.value);
            assert!(
                matches!(&answer, Claim::Duplicate { age, value } if (*age, value) == expected)
            );
            model.count("duplicates", 1);
        } else if let Some(claim) = model.in_flight.iter().find(|claim| claim.key == key) {
            let expected = Duration::from_nanos(model.now - claim.since);
            assert!(matches!(answer, Claim::InFlight { since } if since == expected));
            model.count("in_flight_hits", 1);
        } else if key.len() > model.limits.max_bytes {
            let Claim::Fresh(token) = answer else {
                panic!("a key that is too long to be stored is fresh")
            };
            assert!(!token.is_stored());
            model.count("rejected", 1);
            self.tickets.push(Ticket {
                token,
                number: None,
            });
        } else if model.in_flight.len() == model.limits.max_in_flight
            || !model.make_room(0, key.len())
        {
            assert!(matches!(answer, Claim::Full));
            model.count("claims_rejected", 1);
        } else {
            let Claim::Fresh(token) = answer else {
                panic!("the id is fresh")
            };
            assert!(token.is_stored());
            let number = model.next_number;
            model.next_number += 1;
            model.in_flight.push(Claimed {
                key: key.to_owned(),
                since: model.now,
                until: model.now + model.limits.lease,
                number,
            });
            self.tickets.push(Ticket {
                token,
                number: Some(number),
            });
        }
    }

    fn take_ticket(&mut self, which: u8) -> Option<Ticket> {
        let count = self.tickets.len();
        (count > 0).then(|| self.tickets.swap_remove(usize::from(which) % count))
    }

    fn commit(&mut self, which: u8, value: V) {
        let Some(ticket) = self.take_ticket(which) else {
            return;
        };
        let model = &mut self.model;
        model.expire();
        let claim = model.claim_of(&ticket);
        if let Some(at) = claim {
            model.make_room(1, 0);
            let key = model.in_flight.remove(at).key;
            model.push(key, value.clone());
            model.count("inserted", 1);
        }
        let committed = self.map.commit(ticket.token, value).is_ok();
        assert_eq!(committed, claim.is_some() || ticket.number.is_none());
    }

    fn release(&mut self, which: u8) {
        let Some(ticket) = self.take_ticket(which) else {
            return;
        };
        self.model.expire();
        let claim = self.model.claim_of(&ticket);
        claim.map(|at| self.model.in_flight.remove(at));
        self.model.count("released", usize::from(claim.is_some()));
        self.map.release(ticket.token);
    }

    fn extend(&mut self, which: u8, by: u64) {
        if self.tickets.is_empty() {
            return;
        }
        let ticket = &self.tickets[usize::from(which) % self.tickets.len()];
        self.model.expire();
        let claim = self.model.claim_of(ticket);
        let key = claim.map(|at| self.model.in_flight[at].key.as_str());
        assert_eq!(self.map.claimed_key(&ticket.token), key);
        if let Some(at) = claim {
            let claim = &mut self.model.in_flight[at];
            claim.until = claim.until.max(self.model.now + by);
        }
        let extended = self.map.extend(&ticket.token, Duration::from_nanos(by));
        assert_eq!(extended.is_ok(), claim.is_some() || ticket.number.is_none());
    }

    /// Compares the sums and counters, in constant time apart from the claims in flight.
    fn compare_stats(&mut self) {
        let Self { map, model, .. } = self;
        model.expire();
        let stats = map.stats();
        let len = model.recorded.len();
        assert_eq!((stats.len, map.len()), (len, len));
        let oldest = model.recorded.front();
        let oldest = oldest.map(|entry| Duration::from_nanos(model.now - entry.time));
        assert_eq!(stats.oldest_entry_age, oldest);
        assert_eq!(stats.in_flight, model.in_flight.len());
        let bytes = model.recorded_bytes + model.in_flight_bytes();
        assert_eq!(stats.bytes as usize, bytes);
        for (name, count) in [
            ("inserted", stats.inserted),
            ("duplicates", stats.duplicates),
            ("in_flight_hits", stats.in_flight_hits),
            ("expired", stats.expired),
            ("evicted", stats.evicted),
            ("removed", stats.removed),
            ("rejected", stats.rejected),
            ("released", stats.released),
            ("leases_expired", stats.leases_expired),
            ("claims_rejected", stats.claims_rejected),
        ] {
            let expected = model.counts.get(name).copied().unwrap_or(0);
            assert_eq!(count, expected, "{name}");
        }
    }

    /// Compares all entries, and validates the map's structure.
    fn compare_entries(&mut self) {
        let Self { map, model, .. } = self;
        let live = map.iter();
        let expected = model.recorded.iter().map(|entry| {
            let age = Duration::from_nanos(model.now - entry.time);
            (entry.key.as_str(), &entry.value, age)
        });
        assert!(live.eq(expected), "the live ids, oldest first");
        map.validate();
    }
}
