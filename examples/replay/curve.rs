//! The hit ratio against the size, as SVG.

use std::fmt::{Arguments, Write as _};

use crate::options::{Options, Size, shortest};
use crate::replay::Replay;
use crate::report::has;
use crate::{Columns, Seen};
use example_support::lines::{Input, Source};
use example_support::svg::{self, TEXT};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 770.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 360.0;
/// The first and the last point are so far within the axes.
const INSET: f64 = 30.0;
/// Labels side by side need so much room.
const LABEL: f64 = 46.0;

const HITS: &str = "#e0662f";
const BYTE_HITS: &str = "#3f83c8";

/// One curve, and what a cache without limits has in its place.
struct Series {
    class: &'static str,
    name: &'static str,
    colour: &'static str,
    ratios: Vec<f64>,
    unbounded: f64,
}

pub(crate) fn svg(options: &Options, seen: &Seen, replay: &Replay) -> String {
    let of_bytes = options.compare_bytes();
    let size = |size: &Size| if of_bytes { size.bytes } else { size.entries }.unwrap_or(0);
    let input = match &options.source {
        Source::Generated(_) => "generated requests".into(),
        Source::Read(Input::Stdin) => Input::Stdin.to_string(),
        Source::Read(Input::File(path)) => {
            path.file_name().unwrap_or_default().display().to_string()
        }
    };
    let series = all_series(seen, replay);
    let mut plot = Plot::new(options.sizes.iter().map(size).collect(), &series);
    plot.head(&input, if of_bytes { "bytes" } else { "entries" });
    plot.axes();
    for (at, one) in series.iter().enumerate() {
        plot.legend(at, one);
        // Labels are above the higher curve, and below the lower: the first, where they are equal.
        let other = series.iter().rev().find(|other| other.class != one.class);
        let is_upper = |value: f64, other: Option<f64>| {
            other.is_none_or(|other| {
                if at == 0 {
                    value >= other
                } else {
                    value > other
                }
            })
        };
        plot.ceiling(
            one,
            is_upper(one.unbounded, other.map(|other| other.unbounded)),
        );
        plot.curve(one, |point| {
            is_upper(one.ratios[point], other.map(|other| other.ratios[point]))
        });
    }
    plot.end()
}

fn all_series(seen: &Seen, replay: &Replay) -> Vec<Series> {
    let mut all = vec![Series {
        class: "hits",
        name: "hit ratio",
        colour: HITS,
        ratios: replay
            .runs
            .iter()
            .map(|run| replay.hit_ratio(run.stats().hits))
            .collect(),
        unbounded: replay.hit_ratio(replay.hits()),
    }];
    if has(seen, Columns::have_bytes) {
        all.push(Series {
            class: "byte-hits",
            name: "byte hit ratio",
            colour: BYTE_HITS,
            ratios: replay
                .runs
                .iter()
                .map(|run| replay.byte_hit_ratio(run.byte_hits))
                .collect(),
            unbounded: replay.byte_hit_ratio(replay.byte_hits),
        });
    }
    all
}

struct Plot {
    svg: String,
    sizes: Vec<u64>,
    /// The ratio at the upper end of its axis, in tenths.
    tenths: u32,
}

impl Plot {
    fn new(sizes: Vec<u64>, series: &[Series]) -> Self {
        let ratios = series
            .iter()
            .flat_map(|one| one.ratios.iter().copied().chain([one.unbounded]));
        let tenths = (ratios.fold(0.0, f64::max) * 10.0).ceil().clamp(1.0, 10.0) as u32;
        Self {
            svg: String::new(),
            sizes,
            tenths,
        }
    }

    /// On a logarithmic scale.
    fn x(&self, size: u64) -> f64 {
        let log = |size: u64| (size.max(1) as f64).ln();
        let (first, last) = (log(self.sizes[0]), log(self.sizes[self.sizes.len() - 1]));
        let part = (log(size) - first) / (last - first);
        LEFT + INSET + part * (RIGHT - LEFT - 2.0 * INSET)
    }

    fn y(&self, ratio: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * ratio * 10.0 / f64::from(self.tenths)
    }

    fn line(&mut self, text: Arguments<'_>) {
        writeln!(self.svg, "{text}").expect("a String takes all");
    }

