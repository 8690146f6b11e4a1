//! Section: the cost of a sweep of expired ids.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use leakproof::{Clock, DedupSet, ManualClock, unsync};

use crate::report::{Section, Table, Target, figure};
use crate::rounds::interleaved;
use crate::sizes::Sizes;
use crate::stream::each_id;
use example_support::text::thousands;

const TTL: Duration = Duration::from_secs(3600);
const NAMES: [&str; 3] = [
    "**leakproof** `unsync::DedupSet::sweep`",
    "**leakproof** `DedupSet::sweep`",
    "`HashMap<String, u64>::retain`",
];

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let swept = [swept_unsync, swept_shared, retained];
    let rounds = interleaved("sweep", sizes.rounds, NAMES.len(), |at| {
        let took: Duration = swept[at](sizes.live);
        took.as_nanos() as f64 / 1e3
    });
    let mut table = Table::new(&["call", "µs", "to `retain`"]);
    for (at, name) in NAMES.iter().enumerate() {
        table.row([
            (*name).to_owned(),
            figure(rounds.median(at)),
            figure(rounds.ratio(at, 2)),
        ]);
    }
    vec![Section {
        title: "Sweep",
        text: format!(
            "{} ids expired at once, and one call frees all of them. The call is optional, because \
each write frees some expired ids.",
            thousands(sizes.live as u64)
        ),
        tables: vec![table],
        charts: Vec::new(),
        targets: vec![Target {
            what: "sweep, unsync and shared, to `HashMap::retain`".to_owned(),
            reached: rounds.ratio(0, 2).max(rounds.ratio(1, 2)),
            at_most: 0.01,
        }],
    }]
}

fn timed(work: impl FnOnce() -> usize, expected: usize) -> Duration {
    let clock = Clock::precise();
    let start = clock.now();
    let freed = black_box(work());
    let took = clock.now() - start;
    assert_eq!(freed, expected);
    took
}

fn swept_unsync(count: usize) -> Duration {
    let time = ManualClock::new();
    let builder = unsync::DedupSet::<str>::builder()
        .ttl(TTL)
        .max_entries(count);
    let mut set = builder.clock(time.clock()).build().expect("bounds are set");
    each_id(0, count, |id| {
        set.insert(id);
    });
    let held = set.len();
    time.advance(TTL);
    timed(|| set.sweep(), held)
}

fn swept_shared(count: usize) -> Duration {
    let time = ManualClock::new();
    // Shards fill unevenly. With a tenth more room, no shard evicts.
    let builder = DedupSet::<str>::builder()
        .ttl(TTL)
        .max_entries(count * 11 / 10);
    let set = builder.clock(time.clock()).build().expect("bounds are set");
    each_id(0, count, |id| {
        set.insert(id);
    });
    let held = set.len();
    time.advance(TTL);
    timed(|| set.sweep(), held)
}

fn retained(count: usize) -> Duration {
    let mut map = HashMap::new();
    each_id(0, count, |id| {
        map.insert(id.to_owned(), 0u64);
    });
    let expiry = black_box(1);
    let work = || {
        map.retain(|_, recorded| *recorded >= expiry);
        count - map.len()
    };
    timed(work, count)
}
