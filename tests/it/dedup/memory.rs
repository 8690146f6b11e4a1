//! Measures allocated bytes after every call of a long random run, and compares them with the
//! documented bound.
//!
//! `LEAKPROOF_MEMORY_STEPS=1000000 cargo test --release --test it dedup::memory -- --nocapture`
//! runs longer and prints the largest share of the bound that was held.

use std::time::Duration;

use leakproof::unsync::{DedupMap, Token};
use leakproof::{Claim, ManualClock};

const TTL: u64 = 1_000_000;
/// Three blocks of entries, and 64 KiB.
const CONSTANT: (f64, f64) = (3.0 * 1024.0, 64.0 * 1024.0);
/// The longest key that shares an allocation with others.
const INLINE: usize = 255;

/// A small generator: the run must not allocate or depend on the platform.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) ^ (self.0 >> 50)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound.max(1) as u64) as usize
    }
}

/// The maxima of live ids and bytes within the last `n / 4` writes, where `n` is that number of
/// ids.
#[derive(Default)]
struct Peak {
    current: (usize, u64),
    previous: (usize, u64),
    writes: usize,
}

impl Peak {
    fn note(&mut self, ids: usize, bytes: u64) {
        self.current = (self.current.0.max(ids), self.current.1.max(bytes));
        self.writes += 1;
        // Two epochs of an eighth are at most a quarter.
        if self.writes > self.ids() / 8 {
            self.previous = std::mem::replace(&mut self.current, (ids, bytes));
            self.writes = 0;
        }
    }

    fn ids(&self) -> usize {
        self.current.0.max(self.previous.0)
    }

    fn bytes(&self) -> u64 {
        self.current.1.max(self.previous.1)
    }
}

/// The bounds, ids and calls of a run.
struct Config<V> {
    max_entries: usize,
    max_bytes: usize,
    /// The length of ids is one of seven patterns, changed now and then, or 45 bytes.
    long_ids: bool,
    /// `false` if no id is claimed.
    claims: bool,
    value: fn() -> V,
}

struct Run<V> {
    map: DedupMap<str, V>,
    config: Config<V>,
    time: ManualClock,
    dice: Dice,
    /// The numbers of recorded ids, of which some have expired or were evicted.
    known: Vec<(u64, usize)>,
    tokens: Vec<Token>,
    next: u64,
    held: isize,
    peak: Peak,
    worst: f64,
    max_key: usize,
}

fn id(number: u64, len: usize) -> String {
    let mut id = format!("{number:x}");
    if id.len() < len {
        id.extend(std::iter::repeat_n('x', len - id.len()));
    }
    id
}

impl<V: Clone> Run<V> {
    fn new(seed: u64, config: Config<V>) -> Self {
        let time = ManualClock::new();
        let builder = DedupMap::builder()
            .ttl(Duration::from_nanos(TTL))
            .lease(Duration::from_nanos(TTL / 10))
            .max_entries(config.max_entries)
            .max_in_flight(config.max_entries / 10)
            .max_bytes(config.max_bytes)
            .clock(&time);
        Self {
            map: builder.build().expect("the limits are valid"),
            config,
            time,
            dice: Dice(seed),
            known: Vec::new(),
            tokens: Vec::new(),
            next: 0,
            held: 0,
            peak: Peak::default(),
            worst: 0.0,
            max_key: 0,
        }
    }

    /// Makes one call, and checks what is allocated after it.
    fn call<R>(&mut self, call: impl FnOnce(&mut DedupMap<str, V>) -> R) -> R {
        let mut result = None;
        let map = &mut self.map;
        let counted = allocation_counter::measure(|| result = Some(call(map)));
        self.held += counted.bytes_current as isize;
        let stats = self.map.stats();
        self.peak.note(stats.len + stats.in_flight, stats.bytes);
        self.check();
        result.expect("it ran")
    }

    /// The documented bound.
    fn check(&mut self) {
        let value = size_of::<V>().max(size_of::<Option<V>>()) as f64;
        let (ids, bytes) = (self.peak.ids() as f64, self.peak.bytes() as f64);
        // A key of more than 255 bytes counts for 24 more.
        let bytes = bytes * (1.0 + 24.0 / INLINE as f64);
        // Ids in flight have a value of 8 bytes. Extended ones have 24, and take 100 bytes more for
        // the order of their ends.
        let values: &[f64] = if self.config.claims {
            &[value, 8.0, 24.0]
        } else {
            &[value]
        };
        let (largest, ends) = if self.config.claims {
            (
                value.max(24.0),
                100.0 * (self.config.max_entries / 10) as f64,
            )
        } else {
            (value, 0.0)
        };
        let formula = ids * (largest + 30.0) + bytes;
        let key = self.max_key.min(INLINE) as f64;
        let constant = |value| CONSTANT.0 * (key + value) + CONSTANT.1;
        let bound = 1.25 * formula + ends + values.iter().copied().map(constant).sum::<f64>();
        let held = self.held as f64;
        self.worst = self.worst.max(held / bound);
        assert!(
            held <= bound,
            "{held} bytes are held, but {bound} are allowed, 1.25 of {formula} and the constant: {:?}",
            self.map.stats()
        );
    }

    fn len(&mut self, kind: usize) -> usize {
        match kind {
            0 => self.dice.below(12),
            1 => 45,
            2 => self.dice.below(INLINE + 1),
            3 => 256 + self.dice.below(200),
            4 => [8, 200, 9, 4_000][self.dice.below(4)],
            5 => {
                if self.dice.below(50) == 0 {
                    self.dice.below(100_000)
                } else {
                    20
                }
            }
            // Blocks of short keys between blocks of long ones.
            _ => [6, 250][(self.next / 1_024 % 2) as usize],
        }
    }

