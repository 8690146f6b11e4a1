//! Section: the cost of a journal, and of a start with one.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use leakproof::persist::{Journal, Sync};
use leakproof::{Clock, DedupSet};

use crate::report::{Section, Table, Target, figure};
use crate::rounds::interleaved;
use crate::sizes::Sizes;
use crate::stream::each_id;
use example_support::text::thousands;

const TTL: Duration = Duration::from_secs(24 * 3600);
const NAMES: [&str; 3] = [
    "no journal",
    "`Sync::Never`",
    "`Sync::Every(100 ms)`, the default",
];
const CALLS: [&str; 3] = [
    "replay at `build`",
    "`save` to a file",
    "`restore` from a file",
];

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let folder = std::env::temp_dir().join(format!("leakproof-compare-{}", std::process::id()));
    let inserted = interleaved("journal", sizes.rounds, NAMES.len(), |at| {
        let took = insert(at, sizes, folder.join(format!("insert-{at}")));
        took.as_nanos() as f64 / sizes.timed as f64
    });
    let set = filled(sizes.live, Some(folder.join("replay")));
    let snapshot = folder.join("snapshot");
    set.save(&snapshot)
        .expect("the temporary directory is writable");
    drop(set);
    let started = interleaved("restart", sizes.rounds, CALLS.len(), |at| {
        start(at, sizes.live, &folder).as_secs_f64() * 1e3
    });
    let size = |path: PathBuf| fs::metadata(path).map_or(0, |data| data.len());
    let journal = fs::read_dir(folder.join("replay")).expect("a directory");
    let journal: u64 = journal
        .map(|file| size(file.expect("an entry").path()))
        .sum();
    let per_id = [journal, size(snapshot)].map(|bytes| bytes as f64 / sizes.live as f64);
    fs::remove_dir_all(&folder).ok();

    let mut inserts = Table::new(&["`DedupSet<str>::insert`", "ns", "ratio"]);
    for (at, name) in NAMES.iter().enumerate() {
        let cells = [inserted.median(at), inserted.ratio(at, 0)].map(figure);
        inserts.row(std::iter::once((*name).to_owned()).chain(cells));
    }
    let mut calls = Table::new(&["call", "ms"]);
    for (at, name) in CALLS.iter().enumerate() {
        calls.row([(*name).to_owned(), figure(started.median(at))]);
    }
    vec![Section {
        title: "Restart",
        text: format!(
            "{live} live ids of 45 bytes in a full set, and {timed} new ones. The journal is \
written by a background thread, which takes time from a core of its own. A journal takes {journal} \
bytes per id, and a snapshot {snapshot}.",
            live = thousands(sizes.live as u64),
            timed = thousands(sizes.timed as u64),
            journal = figure(per_id[0]),
            snapshot = figure(per_id[1]),
        ),
        tables: vec![inserts, calls],
        charts: Vec::new(),
        targets: vec![
            Target {
                what: "insert with `Sync::Every` / without a journal".to_owned(),
                reached: inserted.ratio(2, 0),
                at_most: 1.5,
            },
            Target {
                what: format!("replay of {} ids, seconds", thousands(sizes.live as u64)),
                reached: started.median(0) / 1e3,
                at_most: 1.0,
            },
        ],
    }]
}

fn builder(live: usize) -> leakproof::DedupBuilder<DedupSet<str>> {
    // Shards fill unevenly. With a tenth more room, no shard evicts before the set is full.
    DedupSet::<str>::builder()
        .ttl(TTL)
        .max_entries(live * 11 / 10)
}

fn filled(live: usize, journal: Option<PathBuf>) -> DedupSet<str> {
    let mut builder = builder(live);
    if let Some(path) = journal {
        builder = builder.journal(Journal::open(path).expect("a directory").sync(Sync::Never));
    }
    let set = builder.build().expect("bounds are set");
    each_id(0, live, |id| {
        set.insert(id);
    });
    set
}

/// Inserts new ids into a full set.
fn insert(at: usize, sizes: &Sizes, path: PathBuf) -> Duration {
    let mut builder = builder(sizes.live);
    if at > 0 {
        let sync = [Sync::Never, Sync::Every(Duration::from_millis(100))][at - 1];
        builder = builder.journal(Journal::open(&path).expect("a directory").sync(sync));
    }
    let set = builder.build().expect("bounds are set");
    each_id(0, sizes.live, |id| {
        set.insert(id);
    });
    let clock = Clock::precise();
    each_id(sizes.live as u64, sizes.timed, |id| {
        set.insert(id);
    });
    let took = clock.now();
    drop(set);
    fs::remove_dir_all(path).ok();
    took
}

fn start(at: usize, live: usize, folder: &std::path::Path) -> Duration {
    let full = (at == 1).then(|| filled(live, None));
    let clock = Clock::precise();
    let count = match (at, full) {
        (0, _) => {
            let journal = Journal::open(folder.join("replay")).expect("a directory");
            let set = builder(live).journal(journal).build().expect("it is whole");
            set.replayed().map_or(0, |report| report.restored)
        }
        (_, Some(set)) => set
            .save(folder.join("again"))
            .map_or(0, |report| report.saved),
        (_, None) => {
            let set = builder(live).build().expect("bounds are set");
            set.restore(folder.join("snapshot"))
                .map_or(0, |report| report.restored)
        }
    };
    let took = clock.now();
    assert!(count as usize > live * 9 / 10, "{count} of {live}");
    took
}