    fn head(&mut self, input: &str, unit: &str) {
        self.svg.push_str(&svg::head(
            WIDTH,
            HEIGHT,
            &format!("Hit ratio by size: {input}"),
        ));
        let (middle, y) = (f64::midpoint(LEFT, RIGHT), HEIGHT - 10.0);
        self.line(format_args!(
            "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{unit} held at most, logarithmic</text>"
        ));
    }

    fn axes(&mut self) {
        for tenth in 0..=self.tenths {
            let y = self.y(f64::from(tenth) / 10.0);
            let strength = if tenth == 0 { 1.0 } else { 0.25 };
            self.line(format_args!(
                "<path d=\"M{LEFT} {y:.1} H{RIGHT}\" stroke=\"{TEXT}\" stroke-opacity=\"{strength}\"/>"
            ));
            let (x, y) = (LEFT - 8.0, y + 4.0);
            self.line(format_args!(
                "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{}%</text>",
                10 * tenth
            ));
        }
        for point in self.labelled() {
            let (x, y) = (self.x(self.sizes[point]), BOTTOM + 20.0);
            let size = shortest(self.sizes[point]);
            self.line(format_args!(
                "<path d=\"M{x:.1} {BOTTOM} v5\" stroke=\"{TEXT}\"/>"
            ));
            self.line(format_args!(
                "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{size}</text>"
            ));
        }
    }

    /// The points that have room for labels beside those before them.
    fn labelled(&self) -> Vec<usize> {
        let mut points: Vec<usize> = Vec::new();
        for (point, &size) in self.sizes.iter().enumerate() {
            if points
                .last()
                .is_none_or(|&last| self.x(size) - self.x(self.sizes[last]) >= LABEL)
            {
                points.push(point);
            }
        }
        points
    }

    fn legend(&mut self, at: usize, one: &Series) {
        let x = LEFT + 140.0 * at as f64;
        self.line(format_args!(
            "<path d=\"M{x} 48 h24\" stroke=\"{}\" stroke-width=\"2\"/>",
            one.colour
        ));
        self.line(format_args!(
            "<text x=\"{}\" y=\"52\">{}</text>",
            x + 32.0,
            one.name
        ));
    }

    fn ceiling(&mut self, one: &Series, is_upper: bool) {
        let (y, colour) = (self.y(one.unbounded), one.colour);
        self.line(format_args!(
            "<path class=\"{}-ceiling\" d=\"M{LEFT} {y:.1} H{RIGHT}\" stroke=\"{colour}\" stroke-opacity=\"0.6\" \
             stroke-dasharray=\"5 4\"/>",
            one.class
        ));
        if let Some(y) = beside(y, is_upper) {
            let (x, percent) = (LEFT + 6.0, 100.0 * one.unbounded);
            self.line(format_args!(
                "<text x=\"{x}\" y=\"{y:.1}\" fill=\"{colour}\">no limit: {percent:.1}%</text>"
            ));
        }
    }

    fn curve(&mut self, one: &Series, is_upper: impl Fn(usize) -> bool) {
        let at = |point: usize| (self.x(self.sizes[point]), self.y(one.ratios[point]));
        let points: Vec<_> = (0..one.ratios.len()).map(at).collect();
        let path: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let (colour, class) = (one.colour, one.class);
        self.line(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        ));
        let labelled = self.labelled();
        for (point, (x, y)) in points.into_iter().enumerate() {
            let (size, percent) = (shortest(self.sizes[point]), 100.0 * one.ratios[point]);
            self.line(format_args!(
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\">\
                 <title>{size}: {} {percent:.2}%</title></circle>",
                one.name
            ));
            if let Some(y) = beside(y, is_upper(point)).filter(|_| labelled.contains(&point)) {
                self.line(format_args!(
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" fill=\"{colour}\">{percent:.1}</text>"
                ));
            }
        }
    }

    fn end(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}

/// Where text is written that belongs above or below a height, if there is room above the axis.
fn beside(y: f64, is_above: bool) -> Option<f64> {
    let base = if is_above { y - 8.0 } else { y + 18.0 };
    (base <= BOTTOM - 4.0).then_some(base)
}
