//! Section: the same work on collections with and without a `Monitor`.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use leakproof::Watch;
use leakproof::monitor::Monitor;

use crate::full::{full_cache, full_set};
use crate::report::{Section, Table, figure};
use crate::rounds::{Rounds, timed};
use crate::sizes::Sizes;
use crate::stream::{Ids, mix};
use example_support::text::thousands;

/// The default is a minute. Even a short run is sampled a dozen times.
const EVERY: Duration = Duration::from_millis(10);
/// The same work three times. The two unwatched runs show the noise.
const NAMES: [&str; 3] = ["unwatched", "unwatched, once more", "watched"];
const WATCHED: usize = 2;

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let rows = [
        ("`DedupSet::insert`, shared", inserts(sizes)),
        ("`LruCache::get`, shared", gets(sizes)),
    ];
    let mut table = Table::new(&[
        "call",
        "ns, unwatched",
        "ns, watched",
        "watched to unwatched",
        "unwatched to itself",
    ]);
    for (call, rounds) in &rows {
        let range = |of| {
            let (low, high) = rounds.range(of, 0);
            format!(
                "{} ({} to {})",
                figure(rounds.ratio(of, 0)),
                figure(low),
                figure(high)
            )
        };
        table.row([
            (*call).to_owned(),
            figure(rounds.median(0)),
            figure(rounds.median(WATCHED)),
            range(WATCHED),
            range(1),
        ]);
    }
    let (tables, charts, targets) = (vec![table], Vec::new(), Vec::new());
    vec![Section {
        title: "Watched by a monitor",
        text: text(sizes),
        tables,
        charts,
        targets,
    }]
}

fn text(sizes: &Sizes) -> String {
    format!(
        "One thread inserts new ids of 45 bytes into a shared set at its bound of {live} ids, \
and looks up keys that are present in a shared cache of {live} entries. Three \
collections of each kind do the same work in each of {rounds} rounds of {timed} calls. \
A `Monitor` samples one of them every {every} ms, thousands of times as often as by \
default, and reads the memory and the open files of the process. The median of the \
ratios of each round is shown, with the least and the greatest in parentheses. \
*Unwatched to itself* compares the two unwatched collections, so a difference of that \
size is noise.",
        live = thousands(sizes.live as u64),
        rounds = sizes.rounds,
        timed = thousands(sizes.timed as u64),
        every = EVERY.as_millis(),
    )
}

/// A collection and its monitor.
struct Case<C> {
    collection: C,
    _monitor: Option<Monitor>,
}

fn cases<C: Watch>(make: impl Fn() -> C) -> Vec<Case<C>> {
    let case = |at| {
        let collection = make();
        let monitor = (at == WATCHED).then(|| {
            let monitor = Monitor::builder()
                .sample_every(EVERY)
                .build()
                .expect("a sound interval");
            monitor.watch("watched", &collection);
            // A short round may end before the first sample is due, so the rounds start after it.
            while monitor.report().samples == 0 {
                thread::yield_now();
            }
            monitor
        });
        Case {
            collection,
            _monitor: monitor,
        }
    };
    (0..NAMES.len()).map(case).collect()
}

fn inserts(sizes: &Sizes) -> Rounds {
    let ids = Ids::new(sizes.live + sizes.rounds * sizes.timed);
    let full = || full_set(&ids, sizes.live);
    timed("watched, inserts", sizes, &cases(full), |case, _, round| {
        let first = sizes.live + round * sizes.timed;
        for at in first..first + sizes.timed {
            black_box(case.collection.insert(ids.get(at)));
        }
    })
}

fn gets(sizes: &Sizes) -> Rounds {
    let full = || full_cache(sizes.live);
    timed("watched, gets", sizes, &cases(full), |case, _, round| {
        let first = (round * sizes.timed) as u64;
        for number in first..first + sizes.timed as u64 {
            black_box(case.collection.get(&(mix(number) % sizes.live as u64)));
        }
    })
}
