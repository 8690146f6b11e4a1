//! Section: resident memory per id.

use std::fs;
use std::hint::black_box;

use crate::chart::{Chart, Plot};
use crate::contestant::{Entry, Setup};
use crate::report::{Section, Table, Target, figure};
use crate::sizes::Sizes;
use crate::{child, ours, peers};
use example_support::text::thousands;

struct Row {
    label: &'static str,
    entry: &'static str,
    /// The bound, as a multiple of the ids.
    bound: usize,
}

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let measured: Vec<(&str, f64)> = rows()
        .iter()
        .map(|row| (row.label, bytes_per_id(row, sizes.live)))
        .collect();
    let mut table = Table::new(&["contestant", "bytes an id"]);
    for (label, bytes) in &measured {
        table.row([(*label).to_owned(), figure(*bytes)]);
    }
    vec![Section {
        title: "Bytes per live id",
        text: format!(
            "The growth of resident memory as a contestant is filled with {} distinct ids of 45 \
bytes, per id. Each contestant has its own process, so the overhead of the allocator \
counts. The bound of a contestant is exactly this number of ids, except in one row.",
            thousands(sizes.live as u64)
        ),
        tables: vec![table],
        charts: vec![Chart {
            file: "memory.svg",
            title: "bytes per live id of 45 bytes".to_owned(),
            plot: Plot::Bars(
                measured
                    .iter()
                    .map(|(label, bytes)| ((*label).to_owned(), *bytes))
                    .collect(),
            ),
        }],
        targets: vec![Target {
            what: "bytes per live id of 45 bytes, unsync and shared".to_owned(),
            reached: measured[0].1.max(measured[1].1),
            at_most: 64.0,
        }],
    }]
}

fn rows() -> Vec<Row> {
    let ours = [
        Row {
            label: ours::UNSYNC,
            entry: ours::UNSYNC,
            bound: 1,
        },
        Row {
            label: ours::SHARED,
            entry: ours::SHARED,
            bound: 1,
        },
        Row {
            label: "**leakproof** `unsync::DedupSet`, a quarter full",
            entry: ours::UNSYNC,
            bound: 4,
        },
    ];
    let others = [peers::unbounded(), peers::bounded(), peers::shared()].concat();
    // The contestants of one crate differ in time, not in memory.
    let others = others
        .iter()
        .filter(|entry| !entry.name.contains("hits move") && !entry.name.contains("ahash"));
    ours.into_iter()
        .chain(others.map(|entry| Row {
            label: entry.name,
            entry: entry.name,
            bound: 1,
        }))
        .collect()
}

fn bytes_per_id(row: &Row, ids: usize) -> f64 {
    eprint!("\rmemory: {:<60}", row.label);
    let bound = ids * row.bound;
    let grown = child::run(
        child::Work::Fill,
        &[row.entry, &ids.to_string(), &bound.to_string()],
    );
    grown.trim().parse::<f64>().expect("a number of bytes") / ids as f64
}

/// Fills a contestant in a child process, and prints the bytes.
pub(crate) fn fill(args: &[&str]) {
    let &[name, ids, bound] = args else {
        panic!("three arguments")
    };
    let [ids, bound] = [ids, bound].map(|number| number.parse().expect("a number"));
    let all: Vec<Entry> = [
        ours::entries(),
        peers::unbounded(),
        peers::bounded(),
        peers::shared(),
    ]
    .concat();
    let entry = all
        .iter()
        .find(|entry| entry.name == name)
        .expect("a contestant of this name");
    let before = resident();
    let filled = (entry.fill)(Setup::exactly(bound), ids);
    println!("{}", resident() - before);
    black_box(&filled);
}

/// Returns the resident memory in bytes. The kernel updates `statm` in batches only.
pub(crate) fn resident() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let kilobytes = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix("kB"));
    kilobytes
        .and_then(|number| number.trim().parse::<u64>().ok())
        .expect("a line for Rss")
        * 1024
}
