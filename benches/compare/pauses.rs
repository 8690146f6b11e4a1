//! Section: the longest single call.
//!
//! A scheduler that takes the core away makes any call long, but hardly the same one in each run. All runs do exactly
//! the same, so the time of a call is the least that it took in any of them.

use std::collections::HashSet;
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use leakproof::{Clock, ManualClock, unsync};

use crate::chart::Chart;
use crate::report::{Section, Table, Target, figure, grouped};
use crate::rounds::median;
use crate::sizes::Sizes;
use crate::stream::Ids;
use crate::touched;

const TTL: Duration = Duration::from_secs(3600);

/// The calls of one phase of the runs.
struct Calls {
    /// The least time that each took in any run, in nanoseconds.
    least: Vec<u32>,
    /// The longest call of each run.
    longest: Vec<u32>,
}

impl Calls {
    fn new(count: usize) -> Self {
        Self { least: vec![u32::MAX; count], longest: Vec::new() }
    }

    /// Times each call of `insert` with these ids.
    fn run(&mut self, clock: &Clock, ids: &Ids, range: Range<usize>, mut insert: impl FnMut(&str) -> bool) {
        let mut longest = 0;
        for (least, at) in self.least.iter_mut().zip(range) {
            let start = clock.now();
            black_box(insert(ids.get(at)));
            let took = u32::try_from((clock.now() - start).as_nanos()).unwrap_or(u32::MAX);
            *least = took.min(*least);
            longest = took.max(longest);
        }
        self.longest.push(longest);
    }

    /// In microseconds, and which call it was.
    fn recurring(&self) -> (f64, usize) {
        let (at, ns) = self.least.iter().enumerate().max_by_key(|call| call.1).expect("there were calls");
        (f64::from(*ns) / 1e3, at)
    }

    fn typical(&self) -> f64 {
        median(self.longest.iter().map(|&ns| f64::from(ns) / 1e3))
    }
}

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let ids = Ids::new(sizes.grown / 4 * 6);
    let phases = measured(&ids, sizes);
    let touched = touched::most(&ids, sizes.grown);
    let mut table = Table::new(&["calls", "longest, µs", "at call", "longest in a typical run, µs"]);
    for (name, calls) in &phases {
        let (longest, at) = calls.recurring();
        table.row([(*name).to_owned(), figure(longest), grouped(at as u64 + 1), figure(calls.typical())]);
    }
    let ours = phases[1..].iter().map(|(_, calls)| calls.recurring().0).fold(0.0, f64::max);
    vec![Section {
        title: "Longest single call",
        text: text(sizes),
        tables: vec![table, touched.table()],
        charts: vec![Chart {
            file: "pauses.svg",
            title: "longest single insert, µs".to_owned(),
            bars: phases.iter().map(|(name, calls)| ((*name).to_owned(), calls.recurring().0)).collect(),
        }],
        targets: vec![
            Target {
                what: "entries touched by one call at most".to_owned(),
                reached: touched.entries() as f64,
                at_most: 64.0,
            },
            Target {
                what: "longest call, to the pause of `HashSet<String>`".to_owned(),
                reached: ours / phases[0].1.recurring().0,
                at_most: 1.0 / 50.0,
            },
        ],
    }]
}

fn text(sizes: &Sizes) -> String {
    format!(
        "Sets grow from nothing to {grown} ids, each call of `insert` being timed; ours then evicts for another \
         {quarter}, after which all its ids expire at once, and another {quarter} are inserted. The runs, {runs} of \
         them, do exactly the same, and the time of a call is the least that it took in any of them, which leaves out \
         what the scheduler did; the last column is the longest call as it came, the median over the runs.",
        grown = grouped(sizes.grown as u64),
        quarter = grouped(sizes.grown as u64 / 4),
        runs = sizes.runs,
    )
}

fn measured(ids: &Ids, sizes: &Sizes) -> [(&'static str, Calls); 4] {
    let (grown, quarter) = (sizes.grown, sizes.grown / 4);
    let clock = Clock::precise();
    let mut growing = Calls::new(grown);
    let mut ours = [Calls::new(grown), Calls::new(quarter), Calls::new(quarter)];
    for run in 0..sizes.runs {
        eprint!("\rlongest call: run {} of {}   ", run + 1, sizes.runs);
        let mut set = HashSet::new();
        growing.run(&clock, ids, 0..grown, |id| set.insert(id.to_owned()));
        drop(set);
        ours_once(&clock, ids, grown, &mut ours);
    }
    eprintln!();
    let [filling, evicting, expired] = ours;
    [
        ("`HashSet<String>`, growing", growing),
        ("**leakproof**, growing", filling),
        ("**leakproof**, evicting", evicting),
        ("**leakproof**, all expired at once", expired),
    ]
}

fn ours_once(clock: &Clock, ids: &Ids, grown: usize, [filling, evicting, expired]: &mut [Calls; 3]) {
    let time = ManualClock::new();
    // Seeded, so that each run does the same.
    let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let builder = unsync::DedupSet::<str>::builder().ttl(TTL).max_entries(grown).clock(time.clock());
    let mut set = builder.hasher(hasher).build().expect("bounds are set");
    let quarter = grown / 4;
    filling.run(clock, ids, 0..grown, |id| set.insert(id));
    evicting.run(clock, ids, grown..grown + quarter, |id| set.insert(id));
    time.advance(TTL);
    expired.run(clock, ids, grown + quarter..grown + 2 * quarter, |id| set.insert(id));
}