    fn new_id(&mut self, kind: usize) -> String {
        let len = self.len(kind);
        self.next += 1;
        let id = id(self.next, len);
        self.max_key = self.max_key.max(id.len());
        id
    }

    fn step_time(&mut self, by: u64) {
        self.time.advance(Duration::from_nanos(by));
    }

    /// Does some thousands of calls of one kind.
    fn phase(&mut self) -> usize {
        let kind = if self.config.long_ids {
            self.dice.below(7)
        } else {
            1
        };
        let count = 1 + self.dice.below(self.config.max_entries / 3);
        let before = self.next;
        match self.dice.below(12) {
            0..=3 => {
                for _ in 0..count {
                    let id = self.new_id(kind);
                    self.known.push((self.next, id.len()));
                    let value = (self.config.value)();
                    self.step_time(1);
                    self.call(|map| drop(map.record(&id, value)));
                }
                count
            }
            order @ 4..=7 => self.remove(order - 4, count),
            8 => {
                let by = [TTL, TTL / 2, TTL / 20, 10][self.dice.below(4)];
                self.step_time(by);
                1
            }
            9 => {
                self.call(DedupMap::sweep);
                // A sweep returns everything, so nothing of the past counts any more.
                self.peak = Peak::default();
                self.call(DedupMap::sweep);
                2
            }
            _ if self.config.claims => self.claims(kind, count / 2),
            _ => 1,
        }
        .max((self.next - before) as usize)
    }

    fn remove(&mut self, order: usize, count: usize) -> usize {
        let count = count.min(self.known.len());
        if order == 3 {
            // All but every nth.
            let nth = 2 + self.dice.below(1_000);
            let removed: Vec<_> = self.known.iter().copied().enumerate().collect();
            self.known.clear();
            for (at, (number, len)) in removed {
                if at % nth == 0 {
                    self.known.push((number, len));
                } else {
                    let id = id(number, len);
                    self.call(|map| drop(map.remove(&id)));
                }
            }
            return count;
        }
        let mut removed: Vec<_> = match order {
            0 => self.known.drain(..count).collect(),
            1 => self.known.drain(self.known.len() - count..).rev().collect(),
            _ => Vec::new(),
        };
        while removed.len() < count {
            let at = self.dice.below(self.known.len());
            removed.push(self.known.swap_remove(at));
        }
        for (number, len) in removed {
            let id = id(number, len);
            self.call(|map| drop(map.remove(&id)));
        }
        count
    }

    fn claims(&mut self, kind: usize, count: usize) -> usize {
        for _ in 0..count {
            let id = self.new_id(kind);
            self.step_time(1);
            if let Claim::Fresh(token) = self.call(|map| map.claim(&id)) {
                self.tokens.push(token);
            }
            if self.tokens.len() < self.config.max_entries / 100 {
                continue;
            }
            let at = self.dice.below(self.tokens.len());
            match self.dice.below(4) {
                0 => {
                    let token = self.tokens.swap_remove(at);
                    let value = (self.config.value)();
                    self.call(|map| drop(map.commit(token, value)));
                }
                1 => {
                    let token = self.tokens.swap_remove(at);
                    self.call(|map| map.release(token));
                }
                2 => {
                    let token = self.tokens.swap_remove(at);
                    let lease = Duration::from_nanos(TTL / 5);
                    let _ = self.call(|map| map.extend(&token, lease));
                    self.tokens.push(token);
                }
                _ => {}
            }
        }
        count * 2
    }
}

/// Runs with each bound on entries, without long ids and with them, without claims and with them.
fn run<V: Clone>(what: &str, value: fn() -> V) {
    let steps = std::env::var("LEAKPROOF_MEMORY_STEPS");
    let steps = steps.map_or(20_000, |steps| steps.parse().expect("a number"));
    for max_entries in [1_000, 10_000, 100_000] {
        for (long_ids, claims) in [(false, false), (true, false), (true, true)] {
            let config = || Config {
                max_entries,
                max_bytes: max_entries * 100,
                long_ids,
                claims,
                value,
            };
            let (mut done, mut worst) = (0, 0.0_f64);
            // A run that begins anew meets other states than one that goes on.
            for seed in 1.. {
                let mut run = Run::new(seed, config());
                let end = done + steps / 4;
                while done < end {
                    done += run.phase();
                }
                run.map.validate();
                worst = worst.max(run.worst);
                if done >= steps {
                    break;
                }
            }
            println!(
                "{what}, up to {max_entries}, long ids {long_ids}, claims {claims}: \
                 {done} calls, at most {worst:.3} of the bound"
            );
        }
    }
}

#[test]
fn memory_stays_within_the_bound_without_values() {
    run("no values", || ());
}

#[test]
fn memory_stays_within_the_bound_with_plain_values() {
    run("plain values", || [7_u8; 256]);
}

#[test]
fn memory_stays_within_the_bound_with_values_to_drop() {
    // An empty string takes no memory of its own.
    run("values to drop", String::new);
}

#[test]
fn full_blocks_release_unused_capacity() {
    // A block reserves as much as the one before it took, here 250 KB for keys of 6 KB.
    let config = Config {
        max_entries: 60_000,
        max_bytes: 64 << 20,
        long_ids: false,
        claims: false,
        value: || (),
    };
    let mut run = Run::new(1, config);
    run.max_key = 250;
    let mut bytes = 0;
    for number in 0..40 * 1_024 {
        let id = id(number, [250, 6][(number / 1_024 % 2) as usize]);
        bytes += id.len();
        let _ = run.call(|map| map.record(&id, ()));
    }
    let formula = (bytes + 40 * 1_024 * 30) as isize;
    assert!(
        run.held < formula * 5 / 4,
        "{} bytes for {formula}",
        run.held
    );
}
