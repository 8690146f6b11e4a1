//! The sizes of the measurements: full ones, or small ones to check that the program works.

use std::path::PathBuf;

/// The share of events that are new.
const NEW_SHARE: f64 = 0.85;

pub(crate) struct Sizes {
    pub(crate) quick: bool,
    /// Interleaved rounds of a timed section.
    pub(crate) rounds: usize,
    /// The capacity of contestants that are bounded by a count.
    pub(crate) live: usize,
    /// The ticks for which an id is remembered. The number of live ids stays just below `live`, so
    /// a contestant that evicts in order of arrival at `live` ids gives no wrong answer.
    pub(crate) window: u64,
    /// Events before the timed ones, which fill the window.
    pub(crate) warm_up: usize,
    /// Timed events.
    pub(crate) timed: usize,
    /// Timed events for contestants that take microseconds per event.
    pub(crate) timed_slow: usize,
    /// Events of the check for wrong answers.
    pub(crate) checked: usize,
    /// Ids that sets grow to in the section on pauses.
    pub(crate) grown: usize,
    /// Ids that sets grow to in the section on growth, and rounds there.
    pub(crate) growth: [usize; 7],
    pub(crate) growth_rounds: usize,
    /// Runs of the section on pauses.
    pub(crate) runs: usize,
    /// The capacities of the caches.
    pub(crate) cached: [usize; 2],
    /// A folder of real traces.
    pub(crate) traces: Option<PathBuf>,
}

impl Sizes {
    pub(crate) fn full() -> Self {
        Self {
            quick: false,
            rounds: 7,
            live: 1_000_000,
            window: window(1_000_000),
            warm_up: 1_300_000,
            timed: 500_000,
            timed_slow: 50_000,
            checked: 3_000_000,
            grown: 4_000_000,
            growth: [
                10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000,
            ],
            growth_rounds: 3,
            runs: 5,
            cached: [10_000, 1_000_000],
            traces: None,
        }
    }

    pub(crate) fn quick() -> Self {
        Self {
            quick: true,
            rounds: 1,
            live: 20_000,
            window: window(20_000),
            warm_up: 30_000,
            timed: 20_000,
            timed_slow: 5_000,
            checked: 60_000,
            grown: 100_000,
            growth: [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000],
            growth_rounds: 1,
            runs: 2,
            cached: [1_000, 10_000],
            traces: None,
        }
    }
}

/// Returns the ticks after which `live` minus about five standard deviations of ids are new.
fn window(live: usize) -> u64 {
    let live = live as f64;
    ((live - 2.0 * live.sqrt()) / NEW_SHARE) as u64
}
