//! What takes part in a measurement, and how it is run.

use std::any::Any;
use std::hint::black_box;
use std::ops::Range;

use leakproof::Clock;

use crate::sizes::Sizes;
use crate::stream::{Stream, each_id};

/// The bounds that contestants are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Ticks for which an id is a duplicate.
    pub(crate) window: u64,
    /// Ids that a contestant bounded by their number holds.
    pub(crate) capacity: usize,
    /// The bound on ids for contestants that let go by time.
    pub(crate) bound: usize,
}

impl Setup {
    /// For a stream: whoever can go by time is not to be troubled by the bound.
    pub(crate) fn steady(sizes: &Sizes) -> Self {
        Self { window: sizes.window, capacity: sizes.live, bound: sizes.live * 11 / 10 }
    }

    /// Room for `count` ids that do not expire.
    pub(crate) fn exactly(count: usize) -> Self {
        Self { window: u64::MAX / 2, capacity: count, bound: count }
    }
}

/// A set of ids that remembers them.
pub(crate) trait Contestant: 'static {
    fn new(setup: Setup) -> Self;

    /// Remembers an id; whether it is new.
    fn insert(&mut self, tick: u64, id: &str) -> bool;

    /// Inserts these events' ids; how many answers are wrong.
    fn play(&mut self, stream: &Stream, events: Range<usize>) -> usize {
        // Comparing each answer also keeps the compiler from dropping the work.
        events.filter(|&at| self.insert(at as u64, stream.id(at)) != stream.is_fresh(at)).count()
    }
}

/// A contestant by name, with what can be done to it.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// How it is used.
    pub(crate) idiom: &'static str,
    pub(crate) slow: bool,
    pub(crate) time: fn(&Stream, &Sizes, usize) -> f64,
    pub(crate) check: fn(&Stream, &Sizes) -> usize,
    pub(crate) fill: fn(Setup, usize) -> Box<dyn Any>,
}

impl Entry {
    pub(crate) fn new<C: Contestant>(name: &'static str, idiom: &'static str) -> Self {
        Self { name, idiom, slow: false, time: time::<C>, check: check::<C>, fill: fill::<C> }
    }

    /// It needs so long that it is timed on fewer events.
    pub(crate) fn slow(self) -> Self {
        Self { slow: true, ..self }
    }

    pub(crate) fn events(&self, sizes: &Sizes) -> usize {
        if self.slow { sizes.timed_slow } else { sizes.timed }
    }
}

/// Nanoseconds an event in the steady state, where the contestant has just been brought to.
fn time<C: Contestant>(stream: &Stream, sizes: &Sizes, events: usize) -> f64 {
    let clock = Clock::precise();
    let mut contestant = C::new(Setup::steady(sizes));
    contestant.play(stream, 0..sizes.warm_up);
    let start = clock.now();
    black_box(contestant.play(stream, sizes.warm_up..sizes.warm_up + events));
    let took = clock.now() - start;
    took.as_nanos() as f64 / events as f64
}

/// The wrong answers to the whole stream.
fn check<C: Contestant>(stream: &Stream, sizes: &Sizes) -> usize {
    C::new(Setup::steady(sizes)).play(stream, 0..stream.len())
}

/// A contestant that holds `count` ids.
fn fill<C: Contestant>(setup: Setup, count: usize) -> Box<dyn Any> {
    let mut contestant = C::new(setup);
    let mut tick = 0;
    each_id(0, count, |id| {
        assert!(contestant.insert(tick, id), "distinct ids are new");
        tick += 1;
    });
    Box::new(contestant)
}
