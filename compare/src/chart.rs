//! Charts as SVG.

use std::fmt::Write as _;

use crate::report::figure;
use example_support::svg::{self, Line, LineChart, TEXT, escaped};
use example_support::text::thousands;

pub(crate) struct Chart {
    /// The name of the file in `docs`.
    pub(crate) file: &'static str,
    pub(crate) title: String,
    pub(crate) plot: Plot,
}

pub(crate) enum Plot {
    Bars(Vec<(String, f64)>),
    /// Lines over the numbers that the caption names.
    Lines {
        caption: &'static str,
        lines: Vec<Line>,
    },
}

const WIDTH: f64 = 800.0;
const LABELS: f64 = 310.0;
const VALUES: f64 = 70.0;
const BAR: f64 = 16.0;
const STEP: f64 = 24.0;
const TOP: f64 = 44.0;
/// A bar longer than this many medians is cut, because it would make all others look alike.
const CUT: f64 = 4.0;

pub(crate) const PEER: &str = "#8b95a5";
pub(crate) const OURS: &str = "#e0662f";

impl Chart {
    /// Draws the chart. Asterisks around a name mark a collection of this crate.
    pub(crate) fn svg(self) -> String {
        match self.plot {
            Plot::Bars(bars) => bar_chart(&self.title, &bars),
            Plot::Lines { caption, lines } => {
                let chart = LineChart {
                    title: &self.title,
                    caption,
                    logarithmic: true,
                    format_x: |value| thousands(value as u64),
                    format_y: figure,
                    lines,
                };
                chart.svg()
            }
        }
    }
}

fn bar_chart(title: &str, bars: &[(String, f64)]) -> String {
    let height = TOP + STEP * bars.len() as f64 + 8.0;
    let longest = longest(bars);
    let mut svg = svg::head(WIDTH, height, title);
    for (row, (label, value)) in bars.iter().enumerate() {
        push_bar(&mut svg, TOP + STEP * row as f64, label, *value, longest);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Returns the value of a bar of full width.
fn longest(bars: &[(String, f64)]) -> f64 {
    let mut values: Vec<f64> = bars.iter().map(|bar| bar.1).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() - 1].min(CUT * values[values.len() / 2])
}

fn push_bar(svg: &mut String, y: f64, label: &str, value: f64, longest: f64) {
    let full = WIDTH - LABELS - VALUES;
    let length = (full * value / longest).min(full).max(1.0);
    let colour = if label.contains("**") { OURS } else { PEER };
    let plain = escaped(&plain(label));
    let (end, base) = (LABELS + length, y + BAR - 3.0);
    let number = figure(value);
    let mut line =
        |text: std::fmt::Arguments<'_>| writeln!(svg, "{text}").expect("a String takes all");
    line(format_args!(
        "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{plain}</text>",
        LABELS - 8.0
    ));
    line(format_args!(
        "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\" \
         fill=\"{colour}\"/>"
    ));
    if value > longest {
        // A gap marks a bar that was cut.
        let at = end - 26.0;
        line(format_args!(
            "<path d=\"M{at} {} l6 -{h} h4 l-6 {h} z\" fill=\"{TEXT}\"/>",
            y + BAR + 2.0,
            h = BAR + 4.0
        ));
    }
    line(format_args!(
        "<text x=\"{:.1}\" y=\"{base}\">{number}</text>",
        end + 6.0
    ));
}

/// Returns a name without its Markdown.
pub(crate) fn plain(label: &str) -> String {
    label.replace(['*', '`'], "")
}
