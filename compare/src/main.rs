//! Measures the collections of leakproof against the sets, maps, caches and event buses that they
//! replace.
//!
//! ```text
//! cargo run --release -p compare                     all parts; writes docs/performance.md
//! cargo run --release -p compare -- memory sweep     these parts only; writes nothing
//! cargo run --release -p compare -- --quick          small sizes, measured once; writes nothing
//! ```
//!
//! A part is a function that returns sections of the page. `PARTS` lists them.

mod awaited;
mod buses;
mod chart;
mod child;
mod contestant;
mod full;
mod growth;
mod http;
mod inserting;
mod limiter;
mod listeners;
mod lru;
mod memory;
mod ours;
mod pauses;
mod peers;
mod report;
mod restart;
mod rounds;
mod scaling;
mod sizes;
mod stream;
mod sweeping;
mod touched;
mod watched;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;
use std::{fs, io};

use clap::{Parser, builder::PossibleValuesParser};
use leakproof::Clock;
use report::Section;
use sizes::Sizes;

/// Compares the collections of leakproof with those that they replace, and with their peers.
///
/// Without parts, measures all of them, and writes docs/performance.md and its charts.
#[derive(Parser)]
#[command(name = "compare")]
struct Options {
    /// Parts to measure, without writing files
    #[arg(value_parser = PossibleValuesParser::new(PARTS.iter().map(|part| part.0)))]
    parts: Vec<String>,

    /// Adds the traces in this folder to the part on misses: a key per line, or CSV with the key in
    /// the second column, in gzip
    #[arg(long)]
    traces: Option<PathBuf>,

    /// Measures small sizes once, to check that everything works, without writing files
    #[arg(long)]
    quick: bool,
}

type Part = fn(&Sizes) -> Vec<Section>;

const PARTS: &[(&str, Part)] = &[
    ("insert", inserting::section),
    ("memory", memory::section),
    ("growth", growth::section),
    ("pauses", pauses::section),
    ("sweep", sweeping::section),
    ("restart", restart::section),
    ("lru", lru::sections),
    ("threads", scaling::section),
    ("misses", |sizes| vec![lru::misses::section(sizes)]),
    ("listeners", listeners::sections),
    ("watched", watched::section),
    ("await", awaited::section),
    ("http", http::section),
    ("limiter", limiter::section),
];

fn main() -> io::Result<()> {
    if child::main() {
        return Ok(());
    }
    let clock = Clock::precise();
    let Options {
        parts: wanted,
        quick,
        traces,
    } = Options::parse();
    let sizes = Sizes {
        traces,
        ..if quick { Sizes::quick() } else { Sizes::full() }
    };
    let parts = PARTS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|it| it == name));
    let sections: Vec<Section> = parts.flat_map(|(_, part)| part(&sizes)).collect();
    let page = page(&sections, sizes.quick);
    println!("{page}");
    if !sizes.quick && wanted.is_empty() {
        write(&page, sections)?;
    }
    eprintln!("took {:.0} s", clock.now().as_secs_f64());
    Ok(())
}

fn page(sections: &[Section], quick: bool) -> String {
    let mut page = format!("# Performance\n\n{}\n\n", machine());
    if quick {
        page.push_str("**A quick run with small sizes. Its figures are meaningless.**\n\n");
    }
    for section in sections {
        page.push_str(&section.to_string());
    }
    let targets = report::targets(sections.iter().flat_map(|section| &section.targets));
    page + &format!("## Targets\n\n{targets}")
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!(
        "Measured by `cargo run --release -p compare` on {}: {} with {} cores, {}. Times vary \
between machines and days, and with the other processes on the machine: a single time may be off by \
a factor of two. A median of ratios may differ from the ratio of two medians. Read the ratios.",
        output("date", &["+%Y-%m-%d"]),
        model.map_or("an unknown processor", |line| line.1),
        available_parallelism().map_or(0, usize::from),
        output("rustc", &["--version"]),
    )
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(
        |_| format!("({program}: unknown)"),
        |it| String::from_utf8_lossy(&it.stdout).trim().to_owned(),
    )
}

fn write(page: &str, sections: Vec<Section>) -> io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::create_dir_all(&docs)?;
    fs::write(docs.join("performance.md"), page)?;
    for chart in sections.into_iter().flat_map(|section| section.charts) {
        fs::write(docs.join(chart.file), chart.svg())?;
    }
    Ok(())
}
