//! Replays a log of requests through an `LruCache` of one size or of several, and shows the hit ratio of each beside that
//! of a cache without limits: so that you can choose a limit from your own log.
//!
//! ```text
//! cargo run --release --example replay                                              a generated day
//! cargo run --release --example replay -- --max-entries 100,1000,10000 log.csv.gz   key, or key,bytes, or time,key,bytes
//! cargo run --release --example replay -- --max-bytes 1M,10M,100M --max-age 30m -   from standard input
//! ```

mod columns;
mod curve;
mod generate;
mod options;
mod replay;
mod report;

use std::fs;
use std::process::ExitCode;

use columns::Columns;
use example_support::Result;
use example_support::lines::{Input, Source};
use example_support::output::print;
use example_support::terminal::exit;
use options::Options;
use replay::Replay;

const HELP: &str = "\
Replays a log of requests through a cache that keeps the most recently used, and shows its hit ratio, for one size or
for several at once, beside that of a cache without limits.

Usage: replay [options] [FILE]

FILE is CSV, and may be gzipped; \"-\" is standard input. Of it, only the distinct keys are held in memory.
Each line is a request: <key>, or <key>,<bytes>, or <time>,<key>,<bytes>. A first line with a column \"key\" names
the columns. Without a file, a day of requests is generated.

  --max-entries <n,..>  how many entries are held at most: 100,1000,10000,100000 unless a size is given
  --max-bytes <n,..>    how many bytes they have at most; an entry of none counts as one
                        k, M and G stand for thousands, Ki, Mi and Gi for 1024 and so on: 64Mi
  --max-age <time>      how old an entry gets: 24h, 90m, 3600s, 500ms, 7d
  --max-idle <time>     how long it may go unused
  --columns <a,b,..>    what the columns are: key, bytes, time; one of any other name, as -, is ignored;
                        the last takes all the rest of its line
  --time-unit <s|ms>    the unit of the times since any moment, fractions allowed: s unless given;
                        one that goes backwards counts as the latest before it
  --svg <FILE>          where the curve over several sizes is written: target/replay.svg where there is a
                        directory target, or else replay.svg; what is there is replaced
  --requests <n>        how many requests to generate: 1000000 unless given
  --help                this text

A request is a hit where its key is held; else its entry is stored, with the bytes that this line says.
";

fn main() -> ExitCode {
    exit("replay", run())
}

fn run() -> Result<()> {
    let Some(options) = options::parse()? else {
        return print(HELP);
    };
    let mut replay = Replay::new(&options)?;
    let input = match &options.source {
        Source::Generated(count) => {
            generate::generate(*count, |request| replay.ask(&request));
            Seen {
                columns: Some(Columns::all()),
                ..Seen::default()
            }
        }
        Source::Read(input) => read(input, &options, &mut replay)?,
    };
    print(report::report(&options, &input, &replay))?;
    if replay.runs.len() > 1 {
        let file = options.svg.display();
        fs::write(&options.svg, curve::svg(&options, &input, &replay))
            .map_err(|error| format!("cannot write {file}: {error}"))?;
        print(format_args!("\ncurve: {file}\n"))?;
    }
    Ok(())
}

/// What was seen of the input besides requests.
#[derive(Default)]
struct Seen {
    lines: usize,
    bad_lines: usize,
    /// Unknown where there is no line.
    columns: Option<Columns>,
}

fn read(input: &Input, options: &Options, replay: &mut Replay) -> Result<Seen> {
    let mut lines = input.lines()?;
    let Some(first) = lines.next_line()? else {
        return Ok(Seen {
            lines: lines.read,
            bad_lines: lines.bad,
            columns: None,
        });
    };
    let is_header = Columns::are_named_by(first);
    let columns = match &options.columns {
        Some(columns) => columns.clone(),
        None if is_header => Columns::named(first)?,
        None => Columns::counted(first)?,
    };
    options.judge(&columns)?;
    let mut line = if is_header {
        lines.next_line()?
    } else {
        Some(first)
    };
    while let Some(text) = line {
        match columns.parse(text, options.decimals) {
            Ok(request) => replay.ask(&request),
            Err(reason) => lines.reject(reason),
        }
        line = lines.next_line()?;
    }
    Ok(Seen {
        lines: lines.read,
        bad_lines: lines.bad,
        columns: Some(columns),
    })
}
