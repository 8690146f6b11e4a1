//! Fills caches to the steady state, then times them in rounds, each on the same events.

use std::ops::Range;

use leakproof::Clock;

use super::contestant::{Contestant, Entry};
use super::contestants;
use super::event::{Batch, Key};
use super::zipf::Trace;
use crate::rounds::{Rounds, interleaved};
use crate::sizes::Sizes;

/// Keys per entry of capacity.
pub(crate) const UNIVERSE: usize = 10;
/// Numbers of threads. Several threads share one cache.
pub(crate) const THREADS: [usize; 2] = [1, 2];
/// Fill events per entry of capacity for caches that learn the frequency of keys. They continue to
/// learn after them, but slowly.
const LEARNING: usize = 20;
/// The most fill events of a slow cache.
const MOST_SLOW: usize = 4_500_000;
/// Fill events per batch.
const PIECE: usize = 10_000;

/// The events for caches of one capacity.
pub(crate) struct Course {
    pub(crate) capacity: usize,
    /// The first of the timed events.
    pub(crate) start: usize,
    pub(crate) trace: Trace,
}

impl Course {
    pub(crate) fn new(capacity: usize, sizes: &Sizes) -> Self {
        let start = LEARNING * capacity;
        let events = start + sizes.rounds * THREADS.len() * timed(sizes, false);
        Self {
            capacity,
            start,
            trace: Trace::new(UNIVERSE * capacity, events),
        }
    }

    /// The last events before the timed ones, with more distinct keys than the capacity. A cache
    /// that does not learn is in the steady state after them.
    pub(crate) fn filling(&self) -> Range<usize> {
        self.start - self.capacity * 9 / 2..self.start
    }

    /// The last events before the timed ones, for caches that learn.
    pub(crate) fn learning(&self, is_slow: bool) -> Range<usize> {
        self.start
            - if is_slow {
                self.start.min(MOST_SLOW)
            } else {
                self.start
            }..self.start
    }
}

/// The events of one timing, half of other sections, because there are four times as many timings.
pub(crate) fn timed(sizes: &Sizes, is_slow: bool) -> usize {
    if is_slow {
        sizes.timed_slow / 2
    } else {
        sizes.timed / 2
    }
}

/// A cache and the number of its threads.
#[derive(Clone, Copy)]
struct Case {
    entry: usize,
    threads: usize,
}

/// The measurements with one kind of key.
pub(crate) struct Played {
    names: Vec<&'static str>,
    cases: Vec<Case>,
    rounds: Rounds,
    /// Hits and events, by case.
    found: Vec<(usize, usize)>,
}

impl Played {
    pub(crate) fn new<K: Key>(course: &Course, sizes: &Sizes) -> Self {
        let entries = contestants::all::<K>();
        let batch = &mut Batch::default();
        let mut warm: Vec<Warm<'_, K>> = entries
            .iter()
            .map(|entry| Warm::new(entry, course, batch))
            .collect();
        let cases: Vec<Case> = THREADS
            .iter()
            .flat_map(|&threads| (0..entries.len()).map(move |entry| Case { entry, threads }))
            .filter(|case| case.threads == 1 || entries[case.entry].is_shared)
            .collect();
        let mut found = vec![(0, 0); cases.len()];
        let title = format!("lru, {} keys, {} entries", K::NAME, course.capacity);
        let rounds = interleaved(&title, sizes.rounds, cases.len(), |at| {
            let Case { entry, threads } = cases[at];
            let events = timed(sizes, entries[entry].is_slow);
            let (took, hits) = warm[entry].time(batch, events, threads);
            found[at] = (found[at].0 + hits, found[at].1 + events);
            took
        });
        Self {
            names: entries.iter().map(|entry| entry.name).collect(),
            cases,
            rounds,
            found,
        }
    }

    fn at(&self, name: &str, threads: usize) -> usize {
        let of = |case: &Case| self.names[case.entry] == name && case.threads == threads;
        self.cases
            .iter()
            .position(of)
            .expect("a cache of this name")
    }

    /// Returns the nanoseconds per event, over all threads.
    pub(crate) fn nanos(&self, name: &str, threads: usize) -> f64 {
        self.rounds.median(self.at(name, threads))
    }

    pub(crate) fn ratio(&self, name: &str, to: &str, threads: usize) -> f64 {
        self.rounds
            .ratio(self.at(name, threads), self.at(to, threads))
    }

    pub(crate) fn hit_ratio(&self, name: &str, threads: usize) -> f64 {
        let (found, events) = self.found[self.at(name, threads)];
        found as f64 / events as f64
    }
}

/// A cache in the steady state.
struct Warm<'a, K> {
    cache: Box<dyn Contestant<K>>,
    trace: &'a Trace,
    /// The next event.
    next: usize,
}

impl<'a, K: Key> Warm<'a, K> {
    fn new(entry: &Entry<K>, course: &'a Course, batch: &mut Batch<K>) -> Self {
        eprint!(
            "\rlru, {} keys, {} entries, filling: {:<60}",
            K::NAME,
            course.capacity,
            entry.name
        );
        let mut cache = (entry.make)(course.capacity);
        let before = if entry.is_learning {
            course.learning(entry.is_slow)
        } else {
            course.filling()
        };
        for first in before.clone().step_by(PIECE) {
            let piece = first..before.end.min(first + PIECE);
            cache.play(batch.of(course.trace.numbers(piece)), 1);
        }
        Self {
            cache,
            trace: &course.trace,
            next: course.start,
        }
    }

    /// Returns the nanoseconds per event, and the hits, of the next events.
    fn time(&mut self, batch: &mut Batch<K>, events: usize, threads: usize) -> (f64, usize) {
        let events = batch.of(self.trace.numbers(self.next..self.next + events));
        self.next += events.len();
        let clock = Clock::precise();
        let start = clock.now();
        let found = self.cache.play(events, threads);
        let took = clock.now() - start;
        (took.as_nanos() as f64 / events.len() as f64, found)
    }
}
