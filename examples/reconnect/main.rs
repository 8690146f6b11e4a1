//! A gateway client that reconnects over and over and registers its handlers anew each time: in a naive list of handlers,
//! in a `ListenerRegistry` with keys, and in one with scopes; and what that makes of memory and of every event.
//!
//! ```text
//! cargo run --release --example reconnect
//! cargo run --release --example reconnect -- --reconnects 100 --svg handlers.svg
//! ```

mod clients;
mod curves;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::prelude::*;

use clients::{Client, Keyed, Naive, Scoped};
use curves::Curve;
use example_support::output::{note, print};

const HELP: &str = "\
A client that reconnects and registers three handlers each time, without ever detaching one:
in a naive list, in a ListenerRegistry with keys, and in one with scopes.

Usage: reconnect [options]

  --reconnects <n>   how often the client reconnects: 1000 unless given
  --svg <file>       where the curves are drawn: target/reconnect.svg unless given; \"-\" for nowhere
  --help             this text
";

/// Rows of the table.
const ROWS: usize = 10;
/// Points of a curve.
const POINTS: usize = 200;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("reconnect: {error}"));
            ExitCode::from(2)
        }
    }
}

struct Options {
    reconnects: usize,
    svg: Option<PathBuf>,
}

/// What was asked for; nothing where that is help.
fn options() -> Result<Option<Options>> {
    let mut options = Options {
        reconnects: 1_000,
        svg: Some(PathBuf::from("target/reconnect.svg")),
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("reconnects") => options.reconnects = args.value()?.parse()?,
            Long("svg") => {
                options.svg =
                    Some(PathBuf::from(args.value()?)).filter(|path| path.as_os_str() != "-");
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.reconnects == 0 {
        return Err("--reconnects is zero; there would be nothing to see".into());
    }
    Ok(Some(options))
}

fn run() -> Result<()> {
    let Some(options) = options()? else {
        return print(HELP);
    };
    let runs = [
        ("naive", played(&mut Naive::default(), options.reconnects)),
        (
            "with keys",
            played(&mut Keyed::default(), options.reconnects),
        ),
        (
            "with scopes",
            played(&mut Scoped::default(), options.reconnects),
        ),
    ];
    print(report(&runs, options.reconnects))?;
    if let Some(path) = options.svg {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let curves: Vec<Curve> = runs
            .iter()
            .map(|(name, states)| {
                let step = states.len().div_ceil(POINTS);
                let points = states.iter().step_by(step).chain(states.last());
                Curve {
                    name,
                    points: points
                        .map(|state| (state.reconnects as f64, state.handlers as f64))
                        .collect(),
                }
            })
            .collect();
        fs::write(&path, curves::svg("handlers alive, by reconnects", &curves))?;
        print(format_args!("\nthe curves: {}\n", path.display()))?;
    }
    Ok(())
}

/// How a client stands after so many reconnects.
struct State {
    reconnects: usize,
    handlers: usize,
    calls_per_event: usize,
    /// What the handlers captured.
    held_bytes: usize,
}

fn played(client: &mut dyn Client, reconnects: usize) -> Vec<State> {
    let state = |reconnects| {
        client.reconnect();
        let calls_per_event = client.message();
        State {
            reconnects,
            handlers: client.handlers(),
            calls_per_event,
            held_bytes: client.held_bytes(),
        }
    };
    (1..=reconnects).map(state).collect()
}

fn report(runs: &[(&str, Vec<State>)], reconnects: usize) -> String {
    let mut text = format!("{:>10}", "");
    for (name, _) in runs {
        text += &format!("  | {name:^30}");
    }
    text += &format!("\n{:>10}", "reconnects");
    for _ in runs {
        text += &format!("  |{:>9}{:>10}{:>12}", "handlers", "calls", "KiB held");
    }
    let step = reconnects.div_ceil(ROWS);
    for at in (1..=reconnects).filter(|at| at % step == 0 || *at == 1 || *at == reconnects) {
        text += &format!("\n{at:>10}");
        for (_, states) in runs {
            let State {
                handlers,
                calls_per_event,
                held_bytes,
                ..
            } = &states[at - 1];
            text += &format!(
                "  |{handlers:>9}{calls_per_event:>10}{:>12}",
                held_bytes / 1024
            );
        }
    }
    text += &format!(
        "\n\nafter {reconnects} reconnects of a client that registers 3 handlers and detaches none:\n"
    );
    for (name, states) in runs {
        let State {
            handlers,
            calls_per_event,
            held_bytes,
            ..
        } = states.last().expect("it reconnects at least once");
        text += &format!(
            "{name:<12} holds {handlers} handlers and {} KiB that they captured, and calls {calls_per_event} for one \
             message\n",
            held_bytes / 1024
        );
    }
    text
}
