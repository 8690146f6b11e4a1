//! Section: misses of caches on generated streams, and on real traces if a folder of them is given.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::contestants::{self, MOKA, QUICK, S3_FIFO, SHARED};
use super::event::Batch;
use super::zipf::Trace;
use crate::report::{Section, Table, Target};
use crate::sizes::Sizes;
use crate::stream::mix;
use example_support::lines::Input;
use example_support::text::thousands;

/// The caches, of which the first is the measure.
const NAMES: [&str; 4] = [SHARED, S3_FIFO, QUICK, MOKA];
/// Capacities in percent of the distinct keys.
const CAPACITIES: [usize; 3] = [2, 10, 30];
/// Events per batch.
const PIECE: usize = 10_000;

/// The keys of a stream, in the order of their requests.
struct Stream {
    name: String,
    keys: Vec<u64>,
}

pub(crate) fn section(sizes: &Sizes) -> Section {
    let mut streams = generated(sizes);
    let files = sizes.traces.iter().flat_map(|folder| traces(folder));
    streams.extend(files);
    let mut head = vec!["stream", "requests", "entries"];
    head.extend(NAMES);
    let mut table = Table::new(&head);
    let mut targets = Vec::new();
    for stream in &streams {
        let distinct = stream.keys.iter().collect::<HashSet<_>>().len();
        for percent in CAPACITIES {
            let capacity = (distinct * percent / 100).max(1);
            let misses = NAMES.map(|name| misses(name, capacity, &stream.keys));
            let cells = [
                stream.name.clone(),
                thousands(stream.keys.len() as u64),
                thousands(capacity as u64),
            ];
            table.row(cells.into_iter().chain(misses.map(percentage)));
            targets.push(Target {
                what: format!(
                    "misses of {S3_FIFO} above those of {QUICK}, {}, {percent}%",
                    stream.name
                ),
                reached: misses[1] - misses[2],
                at_most: 0.01,
            });
        }
    }
    Section {
        title: "Cache: misses by policy",
        text: format!(
            "The share of requests whose key is not in the cache, which is then inserted. A cache \
holds {} percent of the distinct keys. It begins empty, and has the default number of \
shards. `zipf` are keys by Zipf's law with an exponent of 1. `scan` adds, after 20,000 of these \
requests, 10,000 for keys that are used once. `loop` requests all keys in turn.",
            CAPACITIES.map(|percent| percent.to_string()).join(", ")
        ),
        tables: vec![table],
        charts: Vec::new(),
        targets,
    }
}

fn percentage(ratio: f64) -> String {
    format!("{:.1}%", 100.0 * ratio)
}

fn generated(sizes: &Sizes) -> Vec<Stream> {
    let events = if sizes.quick { 20_000 } else { 1_000_000 };
    let zipf: Vec<u64> = Trace::new(events / 10, events).numbers(0..events).collect();
    let once = |number: usize| mix((number as u64) << 32);
    let scan = zipf.chunks(20_000).enumerate().flat_map(|(at, chunk)| {
        let scanned = (10_000 * at..10_000 * (at + 1)).map(once);
        chunk.iter().copied().chain(scanned)
    });
    let looped = (0..events).map(|number| mix((number % (events / 20)) as u64));
    let stream = |name: &str, keys| Stream {
        name: name.to_owned(),
        keys,
    };
    vec![
        stream("zipf", zipf.clone()),
        stream("scan", scan.collect()),
        stream("loop", looped.collect()),
    ]
}

/// Reads the traces in a folder: a key per line, or CSV with the key in the second column.
fn traces(folder: &Path) -> Vec<Stream> {
    let files = folder.read_dir().expect("a readable folder");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let is_trace = |path: &&std::path::PathBuf| path.extension().is_some_and(|it| it == "gz");
    paths
        .iter()
        .filter(is_trace)
        .map(|path| {
            let source = Input::new(path.clone());
            let mut lines = source.lines().expect("a readable trace");
            let mut numbers = HashMap::new();
            let mut keys = Vec::new();
            while let Some(line) = lines.next_line().expect("a readable line") {
                let key = line.split(',').nth(1).unwrap_or(line);
                let next = numbers.len() as u64;
                keys.push(mix(*numbers.entry(key.to_owned()).or_insert(next)));
            }
            let name = path.file_name().expect("a file").to_string_lossy();
            Stream {
                name: name.into_owned(),
                keys,
            }
        })
        .collect()
}

/// Returns the share of requests that miss.
fn misses(name: &str, capacity: usize, keys: &[u64]) -> f64 {
    let entries = contestants::all::<u64>();
    let entry = entries.iter().find(|it| it.name == name).expect("a name");
    let mut cache = (entry.make)(capacity);
    let mut batch = Batch::default();
    let hits: usize = keys
        .chunks(PIECE)
        .map(|piece| cache.play(batch.of(piece.iter().copied()), 1))
        .sum();
    1.0 - hits as f64 / keys.len() as f64
}
