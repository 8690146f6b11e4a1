//! The reference model: what a dedup map must answer, in plain words over std collections, and the operations with which
//! model tests and the fuzzer drive both. After every step the answers are compared and the structure validated.

use std::collections::BTreeMap;
use std::time::Duration;

use leakproof::unsync::{DedupMap, Token};
use leakproof::{Claim, ManualClock, Recorded};

/// One step. Keys and claims are numbers, so that both a fuzzer and a generator can make them.
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
    Advance(u16),
    SetBack(u16),
    Sweep,
    Clear,
    /// Records some thousands of ids that were never seen, one after the other in time.
    RecordNew(u16),
    /// Removes so many ids, beginning with one of the oldest: a map with few left of many is packed.
    RemoveMany(u8, u16),
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub ttl: u64,
    pub lease: u64,
    pub max_entries: usize,
    pub max_in_flight: usize,
    pub max_bytes: usize,
}

/// The reference: recorded ids in order of arrival, claims in order of theirs.
#[derive(Default)]
struct Reference {
    now: u64,
    recorded: Vec<(String, u64, u32)>,
    in_flight: Vec<(String, u64, u32)>,
    counts: BTreeMap<&'static str, u64>,
}

impl Reference {
    fn expire(&mut self, limits: &Limits) {
        let now = self.now;
        let expired = self
            .recorded
            .partition_point(|entry| now - entry.1 >= limits.ttl);
        let lapsed = self
            .in_flight
            .partition_point(|entry| now - entry.1 >= limits.lease);
        self.recorded.drain(..expired);
        self.in_flight.drain(..lapsed);
        self.count("expired", expired);
        self.count("lapsed", lapsed);
    }

    fn count(&mut self, what: &'static str, by: usize) {
        *self.counts.entry(what).or_default() += by as u64;
    }

    fn bytes(entries: &[(String, u64, u32)]) -> usize {
        entries.iter().map(|entry| entry.0.len()).sum()
    }

    fn make_room(&mut self, limits: &Limits, entries: usize, bytes: usize) -> bool {
        let kept = Self::bytes(&self.in_flight) + bytes;
        if kept > limits.max_bytes {
            return false;
        }
        let mut bytes = Self::bytes(&self.recorded) + kept;
        let (mut evicted, mut left) = (0, self.recorded.len());
        while left + entries > limits.max_entries || bytes > limits.max_bytes {
            bytes -= self.recorded[evicted].0.len();
            (evicted, left) = (evicted + 1, left - 1);
        }
        self.recorded.drain(..evicted);
        self.count("evicted", evicted);
        true
    }

    fn record_new(&mut self, limits: &Limits, key: &str, value: u32) {
        let has_room = self.make_room(limits, 1, key.len());
        if has_room {
            self.recorded.push((key.to_owned(), self.now, value));
        }
        self.count(if has_room { "inserted" } else { "rejected" }, 1);
    }
}

/// The id that a number stands for: some empty, some alike in the beginning, a few long.
pub fn id(number: u8) -> String {
    match number {
        0 => String::new(),
        1..=3 => "long".repeat(30 * usize::from(number)),
        _ => format!("1203630@g.us:{number}"),
    }
}

/// Runs the operations on a map and on the reference.
///
/// # Panics
///
/// Where they differ, or the map's structure is broken.
pub fn run(limits: Limits, ops: &[Op]) {
    let time = ManualClock::new();
    let mut map = DedupMap::<str, u32>::builder()
        .ttl(Duration::from_nanos(limits.ttl))
        .lease(Duration::from_nanos(limits.lease))
        .max_entries(limits.max_entries)
        .max_in_flight(limits.max_in_flight)
        .max_bytes(limits.max_bytes)
        .clock(time.clock())
        .build()
        .expect("the limits are sound");
    let mut model = Reference::default();
    let mut tokens: Vec<(Token, String, u32)> = Vec::new();
    for (step, op) in ops.iter().enumerate() {
        let value = step as u32;
        match op {
            Op::Record(key) => record(&mut map, &mut model, &limits, &id(*key), value),
            Op::Batch(keys) => keys
                .iter()
                .for_each(|key| record(&mut map, &mut model, &limits, &id(*key), value)),
            Op::Contains(key) => {
                let key = id(*key);
                let now = model.now;
                let known = model
                    .recorded
                    .iter()
                    .find(|entry| entry.0 == key && now - entry.1 < limits.ttl);
                assert_eq!(map.contains_key(&key), known.is_some());
                assert_eq!(map.get(&key), known.map(|entry| &entry.2));
                assert_eq!(
                    map.age(&key),
                    known.map(|entry| Duration::from_nanos(now - entry.1))
                );
            }
            Op::Remove(key) => {
                let key = id(*key);
                model.expire(&limits);
                let at = model.recorded.iter().position(|entry| entry.0 == key);
                at.map(|at| model.recorded.remove(at));
                model.count("removed", usize::from(at.is_some()));
                assert_eq!(map.remove(&key), at.is_some());
            }
            Op::RemoveMany(from, count) => {
                model.expire(&limits);
                let from = usize::from(*from).min(model.recorded.len());
                let to = (from + usize::from(*count)).min(model.recorded.len());
                for (key, ..) in model.recorded.drain(from..to) {
                    assert!(map.remove(&key));
                }
                model.count("removed", to - from);
            }
            Op::RecordNew(count) => {
                for number in 0..*count % 4_096 {
                    model.now += 1;
                    time.set(Duration::from_nanos(model.now));
                    model.expire(&limits);
                    let key = format!("{step}-{number}");
                    assert_eq!(map.record(&key, value), Recorded::New);
                    model.record_new(&limits, &key, value);
                }
            }
            Op::Claim(key) => claim(&mut map, &mut model, &limits, &id(*key), value, &mut tokens),
            Op::Commit(which) if !tokens.is_empty() => {
                let (token, key, number) = tokens.swap_remove(usize::from(*which) % tokens.len());
                model.expire(&limits);
                let at = model
                    .in_flight
                    .iter()
                    .position(|entry| entry.0 == key && entry.2 == number);
                if let Some(at) = at {
                    model.make_room(&limits, 1, 0);
                    model.in_flight.remove(at);
                    model.recorded.push((key, model.now, value));
                    model.count("inserted", 1);
                }
                let stored = number != u32::MAX;
                assert_eq!(map.commit(token, value).is_ok(), at.is_some() || !stored);
            }
            Op::Release(which) if !tokens.is_empty() => {
                let (token, key, number) = tokens.swap_remove(usize::from(*which) % tokens.len());
                model.expire(&limits);
                let at = model
                    .in_flight
                    .iter()
                    .position(|entry| entry.0 == key && entry.2 == number);
                at.map(|at| model.in_flight.remove(at));
                model.count("released", usize::from(at.is_some()));
                map.release(token);
            }
            Op::Commit(_) | Op::Release(_) => {}
            Op::Advance(by) => {
                model.now += u64::from(*by);
                time.set(Duration::from_nanos(model.now));
            }
            Op::SetBack(by) => time.set(Duration::from_nanos(
                model.now.saturating_sub(u64::from(*by)),
            )),
            Op::Sweep => {
                map.sweep();
            }
            Op::Clear => {
                model.expire(&limits);
                let cleared = model.recorded.len();
                model.count("removed", cleared);
                model.recorded.clear();
                map.clear();
            }
        }
        compare(&map, &mut model, &limits);
    }
}

