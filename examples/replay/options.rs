//! What was asked for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::*;

use crate::columns::Columns;
use example_support::Result;
use example_support::lines::Source;
use example_support::time::{SECONDS, decimals, duration};

const SIZES: [u64; 4] = [100, 1_000, 10_000, 100_000];

pub(crate) struct Options {
    pub(crate) source: Source,
    /// One for each cache, the smallest first.
    pub(crate) sizes: Vec<Size>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_idle: Option<Duration>,
    /// Nothing where the input is to say.
    pub(crate) columns: Option<Columns>,
    /// What power of ten of the times' unit makes nanoseconds.
    pub(crate) decimals: usize,
    has_time_unit: bool,
    pub(crate) svg: PathBuf,
}

/// How much a cache may hold.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) entries: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

/// Nothing where help was asked for.
pub(crate) fn parse() -> Result<Option<Options>> {
    let (mut entries, mut bytes, mut max_age, mut max_idle) = (Vec::new(), Vec::new(), None, None);
    let (mut file, mut columns, mut time_unit, mut svg, mut requests) =
        (None, None, None, None, None);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("max-entries") => entries = args.value()?.parse_with(sizes)?,
            Long("max-bytes") => bytes = args.value()?.parse_with(sizes)?,
            Long("max-age") => max_age = Some(args.value()?.parse_with(duration)?),
            Long("max-idle") => max_idle = Some(args.value()?.parse_with(duration)?),
            Long("columns") => columns = Some(args.value()?.parse_with(Columns::given)?),
            Long("time-unit") => time_unit = Some(args.value()?.parse_with(decimals)?),
            Long("svg") => svg = Some(PathBuf::from(args.value()?)),
            Long("requests") => requests = Some(args.value()?.parse()?),
            Long("help") | Short('h') => return Ok(None),
            Value(value) if file.is_none() => file = Some(value),
            other => return Err(other.unexpected().into()),
        }
    }
    if file.is_some() && requests.is_some() {
        return Err("--requests is for generated input, and a file was given".into());
    }
    if file.is_none() && (columns.is_some() || time_unit.is_some()) {
        return Err("--columns and --time-unit need a file, or - for standard input".into());
    }
    let sizes = combined(entries, bytes)?;
    if svg.is_some() && sizes.len() == 1 {
        return Err("--svg is for several sizes: --max-entries 100,1000,10000".into());
    }
    Ok(Some(Options {
        source: Source::new(file, requests),
        sizes,
        max_age,
        max_idle,
        columns,
        decimals: time_unit.unwrap_or(SECONDS),
        has_time_unit: time_unit.is_some(),
        svg: svg.unwrap_or_else(default_svg),
    }))
}

fn default_svg() -> PathBuf {
    let (folder, name) = (Path::new("target"), "replay.svg");
    if folder.is_dir() {
        folder.join(name)
    } else {
        name.into()
    }
}

/// Every size of the one kind, with that of the other if there is one.
fn combined(mut entries: Vec<u64>, bytes: Vec<u64>) -> Result<Vec<Size>> {
    if entries.len() > 1 && bytes.len() > 1 {
        return Err("several sizes, of --max-entries or of --max-bytes, but not of both".into());
    }
    if entries.is_empty() && bytes.is_empty() {
        entries = SIZES.to_vec();
    }
    let all = |sizes: &[u64]| match sizes {
        [] => vec![None],
        sizes => sizes.iter().copied().map(Some).collect(),
    };
    let bytes = all(&bytes);
    let combine = |entries| bytes.iter().map(move |&bytes| Size { entries, bytes });
    Ok(all(&entries).into_iter().flat_map(combine).collect())
}

/// Sizes separated by commas, in ascending order, each once.
fn sizes(text: &str) -> Result<Vec<u64>, String> {
    let sizes: Option<Vec<_>> = text.split(',').map(size).collect();
    let mut sizes = sizes.ok_or_else(|| {
        format!("a size is a whole number above zero and within reach, or such of k, M, G, Ki, Mi or Gi: {text}")
    })?;
    sizes.sort_unstable();
    sizes.dedup();
    Ok(sizes)
}

fn size(text: &str) -> Option<u64> {
    let (count, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let unit = match unit {
        "" => 1,
        unit => UNITS.iter().find(|known| known.0 == unit)?.1,
    };
    count
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)
        .filter(|&size| size > 0)
}

const UNITS: [(&str, u64); 6] = [
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
];

/// A size in as few letters as it takes to give it.
pub(crate) fn shortest(size: u64) -> String {
    let whole = UNITS
        .iter()
        .filter(|(_, unit)| size > 0 && size.is_multiple_of(*unit));
    let short = whole.map(|(name, unit)| format!("{}{name}", size / unit));
    short
        .chain([size.to_string()])
        .min_by_key(String::len)
        .unwrap_or_default()
}

impl Options {
    /// Whether it is the sizes in bytes that differ, or that are all there is.
    pub(crate) fn compare_bytes(&self) -> bool {
        self.sizes
            .iter()
            .any(|size| size.bytes != self.sizes[0].bytes || size.entries.is_none())
    }

    /// Whether the columns have what the options need.
    pub(crate) fn judge(&self, columns: &Columns) -> Result<()> {
        let (bytes, time) = (
            ("bytes", columns.have_bytes()),
            ("time", columns.have_time()),
        );
        let needs = [
            (
                "--max-bytes",
                self.sizes.iter().any(|size| size.bytes.is_some()),
                bytes,
            ),
            ("--max-age", self.max_age.is_some(), time),
            ("--max-idle", self.max_idle.is_some(), time),
            ("--time-unit", self.has_time_unit, time),
        ];
        for (option, is_given, (column, is_there)) in needs {
            if is_given && !is_there {
                return Err(format!(
                    "{option} needs a column \"{column}\", and the columns are: {columns}"
                )
                .into());
            }
        }
        Ok(())
    }
}
