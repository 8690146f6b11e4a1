//! The figures, as text: a row for each size, and one for a cache without limits.

use crate::options::Options;
use crate::replay::{Replay, Run};
use crate::{Columns, Seen};
use example_support::lines::Source;
use example_support::text::{human, thousands};

pub(crate) fn report(options: &Options, seen: &Seen, replay: &Replay) -> String {
    let input = match options.source {
        Source::Generated(_) => {
            "GENERATED, a day of requests with zipf-like popularity; name a file to see your own log".into()
        }
        Source::Read(_) => format!("{} lines, of which {} bad", thousands(seen.lines), thousands(seen.bad_lines)),
    };
    let columns = seen
        .columns
        .as_ref()
        .map_or("unknown".to_string(), Columns::to_string);
    let limits = [("max age", options.max_age), ("max idle", options.max_idle)];
    let limits = limits
        .iter()
        .filter_map(|(name, limit)| Some(format!(", {name} {}", human((*limit)?))));
    format!(
        "input: {input}
columns: {columns}
cache: unsync::LruCache, one exact order of use{}

requests: {}
distinct keys: {}
bytes asked for: {}

{}",
        limits.collect::<String>(),
        thousands(replay.requests),
        thousands(replay.distinct()),
        if has(seen, Columns::have_bytes) {
            thousands(replay.bytes)
        } else {
            "-".into()
        },
        aligned(&table(options, seen, replay)),
    )
}

pub(crate) fn has(seen: &Seen, what: fn(&Columns) -> bool) -> bool {
    seen.columns.as_ref().is_some_and(what)
}

/// Its columns, each from its name down to what a cache without limits has there; only those that say something.
fn table(options: &Options, seen: &Seen, replay: &Replay) -> Vec<Vec<String>> {
    let stats: Vec<_> = replay.runs.iter().map(Run::stats).collect();
    let (has_bytes, has_time) = (
        has(seen, Columns::have_bytes),
        has(seen, Columns::have_time),
    );
    let of_bytes = options.sizes.iter().any(|size| size.bytes.is_some());
    let of_entries = options.sizes.iter().any(|size| size.entries.is_some());
    let none = || "-".to_string();
    let mut columns = Vec::new();
    let mut push = |is_wanted, name: &str, cell: &dyn Fn(usize) -> String, unbounded: String| {
        if is_wanted {
            let cells = (0..replay.runs.len()).map(cell);
            columns.push(
                [name.to_string()]
                    .into_iter()
                    .chain(cells)
                    .chain([unbounded])
                    .collect(),
            );
        }
    };
    let limit = |limit: Option<u64>| limit.map_or_else(none, thousands);
    push(
        of_entries,
        "max entries",
        &|row| limit(options.sizes[row].entries),
        "no limit".into(),
    );
    push(
        of_bytes,
        "max bytes",
        &|row| limit(options.sizes[row].bytes),
        "no limit".into(),
    );
    push(
        true,
        "hits",
        &|row| thousands(stats[row].hits),
        thousands(replay.hits()),
    );
    let ratio = |hits| percent(replay.requests, replay.hit_ratio(hits));
    push(
        true,
        "hit ratio",
        &|row| ratio(stats[row].hits),
        ratio(replay.hits()),
    );
    let ratio = |hits| percent(replay.bytes, replay.byte_hit_ratio(hits));
    push(
        has_bytes,
        "byte hit ratio",
        &|row| ratio(replay.runs[row].byte_hits),
        ratio(replay.byte_hits),
    );
    push(
        true,
        "evicted",
        &|row| thousands(stats[row].evicted),
        none(),
    );
    push(
        options.max_age.is_some(),
        "expired",
        &|row| thousands(stats[row].expired),
        none(),
    );
    push(
        options.max_idle.is_some(),
        "idle",
        &|row| thousands(stats[row].idle),
        none(),
    );
    push(
        of_bytes,
        "rejected",
        &|row| thousands(stats[row].rejected),
        none(),
    );
    push(
        true,
        "entries",
        &|row| thousands(stats[row].len),
        thousands(replay.distinct()),
    );
    push(
        has_bytes,
        "weight",
        &|row| thousands(stats[row].weight),
        thousands(replay.weight),
    );
    let age = |row: usize| stats[row].oldest_entry_age.map_or_else(none, human);
    push(has_time, "oldest age", &age, none());
    columns
}

fn percent(whole: u64, ratio: f64) -> String {
    if whole == 0 {
        "-".into()
    } else {
        format!("{:.2}%", 100.0 * ratio)
    }
}

/// Columns side by side, two spaces apart, each as wide as its widest cell.
fn aligned(columns: &[Vec<String>]) -> String {
    let widths: Vec<_> = columns
        .iter()
        .map(|cells| cells.iter().map(String::len).max().unwrap_or(0))
        .collect();
    let row = |at: usize| {
        let cells = columns
            .iter()
            .zip(&widths)
            .map(|(cells, width)| format!("{:>width$}", cells[at]));
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    (0..columns.first().map_or(0, Vec::len)).map(row).collect()
}