fn record(
    map: &mut DedupMap<str, u32>,
    model: &mut Reference,
    limits: &Limits,
    key: &str,
    value: u32,
) {
    model.expire(limits);
    let expected = if let Some(entry) = model.recorded.iter().find(|entry| entry.0 == key) {
        let (age, value) = (Duration::from_nanos(model.now - entry.1), entry.2);
        model.count("duplicates", 1);
        Recorded::Duplicate { age, value }
    } else if model.in_flight.iter().any(|entry| entry.0 == key) {
        model.count("in_flight_hits", 1);
        Recorded::InFlight
    } else {
        model.record_new(limits, key, value);
        Recorded::New
    };
    assert_eq!(map.record(key, value), expected);
}

fn claim(
    map: &mut DedupMap<str, u32>,
    model: &mut Reference,
    limits: &Limits,
    key: &str,
    number: u32,
    tokens: &mut Vec<(Token, String, u32)>,
) {
    model.expire(limits);
    let answer = map.claim(key);
    if let Some(entry) = model.recorded.iter().find(|entry| entry.0 == key) {
        let (age, value) = (Duration::from_nanos(model.now - entry.1), entry.2);
        assert!(matches!(answer, Claim::Duplicate { age: a, value: v } if (a, v) == (age, value)));
        model.count("duplicates", 1);
    } else if let Some(entry) = model.in_flight.iter().find(|entry| entry.0 == key) {
        let age = Duration::from_nanos(model.now - entry.1);
        assert!(matches!(answer, Claim::InFlight { since } if since == age));
        model.count("in_flight_hits", 1);
    } else if key.len() > limits.max_bytes {
        let Claim::Fresh(token) = answer else {
            panic!("a key too long to store is fresh")
        };
        tokens.push((token, key.to_owned(), u32::MAX));
        model.count("rejected", 1);
    } else if model.in_flight.len() == limits.max_in_flight
        || !model.make_room(limits, 0, key.len())
    {
        assert!(matches!(answer, Claim::Full));
        model.count("shed", 1);
    } else {
        let Claim::Fresh(token) = answer else {
            panic!("the id is fresh")
        };
        tokens.push((token, key.to_owned(), number));
        model.in_flight.push((key.to_owned(), model.now, number));
    }
}

fn compare(map: &DedupMap<str, u32>, model: &mut Reference, limits: &Limits) {
    model.expire(limits);
    let live: Vec<_> = map
        .iter()
        .map(|(key, &value, age)| (key.to_owned(), value, age))
        .collect();
    let expected: Vec<_> = model
        .recorded
        .iter()
        .map(|(key, time, value)| (key.clone(), *value, Duration::from_nanos(model.now - time)))
        .collect();
    assert_eq!(live, expected, "what is live, oldest first");
    let stats = map.stats();
    assert_eq!(stats.len, expected.len());
    assert_eq!(map.len(), expected.len());
    assert_eq!(
        stats.oldest_entry_age,
        expected.first().map(|entry| entry.2)
    );
    assert_eq!(stats.in_flight, model.in_flight.len());
    assert_eq!(
        stats.bytes as usize,
        Reference::bytes(&model.recorded) + Reference::bytes(&model.in_flight)
    );
    for (name, count) in [
        ("inserted", stats.inserted),
        ("duplicates", stats.duplicates),
        ("in_flight_hits", stats.in_flight_hits),
        ("expired", stats.expired),
        ("evicted", stats.evicted),
        ("removed", stats.removed),
        ("rejected", stats.rejected),
        ("released", stats.released),
        ("lapsed", stats.leases_expired),
        ("shed", stats.claims_rejected),
    ] {
        assert_eq!(
            count,
            model.counts.get(name).copied().unwrap_or(0),
            "{name}"
        );
    }
    map.validate();
}
