//! Section: shared collections with more threads.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, available_parallelism};
use std::time::Duration;

use example_support::svg::Line;
use example_support::text::thousands;
use leakproof::{Clock, DedupSet, LruCache, Policy};

use crate::chart::{Chart, Plot, plain};
use crate::lru::zipf::Trace;
use crate::report::{Section, Table, figure};
use crate::rounds::interleaved;
use crate::sizes::Sizes;
use crate::stream::mix;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The colours of the lines.
const COLOURS: [&str; 5] = ["#e0662f", "#b8860b", "#2f7ae0", "#7a4fbf", "#8b95a5"];

/// One call with a key.
type Call = Box<dyn Fn(u64) + Sync>;
type Contestant = (&'static str, Call);

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let cores = available_parallelism().map_or(1, usize::from);
    let threads: Vec<usize> = [1, 2, 4, 8, 16]
        .into_iter()
        .filter(|&threads| threads <= cores)
        .collect();
    let entries = sizes.live / 10;
    let new: Vec<u64> = (0..sizes.timed as u64).map(mix).collect();
    let trace = Trace::new(10 * entries, sizes.timed);
    let popular: Vec<u64> = trace.numbers(0..sizes.timed).collect();
    let ids = measure(sizes, &threads, "ids", &dedup(entries), |round| {
        // Distinct ids in all rounds.
        new.iter().map(|id| id ^ (round as u64) << 40).collect()
    });
    let keys = measure(sizes, &threads, "caches", &caches(entries), |_| {
        popular.clone()
    });
    let per_second = "million calls per second, by threads";
    vec![Section {
        title: "Threads",
        text: format!(
            "Shared collections of {entries} entries with `u64` keys. All threads together make \
{timed} calls on one collection: inserts of new ids into sets, and *get, or else insert* of keys \
by Zipf's law in caches. The figures are million calls per second, medians of {rounds} rounds. The \
machine has {cores} cores, so more threads are not measured.",
            entries = thousands(entries as u64),
            timed = thousands(sizes.timed as u64),
            rounds = sizes.rounds,
        ),
        tables: vec![table(&threads, &ids), table(&threads, &keys)],
        charts: vec![
            chart(
                &threads,
                "threads-ids.svg",
                &format!("Inserts of ids: {per_second}"),
                &ids,
            ),
            chart(
                &threads,
                "threads-cache.svg",
                &format!("Caches: {per_second}"),
                &keys,
            ),
        ],
        targets: Vec::new(),
    }]
}

fn dedup(entries: usize) -> Vec<Contestant> {
    let ours = DedupSet::<u64>::new(entries, DAY);
    let quick = quick_cache::sync::Cache::<u64, ()>::new(entries);
    let moka = moka::sync::Cache::<u64, ()>::builder()
        .max_capacity(entries as u64)
        .time_to_live(DAY)
        .build();
    let lru = Mutex::new(lru::LruCache::<u64, ()>::new(capacity(entries)));
    let set = Mutex::new(HashSet::<u64>::new());
    vec![
        (
            "**leakproof** `DedupSet`",
            Box::new(move |id| _ = ours.insert(&id)),
        ),
        (
            "`quick_cache` sync",
            Box::new(move |id| {
                if !quick.contains_key(&id) {
                    quick.insert(id, ());
                }
            }),
        ),
        (
            "`moka`, ttl",
            Box::new(move |id| _ = moka.entry(id).or_insert(())),
        ),
        (
            "`Mutex<lru>`",
            Box::new(move |id| _ = locked(&lru).put(id, ())),
        ),
        (
            "`Mutex<HashSet>`, cleared when full",
            Box::new(move |id| {
                let mut set = locked(&set);
                if set.len() == entries {
                    set.clear();
                }
                set.insert(id);
            }),
        ),
    ]
}

