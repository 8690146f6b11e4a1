//! A client that registers its handlers again at every reconnect: in a plain list, in a
//! `ListenerRegistry` with keys, and in one with scopes.
//!
//! ```text
//! cargo run --release --example reconnect
//! cargo run --release --example reconnect -- --reconnects 100 --svg handlers.svg
//! ```

mod clients;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use example_support::output::{chart_path, print, write_file};
use example_support::progress::Progress;
use example_support::svg::{Line, LineChart};
use example_support::text::thousands;
use example_support::{Result, exit};

use clients::{Client, Keyed, Naive, Scoped};

/// Compares a client that registers three handlers at every reconnect, and detaches none: in a
/// plain list, in a ListenerRegistry with keys, and in one with scopes.
#[derive(Parser)]
#[command(name = "reconnect")]
struct Options {
    /// Number of reconnects
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    reconnects: u64,

    /// File for the chart; defaults to reconnect.svg, in target if that exists; "-" for no chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Rows of the table.
const ROWS: usize = 10;
/// Points of a line.
const POINTS: usize = 200;
const COLOURS: [&str; 3] = ["#8b95a5", "#3b82c4", "#e0662f"];

fn main() -> ExitCode {
    exit("reconnect", run(&Options::parse()))
}

fn run(options: &Options) -> Result<()> {
    let reconnects = options.reconnects as usize;
    let runs = [
        ("plain list", play::<Naive>(reconnects)),
        ("with keys", play::<Keyed>(reconnects)),
        ("with scopes", play::<Scoped>(reconnects)),
    ];
    print(report(&runs, reconnects))?;
    let path = options
        .svg
        .clone()
        .unwrap_or_else(|| chart_path("reconnect.svg"));
    if path.as_os_str() != "-" {
        write_file(&path, &chart(&runs))?;
        print(format_args!("\nchart: {}\n", path.display()))?;
    }
    Ok(())
}

/// A client after some reconnects.
struct State {
    handlers: usize,
    calls_per_message: usize,
    allocated_kib: i64,
}

fn play<C: Client + Default>(reconnects: usize) -> Vec<State> {
    let mut states = Vec::with_capacity(reconnects);
    let mut progress = Progress::new("reconnects");
    let (mut client, mut bytes) = (None, 0);
    for number in 0..reconnects {
        let mut calls_per_message = 0;
        let allocated = allocation_counter::measure(|| {
            let client = client.get_or_insert_with(C::default);
            client.reconnect();
            calls_per_message = client.message();
        });
        bytes += allocated.bytes_current;
        states.push(State {
            handlers: client.as_ref().map_or(0, C::handlers),
            calls_per_message,
            allocated_kib: bytes / 1024,
        });
        progress.update_slow(number);
    }
    states
}

fn report(runs: &[(&str, Vec<State>)], reconnects: usize) -> String {
    let mut text = format!("{:>10}", "");
    for (name, _) in runs {
        text += &format!("  | {name:^30}");
    }
    text += &format!("\n{:>10}", "reconnects");
    for _ in runs {
        text += &format!("  |{:>9}{:>10}{:>12}", "handlers", "calls", "KiB");
    }
    let step = reconnects.div_ceil(ROWS);
    for at in (1..=reconnects).filter(|at| at % step == 0 || *at == 1 || *at == reconnects) {
        text += &format!("\n{:>10}", thousands(at));
        for (_, states) in runs {
            let state = &states[at - 1];
            text += &format!(
                "  |{:>9}{:>10}{:>12}",
                thousands(state.handlers),
                thousands(state.calls_per_message),
                thousands(state.allocated_kib)
            );
        }
    }
    text += &format!(
        "\n\nafter {} reconnects of a client that registers 3 handlers and detaches none:\n",
        thousands(reconnects)
    );
    for (name, states) in runs {
        let state = &states[reconnects - 1];
        text += &format!(
            "{name:<12} has {} handlers and {} KiB allocated, and calls {} for one message\n",
            thousands(state.handlers),
            thousands(state.allocated_kib),
            thousands(state.calls_per_message)
        );
    }
    text
}

fn chart(runs: &[(&str, Vec<State>)]) -> String {
    let line = |((name, states), colour): (&(&str, Vec<State>), &'static str)| {
        let step = states.len().div_ceil(POINTS);
        let points = states.iter().enumerate().step_by(step);
        Line {
            name: (*name).to_owned(),
            colour,
            dashed: false,
            points: points
                .map(|(at, state)| ((at + 1) as f64, state.handlers as f64))
                .collect(),
        }
    };
    let chart = LineChart {
        title: "Handlers after reconnects",
        caption: "reconnects",
        logarithmic: false,
        format_x: |value| thousands(value as u64),
        format_y: |value| thousands(value as u64),
        lines: runs.iter().zip(COLOURS).map(line).collect(),
    };
    chart.svg()
}
