//! Section: the longest single call.
//!
//! The scheduler can make any call long, but hardly the same call in each run. All runs are
//! identical, so the time of a call is its minimum over the runs.
//!
//! Each set has its own process. The allocator defers work on the millions of pieces that a
//! `HashSet<String>` frees, and the next large allocation would pay for it.

use std::collections::HashSet;
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use leakproof::{Clock, ManualClock, unsync};

use crate::chart::{Chart, Plot};
use crate::report::{Section, Table, Target, figure};
use crate::rounds::median;
use crate::sizes::Sizes;
use crate::stream::Ids;
use crate::{child, touched};
use example_support::text::thousands;

const TTL: Duration = Duration::from_secs(3600);

/// The calls of one phase of the runs.
struct Calls {
    /// The minimum of each call over the runs, in nanoseconds.
    least: Vec<u32>,
    /// The longest call of each run.
    longest: Vec<u32>,
}

impl Calls {
    fn new(count: usize) -> Self {
        Self {
            least: vec![u32::MAX; count],
            longest: Vec::new(),
        }
    }

    /// Times each `insert` of these ids.
    fn run(
        &mut self,
        clock: &Clock,
        ids: &Ids,
        range: Range<usize>,
        mut insert: impl FnMut(&str) -> bool,
    ) {
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

    fn longest(&self) -> Longest {
        let (at, ns) = self
            .least
            .iter()
            .enumerate()
            .max_by_key(|call| call.1)
            .expect("there were calls");
        Longest {
            recurring: f64::from(*ns) / 1e3,
            call: at as u64 + 1,
            typical: median(self.longest.iter().map(|&ns| f64::from(ns) / 1e3)),
        }
    }
}

/// The longest calls of a phase, in microseconds.
struct Longest {
    recurring: f64,
    call: u64,
    typical: f64,
}

impl Longest {
    fn parsed(line: &str) -> Self {
        let numbers: Vec<f64> = line
            .split(' ')
            .map(|number| number.parse().expect("a number"))
            .collect();
        let &[recurring, call, typical] = numbers.as_slice() else {
            panic!("three numbers: {line}")
        };
        Self {
            recurring,
            call: call as u64,
            typical,
        }
    }

    fn print(&self) {
        println!("{} {} {}", self.recurring, self.call, self.typical);
    }
}

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let phases = measured(sizes);
    let touched = touched::most(sizes.grown);
    let mut table = Table::new(&[
        "calls",
        "longest, µs",
        "at call",
        "longest in a typical run, µs",
    ]);
    for (name, longest) in &phases {
        let (recurring, typical) = (figure(longest.recurring), figure(longest.typical));
        table.row([
            (*name).to_owned(),
            recurring,
            thousands(longest.call),
            typical,
        ]);
    }
    let ours = phases[1..]
        .iter()
        .map(|(_, longest)| longest.recurring)
        .fold(0.0, f64::max);
    vec![Section {
        title: "Longest single call",
        text: text(sizes),
        tables: vec![table, touched.table()],
        charts: vec![Chart {
            file: "pauses.svg",
            title: "longest single insert, µs".to_owned(),
            plot: Plot::Bars(
                phases
                    .iter()
                    .map(|(name, longest)| ((*name).to_owned(), longest.recurring))
                    .collect(),
            ),
        }],
        targets: vec![
            Target {
                what: "entries touched by one call at most".to_owned(),
                reached: touched.entries() as f64,
                at_most: 64.0,
            },
            Target {
                what: "longest call, to the pause of `HashSet<String>`".to_owned(),
                reached: ours / phases[0].1.recurring,
                at_most: 1.0 / 50.0,
            },
        ],
    }]
}

fn text(sizes: &Sizes) -> String {
    format!(
        "Sets grow from nothing to {grown} ids, and each call of `insert` is timed. Ours then \
evicts for another {quarter}, then all its ids expire at once, and another {quarter} \
are inserted. All {runs} runs are identical. The time of a call is its minimum over \
the runs, which excludes the scheduler. The last column is the longest call of a run, \
as the median over the runs. It contains interruptions by the system, which the minimum does not.",
        grown = thousands(sizes.grown as u64),
        quarter = thousands(sizes.grown as u64 / 4),
        runs = sizes.runs,
    )
}

fn measured(sizes: &Sizes) -> Vec<(&'static str, Longest)> {
    let names = [
        "`HashSet<String>`, growing",
        "**leakproof**, growing",
        "**leakproof**, evicting",
        "**leakproof**, all expired at once",
    ];
    let (grown, runs) = (sizes.grown.to_string(), sizes.runs.to_string());
    let lines = ["std", "ours"].map(|whose| {
        eprint!("\rlongest call: {whose:<8}");
        child::run(child::Work::Pauses, &[whose, &grown, &runs])
    });
    eprintln!();
    names
        .into_iter()
        .zip(
            lines
                .iter()
                .flat_map(|lines| lines.lines())
                .map(Longest::parsed),
        )
        .collect()
}

/// Prints the longest calls of one set in a child process, a line per phase.
pub(crate) fn print(args: &[&str]) {
    let &[whose, grown, runs] = args else {
        panic!("three arguments")
    };
    let [grown, runs] = [grown, runs].map(|number| number.parse().expect("a number"));
    let ids = Ids::new(grown / 4 * 6);
    let clock = Clock::precise();
    let phases = if whose == "std" {
        std_calls(&clock, &ids, grown, runs)
    } else {
        our_calls(&clock, &ids, grown, runs)
    };
    phases.iter().for_each(|calls| calls.longest().print());
}

fn std_calls(clock: &Clock, ids: &Ids, grown: usize, runs: usize) -> Vec<Calls> {
    let mut growing = Calls::new(grown);
    for _ in 0..runs {
        let mut set = HashSet::new();
        growing.run(clock, ids, 0..grown, |id| set.insert(id.to_owned()));
    }
    vec![growing]
}

fn our_calls(clock: &Clock, ids: &Ids, grown: usize, runs: usize) -> Vec<Calls> {
    let quarter = grown / 4;
    let [mut filling, mut evicting, mut expired] = [grown, quarter, quarter].map(Calls::new);
    for _ in 0..runs {
        let time = ManualClock::new();
        // Seeded, so that all runs are identical.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let builder = unsync::DedupSet::<str>::builder()
            .ttl(TTL)
            .max_entries(grown)
            .clock(time.clock());
        let mut set = builder.hasher(hasher).build().expect("bounds are set");
        filling.run(clock, ids, 0..grown, |id| set.insert(id));
        evicting.run(clock, ids, grown..grown + quarter, |id| set.insert(id));
        time.advance(TTL);
        expired.run(clock, ids, grown + quarter..grown + 2 * quarter, |id| {
            set.insert(id)
        });
    }
    vec![filling, evicting, expired]
}
