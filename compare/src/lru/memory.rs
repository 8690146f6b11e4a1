//! Section: resident memory per entry of a cache.

use std::hint::black_box;

use super::contestants;
use super::event::{Batch, Key};
use crate::chart::{Chart, Plot};
use crate::child;
use crate::memory::resident;
use crate::report::{Section, Table, Target, figure};
use crate::sizes::Sizes;
use crate::stream::mix;
use example_support::text::thousands;

/// Events per batch.
const PIECE: usize = 1_000;

pub(crate) fn section(sizes: &Sizes) -> Section {
    let entries = sizes.cached[1];
    let names = contestants::all::<u64>()
        .into_iter()
        .map(|entry| entry.name);
    let rows = names.map(|name| {
        (
            name,
            bytes_an_entry::<u64>(name, entries),
            bytes_an_entry::<String>(name, entries),
        )
    });
    let rows: Vec<(&str, f64, f64)> = rows.collect();
    eprintln!();
    let mut table = Table::new(&[
        "contestant",
        "bytes, `u64` to `u64`",
        "bytes, `String` to `u64`",
    ]);
    for &(name, of_number, of_string) in &rows {
        table.row([name.to_owned(), figure(of_number), figure(of_string)]);
    }
    let of = |name: &str| rows.iter().find(|row| row.0 == name).expect("a row").1;
    Section {
        title: "Cache: bytes per entry",
        text: format!(
            "The growth of resident memory per entry, as a cache of {} entries gets a quarter more \
distinct keys than it holds. Each cache has its own process, so the overhead of the \
allocator counts. A `String` of 24 bytes takes 56 of these bytes, its allocation \
included.",
            thousands(entries as u64),
        ),
        tables: vec![table],
        charts: vec![Chart {
            file: "lru-memory.svg",
            title: "bytes per entry, u64 to u64".to_owned(),
            plot: Plot::Bars(rows.iter().map(|row| (row.0.to_owned(), row.1)).collect()),
        }],
        targets: vec![
            Target {
                what: "bytes per entry, `u64` to `u64`, unsync and shared".to_owned(),
                reached: of(contestants::UNSYNC).max(of(contestants::SHARED)),
                at_most: 64.0,
            },
            Target {
                what: "bytes per entry, `u64` to `u64`, `Policy::S3Fifo`".to_owned(),
                reached: of(contestants::S3_FIFO),
                // The documented memory, to within a tenth.
                at_most: 1.1 * (16.0 + 46.0 + 2.1),
            },
        ],
    }
}

fn bytes_an_entry<K: Key>(name: &str, entries: usize) -> f64 {
    eprint!("\rlru, memory, {} keys: {name:<60}", K::NAME);
    let grown = child::run(
        child::Work::FillCache,
        &[K::NAME, name, &entries.to_string()],
    );
    grown.trim().parse::<f64>().expect("a number of bytes") / entries as f64
}

/// Fills a cache in a child process, and prints the bytes.
pub(crate) fn fill(args: &[&str]) {
    let &[keys, name, entries] = args else {
        panic!("three arguments")
    };
    let entries = entries.parse().expect("a number");
    match keys {
        u64::NAME => fill_with::<u64>(name, entries),
        String::NAME => fill_with::<String>(name, entries),
        _ => panic!("no such keys: {keys}"),
    }
}

fn fill_with<K: Key>(name: &str, entries: usize) {
    let all = contestants::all::<K>();
    let entry = all
        .iter()
        .find(|entry| entry.name == name)
        .expect("a cache of this name");
    let mut batch = Batch::default();
    batch.of((0..PIECE).map(|_| 0));
    let before = resident();
    let mut cache = (entry.make)(entries);
    for first in (0..entries / 4 * 5).step_by(PIECE) {
        let found = cache.play(
            batch.of((first..first + PIECE).map(|number| mix(number as u64))),
            1,
        );
        assert_eq!(found, 0, "different keys");
    }
    println!("{}", resident() - before);
    black_box(&cache);
}
