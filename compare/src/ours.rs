//! The contestants of this crate.

use std::ops::Range;
use std::time::Duration;

use leakproof::{Clock, DedupSet, ManualClock, unsync};

use crate::contestant::{Contestant, Entry, Setup};
use crate::stream::Stream;

pub(crate) const UNSYNC: &str = "**leakproof** `unsync::DedupSet`";
pub(crate) const UNSYNC_BATCH: &str = "**leakproof** `unsync::DedupSet`, batches";
pub(crate) const UNSYNC_EXPIRING: &str = "**leakproof** `unsync::DedupSet`, expiring";
pub(crate) const SHARED: &str = "**leakproof** `DedupSet`";
pub(crate) const SHARED_BATCH: &str = "**leakproof** `DedupSet`, batches";
pub(crate) const SHARED_EXPIRING: &str = "**leakproof** `DedupSet`, expiring";

const BATCH: usize = 256;
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn entries() -> Vec<Entry> {
    let single = "`insert`, default clock, a ttl of a day";
    let batch = "`insert_batch` of 256, default clock, a ttl of a day";
    let expiring = "`insert`, ttl by `ManualClock`";
    vec![
        Entry::new::<Unsynced<Real>>(UNSYNC, single),
        Entry::new::<UnsyncedBatch>(UNSYNC_BATCH, batch),
        Entry::new::<Unsynced<Manual>>(UNSYNC_EXPIRING, expiring),
        Entry::new::<Sharded<Real>>(SHARED, single),
        Entry::new::<ShardedBatch>(SHARED_BATCH, batch),
        Entry::new::<Sharded<Manual>>(SHARED_EXPIRING, expiring),
    ]
}

/// The clock of a contestant, and the bounds that fit it.
trait Time: 'static {
    fn new() -> Self;
    fn clock(&self) -> Clock;
    fn bounds(setup: Setup) -> (Duration, usize);
    fn set(&self, tick: u64);
}

/// The default clock. Its time is unrelated to ticks, so the entry bound evicts.
struct Real;

impl Time for Real {
    fn new() -> Self {
        Self
    }

    fn clock(&self) -> Clock {
        Clock::default()
    }

    fn bounds(setup: Setup) -> (Duration, usize) {
        (DAY, setup.capacity)
    }

    fn set(&self, _: u64) {}
}

/// A tick is a nanosecond, so ids expire.
struct Manual(ManualClock);

impl Time for Manual {
    fn new() -> Self {
        Self(ManualClock::new())
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }

    fn bounds(setup: Setup) -> (Duration, usize) {
        (Duration::from_nanos(setup.window), setup.bound)
    }

    fn set(&self, tick: u64) {
        self.0.set(Duration::from_nanos(tick));
    }
}

struct Unsynced<T> {
    time: T,
    set: unsync::DedupSet<str>,
}

impl<T: Time> Contestant for Unsynced<T> {
    fn new(setup: Setup) -> Self {
        let time = T::new();
        let (ttl, max) = T::bounds(setup);
        let builder = unsync::DedupSet::builder()
            .ttl(ttl)
            .max_entries(max)
            .clock(time.clock());
        Self {
            time,
            set: builder.build().expect("bounds are set"),
        }
    }

    fn insert(&mut self, tick: u64, id: &str) -> bool {
        self.time.set(tick);
        self.set.insert(id)
    }
}

struct Sharded<T> {
    time: T,
    set: DedupSet<str>,
}

impl<T: Time> Contestant for Sharded<T> {
    fn new(setup: Setup) -> Self {
        let time = T::new();
        let (ttl, max) = T::bounds(setup);
        let builder = DedupSet::builder()
            .ttl(ttl)
            .max_entries(max)
            .clock(time.clock());
        Self {
            time,
            set: builder.build().expect("bounds are set"),
        }
    }

    fn insert(&mut self, tick: u64, id: &str) -> bool {
        self.time.set(tick);
        self.set.insert(id)
    }
}

struct UnsyncedBatch(Unsynced<Real>);

impl Contestant for UnsyncedBatch {
    fn new(setup: Setup) -> Self {
        Self(Unsynced::new(setup))
    }

    fn insert(&mut self, tick: u64, id: &str) -> bool {
        self.0.insert(tick, id)
    }

    fn play(&mut self, stream: &Stream, events: Range<usize>) -> usize {
        play_batches(stream, events, |ids| self.0.set.insert_batch(ids))
    }
}

struct ShardedBatch(Sharded<Real>);

impl Contestant for ShardedBatch {
    fn new(setup: Setup) -> Self {
        Self(Sharded::new(setup))
    }

    fn insert(&mut self, tick: u64, id: &str) -> bool {
        self.0.insert(tick, id)
    }

    fn play(&mut self, stream: &Stream, events: Range<usize>) -> usize {
        play_batches(stream, events, |ids| self.0.set.insert_batch(ids))
    }
}

/// [`Contestant::play`] with a call per batch, which is a vector of ids.
fn play_batches(
    stream: &Stream,
    events: Range<usize>,
    mut insert: impl FnMut(&[&str]) -> Vec<bool>,
) -> usize {
    let mut ids = Vec::with_capacity(BATCH);
    let mut wrong = 0;
    for first in events.clone().step_by(BATCH) {
        let batch = first..events.end.min(first + BATCH);
        ids.clear();
        ids.extend(batch.clone().map(|at| stream.id(at)));
        let answers = insert(&ids);
        wrong += batch
            .zip(answers)
            .filter(|&(at, answer)| answer != stream.is_fresh(at))
            .count();
    }
    wrong
}
