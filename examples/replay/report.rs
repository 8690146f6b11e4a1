//! The results as a table, with a row per size, and as a chart.

use example_support::lines::Input;
use example_support::svg::{Line, LineChart};
use example_support::text::{human, thousands};

use crate::columns::Columns;
use crate::replay::{Replay, Run};
use crate::size::shortest;
use crate::{Options, Source};

pub(crate) fn report(options: &Options, source: &Source, replay: &Replay) -> String {
    let input = match &source.input {
        None => "GENERATED day of requests with zipf-like popularity; \
                 pass a file to use your own log"
            .into(),
        Some(_) => format!(
            "{} lines, {} bad",
            thousands(source.lines),
            thousands(source.bad_lines)
        ),
    };
    let columns = source
        .columns
        .as_ref()
        .map_or("unknown".into(), Columns::to_string);
    let limits: String = [("ttl", options.ttl), ("idle timeout", options.idle_timeout)]
        .iter()
        .filter_map(|(name, limit)| Some(format!(", {name} {}", human((*limit)?))))
        .collect();
    let bytes = if source.have(Columns::have_bytes) {
        thousands(replay.bytes)
    } else {
        "-".into()
    };
    format!(
        "input: {input}\ncolumns: {columns}\ncache: unsync::LruCache{limits}\n\n\
         requests: {}\ndistinct keys: {}\nbytes requested: {bytes}\n\n{}",
        thousands(replay.requests),
        thousands(replay.distinct()),
        aligned(&table(options, source, replay)),
    )
}

/// Returns the columns of the table. Each starts with its name and ends with an unbounded cache.
fn table(options: &Options, source: &Source, replay: &Replay) -> Vec<Vec<String>> {
    let runs = &replay.runs;
    let stats: Vec<_> = runs.iter().map(|run| run.cache.stats()).collect();
    let has_bytes = source.have(Columns::have_bytes);
    let none = || "-".to_string();
    let mut columns = Vec::new();
    let mut push = |is_wanted, name: &str, cell: &dyn Fn(usize) -> String, unbounded: String| {
        if is_wanted {
            let cells = (0..runs.len()).map(cell);
            let all = [name.to_string()].into_iter().chain(cells);
            columns.push(all.chain([unbounded]).collect());
        }
    };
    let by_entries = runs.iter().any(|run| run.size.entries.is_some());
    let by_bytes = runs.iter().any(|run| run.size.bytes.is_some());
    let limit = |limit: Option<u64>| limit.map_or_else(none, thousands);
    let entries = |row: usize| limit(runs[row].size.entries);
    push(by_entries, "max entries", &entries, "unbounded".into());
    let bytes = |row: usize| limit(runs[row].size.bytes);
    push(by_bytes, "max bytes", &bytes, "unbounded".into());
    let hits = |row: usize| thousands(stats[row].hits);
    push(true, "hits", &hits, thousands(replay.hits()));
    let ratio = |hits| percent(replay.requests, replay.hit_ratio(hits));
    let hit_ratio = |row: usize| ratio(stats[row].hits);
    push(true, "hit ratio", &hit_ratio, ratio(replay.hits()));
    let ratio = |hits| percent(replay.bytes, replay.byte_hit_ratio(hits));
    let byte_ratio = |row: usize| ratio(runs[row].byte_hits);
    push(
        has_bytes,
        "byte hit ratio",
        &byte_ratio,
        ratio(replay.byte_hits),
    );
    push(
        true,
        "evicted",
        &|row| thousands(stats[row].evicted),
        none(),
    );
    let expired = |row: usize| thousands(stats[row].expired);
    push(options.ttl.is_some(), "expired", &expired, none());
    let idle = |row: usize| thousands(stats[row].idle);
    push(options.idle_timeout.is_some(), "idle", &idle, none());
    let rejected = |row: usize| thousands(stats[row].rejected);
    push(by_bytes, "rejected", &rejected, none());
    let held = |row: usize| thousands(stats[row].len);
    push(true, "entries", &held, thousands(replay.distinct()));
    let weight = |row: usize| thousands(stats[row].weight);
    push(has_bytes, "weight", &weight, thousands(replay.weight));
    let age = |row: usize| stats[row].oldest_entry_age.map_or_else(none, human);
    push(source.have(Columns::have_time), "oldest age", &age, none());
    columns
}

fn percent(whole: u64, ratio: f64) -> String {
    if whole == 0 {
        "-".into()
    } else {
        format!("{:.2}%", 100.0 * ratio)
    }
}

/// Joins columns, each as wide as its widest cell, with two spaces between them.
fn aligned(columns: &[Vec<String>]) -> String {
    let width = |cells: &Vec<String>| cells.iter().map(String::len).max().unwrap_or(0);
    let row = |at: usize| {
        let cells = columns
            .iter()
            .map(|cells| format!("{:>width$}", cells[at], width = width(cells)));
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    (0..columns.first().map_or(0, Vec::len)).map(row).collect()
}

/// Draws the hit ratios over the sizes.
pub(crate) fn chart(source: &Source, replay: &Replay) -> String {
    let runs = &replay.runs;
    let has_bytes = source.have(Columns::have_bytes);
    // The sizes of one kind differ, and those of the other kind, if there are any, are all equal.
    let by_bytes = runs[0].size.entries == runs[1].size.entries;
    let size = |run: &Run| {
        if by_bytes {
            run.size.bytes
        } else {
            run.size.entries
        }
    };
    let input = match &source.input {
        None => "generated requests".into(),
        Some(Input::File(path)) => path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into(),
        Some(Input::Stdin) => Input::Stdin.to_string(),
    };
    let line = |name: &str, colour, dashed, ratio: &dyn Fn(&Run) -> f64| Line {
        name: name.into(),
        colour,
        dashed,
        points: runs
            .iter()
            .map(|run| (size(run).unwrap_or(1) as f64, ratio(run)))
            .collect(),
    };
    const HITS: &str = "#e0662f";
    const BYTE_HITS: &str = "#3f83c8";
    let hit_ratio = |run: &Run| replay.hit_ratio(run.cache.stats().hits);
    let most = replay.hit_ratio(replay.hits());
    let mut lines = vec![
        line("hit ratio", HITS, false, &hit_ratio),
        line("unbounded", HITS, true, &|_| most),
    ];
    if has_bytes {
        let ratio = |run: &Run| replay.byte_hit_ratio(run.byte_hits);
        let most = replay.byte_hit_ratio(replay.byte_hits);
        lines.push(line("byte hit ratio", BYTE_HITS, false, &ratio));
        lines.push(line("unbounded", BYTE_HITS, true, &|_| most));
    }
    let chart = LineChart {
        title: &format!("Hit ratio by size: {input}"),
        caption: if by_bytes {
            "bytes held at most"
        } else {
            "entries held at most"
        },
        logarithmic: true,
        format_x: |size| shortest(size as u64),
        format_y: |ratio| format!("{:.2}%", 100.0 * ratio),
        lines,
    };
    chart.svg()
}
