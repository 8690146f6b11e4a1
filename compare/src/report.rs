//! The results of a section as Markdown.

use std::fmt::{self, Display};

use crate::chart::Chart;
use example_support::text::thousands;

pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// The description of the measurement.
    pub(crate) text: String,
    pub(crate) tables: Vec<Table>,
    pub(crate) charts: Vec<Chart>,
    pub(crate) targets: Vec<Target>,
}

pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    before: String,
}

/// A target for a figure of this crate.
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) reached: f64,
    pub(crate) at_most: f64,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
            before: String::new(),
        }
    }

    /// Sets the text above the table.
    pub(crate) fn introduced(self, text: &str) -> Self {
        Self {
            before: text.to_owned(),
            ..self
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<String> = cells.into_iter().collect();
        assert_eq!(row.len(), self.head.len(), "a cell for each column");
        self.rows.push(row);
    }

    /// Aligns columns of numbers to the right.
    fn rule(&self, column: usize) -> &'static str {
        let numbers = self
            .rows
            .iter()
            .all(|row| row[column].starts_with(|first: char| first.is_ascii_digit()));
        if numbers { "---:" } else { "---" }
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.before.is_empty() {
            writeln!(f, "{}\n", self.before)?;
        }
        writeln!(f, "| {} |", self.head.join(" | "))?;
        (0..self.head.len()).try_for_each(|column| write!(f, "|{}", self.rule(column)))?;
        writeln!(f, "|")?;
        self.rows
            .iter()
            .try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

impl Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\n{}\n", self.title, self.text)?;
        for chart in &self.charts {
            writeln!(f, "![{}]({})\n", chart.title, chart.file)?;
        }
        self.tables
            .iter()
            .try_for_each(|table| writeln!(f, "{table}"))
    }
}

/// Returns the table of all targets.
pub(crate) fn targets<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Table {
    let mut table = Table::new(&["target", "at most", "reached", ""]).introduced(
        "Targets that were set before the code was written. A missed target stays in the table.",
    );
    for target in targets {
        let met = if target.reached <= target.at_most {
            "met"
        } else {
            "**missed**"
        };
        table.row([
            target.what.clone(),
            figure(target.at_most),
            figure(target.reached),
            met.to_owned(),
        ]);
    }
    table
}

/// Formats a number with three significant digits.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.001 => format!("{value:.6}"),
        size if size < 0.1 => format!("{value:.4}"),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => thousands(value.round() as u64),
    }
}
