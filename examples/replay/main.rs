//! Replays a log of requests through `LruCache`s of several sizes, and compares their hit ratios
//! with that of an unbounded cache, so that you can choose a bound from your own log.
//!
//! ```text
//! cargo run --release --example replay
//! cargo run --release --example replay -- --max-entries 100,1k,10k log.csv.gz
//! cargo run --release --example replay -- --max-bytes 1M,10M --ttl 30m -
//! ```

mod columns;
mod generate;
mod replay;
mod report;
mod size;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, error::ErrorKind};
use example_support::csv::CsvLine;
use example_support::lines::Input;
use example_support::output::{chart_path, print, write_file};
use example_support::time::TimeUnit;
use example_support::{Result, exit};

use columns::Columns;
use replay::Replay;
use size::Size;

/// Replays a log of requests through LRU caches of several sizes, and compares their hit ratios
/// with that of an unbounded cache.
///
/// A request is a hit if its key is in the cache. Otherwise the key is inserted.
#[derive(Parser)]
#[command(name = "replay")]
struct Options {
    /// CSV file of requests, may be gzipped; "-" is standard input. The columns are key, or
    /// key,bytes, or time,key,bytes, or those that a first line with a column "key" names. Without
    /// a file, a day of requests is generated
    file: Option<PathBuf>,

    /// Bound of each cache on its entries; defaults to 100,1k,10k,100k if no bound is given
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = size::parse)]
    max_entries: Vec<u64>,

    /// Bound of each cache on the bytes of its entries, such as 64Mi; an entry has at least one
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = size::parse)]
    max_bytes: Vec<u64>,

    /// Time to live of an entry, such as 24h, 90m or 500ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,

    /// Time after which an unused entry is removed
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    idle_timeout: Option<Duration>,

    /// Meaning of the columns: key, bytes, time, or - for others
    #[arg(long, value_name = "A,B,..", value_parser = Columns::parse, requires = "file")]
    #[arg(allow_hyphen_values = true)]
    columns: Option<Columns>,

    /// Character between the columns [default: a comma]
    #[arg(long, value_parser = delimiter, requires = "file")]
    delimiter: Option<u8>,

    /// Unit of the times, s or ms; fractions are allowed [default: s]
    #[arg(long, value_parser = TimeUnit::parse, requires = "file")]
    time_unit: Option<TimeUnit>,

    /// File for the chart of several sizes; defaults to replay.svg, in target if that exists
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Number of requests to generate
    #[arg(
        long,
        default_value_t = 1_000_000,
        value_name = "N",
        conflicts_with = "file"
    )]
    requests: usize,
}

fn delimiter(text: &str) -> Result<u8, &'static str> {
    match text.as_bytes() {
        [byte] if byte.is_ascii_punctuation() || *byte == b'\t' => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err("the delimiter must be one punctuation character or \\t"),
    }
}

/// The source of the requests.
#[derive(Default)]
struct Source {
    /// `None` for generated requests.
    input: Option<Input>,
    lines: usize,
    bad_lines: usize,
    /// `None` if there was no line.
    columns: Option<Columns>,
}

impl Source {
    fn have(&self, what: fn(&Columns) -> bool) -> bool {
        self.columns.as_ref().is_some_and(what)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let sizes = Size::combine(options.max_entries.clone(), options.max_bytes.clone());
    let sizes = sizes.and_then(|sizes| match sizes.len() {
        1 if options.svg.is_some() => Err("--svg needs several sizes".into()),
        _ => Ok(sizes),
    });
    match sizes {
        Ok(sizes) => exit("replay", run(&options, &sizes)),
        Err(error) => Options::command()
            .error(ErrorKind::ArgumentConflict, error)
            .exit(),
    }
}

fn run(options: &Options, sizes: &[Size]) -> Result<()> {
    let mut replay = Replay::new(options, sizes).map_err(|error| format!("{error}; see --help"))?;
    let source = match &options.file {
        None => {
            generate::generate(options.requests, |request| replay.request(&request));
            Source {
                columns: Some(Columns::all()),
                ..Source::default()
            }
        }
        Some(path) => read(Input::new(path.clone()), options, &mut replay)?,
    };
    print(report::report(options, &source, &replay))?;
    if replay.runs.len() > 1 {
        let path = options
            .svg
            .clone()
            .unwrap_or_else(|| chart_path("replay.svg"));
        write_file(&path, &report::chart(&source, &replay))?;
        print(format_args!("\nchart: {}\n", path.display()))?;
    }
    Ok(())
}

fn read(input: Input, options: &Options, replay: &mut Replay) -> Result<Source> {
    let mut lines = input.lines()?;
    let mut csv = CsvLine::new(options.delimiter.unwrap_or(b','));
    let Some(first) = lines.next_line()?.map(str::to_owned) else {
        lines.check(0)?;
        return Ok(Source {
            input: Some(input),
            ..Source::default()
        });
    };
    let fields = csv
        .fields(&first)
        .map_err(|error| format!("{input}:1: {error}"))?;
    if options.delimiter.is_none() && fields.len() == 1 && first.contains([';', '\t']) {
        return Err(format!(
            "{input}:1: \"{first}\" has no comma; pass --delimiter ';', '\\t' or ','"
        )
        .into());
    }
    let is_header = Columns::is_header(&fields);
    let columns = match &options.columns {
        Some(columns) => columns.clone(),
        None if is_header => Columns::named(&fields)?,
        None => Columns::guessed(&fields)?,
    };
    options.check(&columns)?;
    let mut line = if is_header {
        lines.next_line()?
    } else {
        Some(first.as_str())
    };
    let unit = options.time_unit.unwrap_or_default();
    while let Some(text) = line {
        match columns.request(&mut csv, text, unit) {
            Ok(request) => replay.request(&request),
            Err(reason) => lines.reject(reason),
        }
        line = lines.next_line()?;
    }
    lines.check(replay.requests)?;
    let (read, bad) = (lines.read, lines.bad);
    Ok(Source {
        lines: read,
        bad_lines: bad,
        columns: Some(columns),
        input: Some(input),
    })
}

impl Options {
    /// Returns an error if an option needs a column that is absent.
    fn check(&self, columns: &Columns) -> Result<()> {
        let (bytes, time) = (
            ("bytes", columns.have_bytes()),
            ("time", columns.have_time()),
        );
        let needs = [
            ("--max-bytes", !self.max_bytes.is_empty(), bytes),
            ("--ttl", self.ttl.is_some(), time),
            ("--idle-timeout", self.idle_timeout.is_some(), time),
            ("--time-unit", self.time_unit.is_some(), time),
        ];
        for (option, is_given, (column, is_there)) in needs {
            if is_given && !is_there {
                let error = format!(
                    "{option} needs a column \"{column}\", but the columns are {columns}; \
                     see --columns in --help"
                );
                return Err(error.into());
            }
        }
        Ok(())
    }
}