fn caches(entries: usize) -> Vec<Contestant> {
    let build = |policy| {
        let builder = LruCache::<u64, u64>::builder()
            .max_entries(entries)
            .ttl(DAY);
        builder.policy(policy).build().expect("a bound is set")
    };
    let (ours, s3_fifo) = (build(Policy::Lru), build(Policy::S3Fifo));
    let quick = quick_cache::sync::Cache::<u64, u64>::new(entries);
    let moka = moka::sync::Cache::<u64, u64>::builder()
        .max_capacity(entries as u64)
        .time_to_live(DAY)
        .build();
    let lru = Mutex::new(lru::LruCache::<u64, u64>::new(capacity(entries)));
    let call = |cache: LruCache<u64, u64>| -> Call {
        Box::new(move |key| {
            if cache.get(&key).is_none() {
                cache.insert(key, key);
            }
        })
    };
    vec![
        ("**leakproof** `LruCache`, ttl", call(ours)),
        (
            "**leakproof** `LruCache`, ttl, `Policy::S3Fifo`",
            call(s3_fifo),
        ),
        (
            "`quick_cache` sync",
            Box::new(move |key| {
                if quick.get(&key).is_none() {
                    quick.insert(key, key);
                }
            }),
        ),
        (
            "`moka`, ttl",
            Box::new(move |key| {
                if moka.get(&key).is_none() {
                    moka.insert(key, key);
                }
            }),
        ),
        (
            "`Mutex<lru>`",
            Box::new(move |key| {
                let mut lru = locked(&lru);
                if lru.get(&key).is_none() {
                    lru.put(key, key);
                }
            }),
        ),
    ]
}

fn capacity(entries: usize) -> NonZeroUsize {
    NonZeroUsize::new(entries).expect("room for an entry")
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the names of the contestants, and their million calls per second by threads.
fn measure(
    sizes: &Sizes,
    threads: &[usize],
    name: &str,
    contestants: &[Contestant],
    keys: impl Fn(usize) -> Vec<u64>,
) -> Vec<(&'static str, Vec<f64>)> {
    let clock = Clock::precise();
    let cells = contestants.len() * threads.len();
    let mut runs = 0;
    let mut run = |cell: usize| {
        let call = &contestants[cell / threads.len()].1;
        let threads = threads[cell % threads.len()];
        runs += 1;
        let keys = keys(runs);
        let start = clock.now();
        thread::scope(|scope| {
            for part in keys.chunks(keys.len().div_ceil(threads)) {
                scope.spawn(|| part.iter().for_each(|&key| call(key)));
            }
        });
        keys.len() as f64 / (clock.now() - start).as_micros() as f64
    };
    // Fills them.
    (0..contestants.len()).for_each(|at| _ = run(at * threads.len()));
    let rounds = interleaved(name, sizes.rounds, cells, run);
    let rows = contestants.iter().enumerate().map(|(at, (name, _))| {
        let medians = (0..threads.len()).map(|column| rounds.median(at * threads.len() + column));
        (*name, medians.collect())
    });
    rows.collect()
}

fn table(threads: &[usize], rows: &[(&str, Vec<f64>)]) -> Table {
    let columns = threads.iter().map(|&threads| match threads {
        1 => "1 thread".to_owned(),
        more => format!("{more} threads"),
    });
    let head: Vec<String> = ["contestant".to_owned()]
        .into_iter()
        .chain(columns)
        .collect();
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, values) in rows {
        let values = values.iter().map(|&value| figure(value));
        table.row([(*name).to_owned()].into_iter().chain(values));
    }
    table
}

fn chart(
    threads: &[usize],
    file: &'static str,
    title: &str,
    rows: &[(&'static str, Vec<f64>)],
) -> Chart {
    let lines = rows
        .iter()
        .zip(COLOURS)
        .map(|((name, values), colour)| Line {
            name: plain(name),
            colour,
            dashed: !name.contains("**"),
            points: threads
                .iter()
                .map(|&at| at as f64)
                .zip(values.iter().copied())
                .collect(),
        });
    Chart {
        file,
        title: title.to_owned(),
        plot: Plot::Lines {
            caption: "threads",
            lines: lines.collect(),
        },
    }
}
