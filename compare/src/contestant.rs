//! What takes part in a measurement, and how it is run.

use std::any::Any;
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use leakproof::Clock;

use crate::memory::resident;
use crate::sizes::Sizes;
use crate::stream::{ID_LEN, Stream, each_id, push_id};

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
        Self {
            window: sizes.window,
            capacity: sizes.live,
            bound: sizes.live * 11 / 10,
        }
    }

    /// Room for `count` ids that do not expire.
    pub(crate) fn exactly(count: usize) -> Self {
        Self {
            window: u64::MAX / 2,
            capacity: count,
            bound: count,
        }
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
        events
            .filter(|&at| self.insert(at as u64, stream.id(at)) != stream.is_fresh(at))
            .count()
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

    /// It needs so long that it is timed on fewer events.
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

/// How a contestant is at one of the sizes that it grows to.
pub(crate) struct Grown {
    /// Nanoseconds an insert, from the size before on.
    pub(crate) nanos: f64,
    /// By which the process has grown in resident memory.
    pub(crate) bytes: u64,
}

/// Ids that are made at a time, before they are inserted.
const PIECE: usize = 10_000;

/// Grows a contestant from nothing through these sizes. Its bound, if it has one, is twice the last.
fn grow<C: Contestant>(sizes: &[usize]) -> Vec<Grown> {
    let clock = Clock::precise();
    // Written to, so that its pages are there when memory is looked at.
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
