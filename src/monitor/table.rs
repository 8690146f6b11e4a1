//! `Display` of a report: a table for a terminal.

use std::fmt;
use std::time::Duration;

use super::finding::Resource;
use super::report::{Report, ResourceUsage};
use crate::format::{Bytes, Counted, Grouped, HumanDuration, OneLine};

const HEAD: [&str; 8] = [
    "",
    "",
    "used",
    "limit",
    "use",
    "growth/min",
    "time left",
    "oldest",
];

impl Report {
    fn rows(&self) -> Vec<[String; 8]> {
        let mut rows = vec![HEAD.map(str::to_owned)];
        let process = [
            (Resource::Memory, self.process.memory),
            (Resource::OpenFiles, self.process.open_files),
        ];
        for (resource, usage) in process {
            rows.extend(usage.map(|usage| row("process", resource, usage, None)));
        }
        for collection in &self.collections {
            let age = collection.usage.oldest_entry_age;
            rows.push(row(
                &collection.name,
                Resource::Entries,
                collection.entries,
                age,
            ));
            rows.extend(
                collection
                    .weight
                    .map(|usage| row(&collection.name, Resource::Weight, usage, None)),
            );
            let in_flight = collection.in_flight.filter(|usage| usage.used > 0);
            rows.extend(
                in_flight.map(|usage| row(&collection.name, Resource::InFlight, usage, None)),
            );
        }
        rows
    }
}

fn row(
    name: &str,
    resource: Resource,
    usage: ResourceUsage,
    oldest: Option<Duration>,
) -> [String; 8] {
    let amount = |value: f64| match resource {
        Resource::Memory => Bytes(value).to_string(),
        _ => Grouped(value).to_string(),
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let signed =
        |growth: f64| format!("{}{}", if growth >= 0.0 { "+" } else { "" }, amount(growth));
    [
        OneLine(name).to_string(),
        resource.to_string(),
        amount(usage.used as f64),
        or_dash(usage.limit.map(|limit| amount(limit as f64))),
        or_dash(usage.percent().map(|percent| format!("{percent:.1}%"))),
        or_dash(usage.growth_per_minute.map(signed)),
        or_dash(
            usage
                .time_to_limit
                .map(|left| HumanDuration(left).to_string()),
        ),
        or_dash(oldest.map(|age| HumanDuration(age).to_string())),
    ]
}

/// Prints a summary, a table of the used resources, then one line for each finding.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (findings, samples) = (
            Counted(self.findings.len() as u64, "finding"),
            Counted(self.samples as u64, "sample"),
        );
        writeln!(
            f,
            "{}: {findings}, {samples} over {}",
            self.severity(),
            HumanDuration(self.window)
        )?;
        let rows = self.rows();
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; 8] = std::array::from_fn(width);
        for row in &rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                // The first two columns are names, the others figures.
                line += &if column < 2 {
                    format!("{cell:<width$}  ")
                } else {
                    format!("{cell:>width$}  ")
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}
