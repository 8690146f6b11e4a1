//! One round: its random numbers, its clock, its verdict and its threads.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use leakproof::{Clock, ManualClock};

use crate::ALLOCATOR;
use example_support::random::scramble;

pub(crate) struct Round {
    pub(crate) threads: usize,
    /// Operations per thread and part of the round.
    operations: usize,
    /// Chooses the limits.
    pub(crate) dice: Dice,
    pub(crate) verdict: Arc<Verdict>,
}

/// The first broken promise.
#[derive(Default)]
pub(crate) struct Verdict {
    broken: Mutex<Option<String>>,
    /// Ends the round.
    is_broken: AtomicBool,
}

impl Verdict {
    /// Records a promise that does not hold. The first one is kept.
    pub(crate) fn check(&self, holds: bool, promise: impl FnOnce() -> String) {
        if !holds {
            self.broken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(promise);
            self.is_broken.store(true, SeqCst);
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(SeqCst)
    }
}

/// Completed operations of all rounds, for the watchdog.
pub(crate) static PROGRESS: AtomicU64 = AtomicU64::new(0);

/// The most allocated bytes, sampled once per `SAMPLED` operations.
pub(crate) static MOST_BYTES: AtomicUsize = AtomicUsize::new(0);
const SAMPLED: usize = 64;

impl Round {
    pub(crate) fn new(seed: u64, number: u64, threads: usize, operations: usize) -> Self {
        let dice = Dice::new(scramble(seed ^ scramble(number)));
        Self {
            threads,
            operations,
            dice,
            verdict: Arc::default(),
        }
    }

    pub(crate) fn check(&self, holds: bool, promise: impl FnOnce() -> String) {
        self.verdict.check(holds, promise);
    }

    pub(crate) fn check_equal<T: PartialEq + Display>(&self, what: &str, got: T, expected: T) {
        self.check(got == expected, || format!("{what}: {got}, not {expected}"));
    }

    pub(crate) fn broken(&self) -> Option<String> {
        self.verdict
            .broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Runs `worker` on all threads, which start together. Returns their operations.
    pub(crate) fn play<W: FnMut(&mut Dice, &mut Tally)>(
        &self,
        worker: impl Fn(usize) -> W + Sync,
    ) -> Tally {
        self.play_some(self.operations, worker)
    }

    /// Does what `play` does, with a number of operations per thread.
    pub(crate) fn play_some<W: FnMut(&mut Dice, &mut Tally)>(
        &self,
        operations: usize,
        worker: impl Fn(usize) -> W + Sync,
    ) -> Tally {
        let (start, end) = (Barrier::new(self.threads), Barrier::new(self.threads));
        let one = |number: usize| {
            let mut dice = Dice::new(self.dice.state ^ scramble(number as u64 + 1));
            let mut tally = Tally::default();
            let mut work = worker(number);
            let all_are_done = Wait(&end);
            start.wait();
            for operation in 0..operations {
                if contained(|| work(&mut dice, &mut tally)).is_none() {
                    tally.count("panics that callers got");
                }
                if self.verdict.is_broken() {
                    break;
                }
                completed(operation);
            }
            // A thread drops its values after the last check.
            drop(all_are_done);
            drop(work);
            tally
        };
        let mut all = Tally::default();
        thread::scope(|scope| {
            let one = &one;
            let threads: Vec<_> = (0..self.threads)
                .map(|number| scope.spawn(move || one(number)))
                .collect();
            for thread in threads {
                match thread.join() {
                    Ok(tally) => all.add(&tally),
                    Err(payload) => self.check(false, || {
                        format!("a thread panicked: {}", panic_text(&*payload))
                    }),
                }
            }
        });
        all
    }
}

/// Counts a completed operation of a thread or task.
pub(crate) fn completed(operation: usize) {
    PROGRESS.fetch_add(1, SeqCst);
    if operation.is_multiple_of(SAMPLED) {
        MOST_BYTES.fetch_max(ALLOCATOR.allocated(), SeqCst);
    }
}

/// Waits when dropped, after a panic as well.
struct Wait<'a>(&'a Barrier);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.wait();
    }
}

pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("(no text)")
}

/// Pseudo-random numbers, the same for the same seed.
#[derive(Clone)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns dice with other numbers.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.state)
    }

    /// Returns a number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    /// Returns a number in `low..=high`. Each power of two is equally likely.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        let fraction = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let value = low as f64 * (high as f64 / low as f64).powf(fraction);
        (value as u64).clamp(low, high)
    }
}

/// Counts of operations.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&mut self, what: &'static str, by: u64) {
        *self.0.entry(what).or_default() += by;
    }

    pub(crate) fn get(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        other
            .0
            .iter()
            .for_each(|(&what, &count)| self.count_many(what, count));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(&what, &count)| (what, count))
    }
}

/// A clock that the threads advance by nanoseconds, exactly to a limit, and by years, and that they
/// try to set back.
pub(crate) struct Time {
    manual: ManualClock,
    clock: Clock,
    /// The limits of the round, in nanoseconds.
    limits: Vec<u64>,
}

const YEAR: u64 = 365 * 24 * 3600 * 1_000_000_000;
/// Readings saturate at 584 years.
const LAST_LEAP: u64 = 500 * YEAR;
/// Operations per advance of the clock.
const MOVES: usize = 400;

impl Time {
    pub(crate) fn new(limits: &[Duration]) -> Self {
        let manual = ManualClock::new();
        let clock = manual.clock();
        Self {
            manual,
            clock,
            limits: limits.iter().map(|&limit| nanos(limit)).collect(),
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub(crate) fn now(&self) -> u64 {
        nanos(self.clock.now())
    }

    /// Returns a clock of real time, for which `pass` and `leap` have no effect.
    pub(crate) fn real() -> Self {
        Self {
            clock: Clock::precise(),
            ..Self::new(&[Duration::ZERO])
        }
    }

    /// Advances the clock by a duration.
    pub(crate) fn leap(&self, by: Duration) {
        self.manual.set(self.clock.now() + by);
    }

    /// Advances the clock at some of the calls.
    pub(crate) fn pass(&self, dice: &mut Dice, tally: &mut Tally) {
        if dice.one_in(MOVES) {
            self.change(dice, tally);
        }
    }

    /// Advances the clock, or tries to set it back.
    pub(crate) fn change(&self, dice: &mut Dice, tally: &mut Tally) {
        let now = self.now();
        let limit = self.limits[dice.below(self.limits.len())];
        let by = match dice.below(20) {
            0..8 => dice.between(1, limit.max(2)) / 8,
            8..12 => limit,
            12..15 => limit - 1,
            15..17 => 1,
            17 if now < LAST_LEAP => {
                tally.count("clock jumps of years");
                dice.between(YEAR, 5 * YEAR)
            }
            _ => {
                tally.count("clock set back");
                return self.manual.set(Duration::from_nanos(now - now.min(limit)));
            }
        };
        tally.count("clock advanced");
        self.manual.set(Duration::from_nanos(now + by));
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The payload of deliberate panics.
pub(crate) struct Deliberate;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Returns the number of deliberate panics.
pub(crate) fn panics() -> u64 {
    PANICS.load(SeqCst)
}

/// Panics as user code may.
pub(crate) fn panic_deliberately() -> ! {
    PANICS.fetch_add(1, SeqCst);
    panic::panic_any(Deliberate)
}

/// Prints other panics than deliberate ones only.
pub(crate) fn silence_deliberate_panics() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Deliberate>() {
            others(info);
        }
    }));
}

/// Returns the result of `work`, or `None` after a deliberate panic.
pub(crate) fn contained<R>(work: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Some(result),
        Err(payload) if payload.is::<Deliberate>() => None,
        Err(payload) => panic::resume_unwind(payload),
    }
}
