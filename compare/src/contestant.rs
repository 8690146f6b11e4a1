//! The contestants of a measurement, and their runs.

use std::any::Any;
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use leakproof::Clock;

use crate::memory::resident;
use crate::sizes::Sizes;
use crate::stream::{ID_LEN, Stream, each_id, push_id};

/// The bounds of a contestant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Ticks for which an id is a duplicate.
    pub(crate) window: u64,
    /// The capacity of a contestant that is bounded by a number of ids.
    pub(crate) capacity: usize,
    /// The entry bound of a contestant that expires ids by time.
    pub(crate) bound: usize,
}

impl Setup {
    /// Returns the bounds for a stream. A contestant with a ttl must never reach its entry bound.
    pub(crate) fn steady(sizes: &Sizes) -> Self {
        Self {
            window: sizes.window,
            capacity: sizes.live,
            bound: sizes.live * 11 / 10,
        }
    }

    /// Returns the bounds for `count` ids that do not expire.
    pub(crate) fn exactly(count: usize) -> Self {
        Self {
            window: u64::MAX / 2,
            capacity: count,
            bound: count,
        }
    }
}

/// A set of ids.
pub(crate) trait Contestant: 'static {
    fn new(setup: Setup) -> Self;

    /// Records an id. Returns `true` if it is new.
    fn insert(&mut self, tick: u64, id: &str) -> bool;

    /// Inserts the ids of these events. Returns the number of wrong answers.
    fn play(&mut self, stream: &Stream, events: Range<usize>) -> usize {
        // The comparison also prevents the compiler from removing the work.
        events
            .filter(|&at| self.insert(at as u64, stream.id(at)) != stream.is_fresh(at))
            .count()
    }
}

/// A contestant and its measurements.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// The calls that are measured.
    pub(crate) idiom: &'static str,
    pub(crate) slow: bool,
    pub(crate) time: fn(&Stream, &Sizes, usize) -> f64,
    pub(crate) check: fn(&Stream, &Sizes) -> usize,
    pub(crate) fill: fn(Setup, usize) -> Box<dyn Any>,
    pub(crate) grow: fn(&[usize]) -> Vec<Grown>,
}

impl Entry {
    pub(crate) fn new<C: Contestant>(name: &'static str, idiom: &'static str) -> Self {
        Self {
            name,
            idiom,
            slow: false,
            time: time::<C>,
            check: check::<C>,
            fill: fill::<C>,
            grow: grow::<C>,
        }
    }

    /// Slow contestants are timed on fewer events.
    pub(crate) fn slow(self) -> Self {
        Self { slow: true, ..self }
    }

    pub(crate) fn events(&self, sizes: &Sizes) -> usize {
        if self.slow {
            sizes.timed_slow
        } else {
            sizes.timed
        }
    }
}

/// Returns the nanoseconds per event, after the contestant has reached the steady state.
fn time<C: Contestant>(stream: &Stream, sizes: &Sizes, events: usize) -> f64 {
    let clock = Clock::precise();
    let mut contestant = C::new(Setup::steady(sizes));
    contestant.play(stream, 0..sizes.warm_up);
    let start = clock.now();
    black_box(contestant.play(stream, sizes.warm_up..sizes.warm_up + events));
    let took = clock.now() - start;
    took.as_nanos() as f64 / events as f64
}

/// Returns the number of wrong answers to the whole stream.
fn check<C: Contestant>(stream: &Stream, sizes: &Sizes) -> usize {
    C::new(Setup::steady(sizes)).play(stream, 0..stream.len())
}

/// A contestant at one of the sizes that it grows to.
pub(crate) struct Grown {
    /// Nanoseconds per insert since the previous size.
    pub(crate) nanos: f64,
    /// The growth of resident memory.
    pub(crate) bytes: u64,
}

/// Ids that are generated before a timed batch.
const PIECE: usize = 10_000;

/// Grows a contestant from nothing through these sizes. Its bound is twice the last size.
fn grow<C: Contestant>(sizes: &[usize]) -> Vec<Grown> {
    let clock = Clock::precise();
    // Written once, so that its pages are resident before memory is measured.
    let mut ids = " ".repeat(PIECE * ID_LEN);
    let before = resident();
    let last = sizes.last().copied().unwrap_or(1);
    let mut contestant = C::new(Setup::exactly(2 * last));
    let mut held = 0;
    let grow_to = |&size: &usize| {
        let (first, mut took) = (held, Duration::ZERO);
        while held < size {
            let piece = PIECE.min(size - held);
            ids.clear();
            (held..held + piece).for_each(|number| push_id(number as u64, &mut ids));
            let start = clock.now();
            for at in 0..piece {
                let is_new =
                    contestant.insert((held + at) as u64, &ids[at * ID_LEN..(at + 1) * ID_LEN]);
                assert!(is_new, "distinct ids are new");
            }
            took += clock.now() - start;
            held += piece;
        }
        Grown {
            nanos: took.as_nanos() as f64 / (size - first) as f64,
            bytes: resident().saturating_sub(before),
        }
    };
    sizes.iter().map(grow_to).collect()
}

/// Returns a contestant with `count` ids.
fn fill<C: Contestant>(setup: Setup, count: usize) -> Box<dyn Any> {
    let mut contestant = C::new(setup);
    let mut tick = 0;
    each_id(0, count, |id| {
        assert!(contestant.insert(tick, id), "distinct ids are new");
        tick += 1;
    });
    Box::new(contestant)
}
