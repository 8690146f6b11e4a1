//! Curves over a logarithmic axis, as SVG.

use std::fmt::{Arguments, Write as _};

use crate::chart::{OURS, PEER, plain};
use crate::report::{figure, grouped};
use example_support::svg::{self, TEXT};

pub(crate) struct Curve {
    pub(crate) name: String,
    /// From left to right; what is above zero has a logarithm.
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 770.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 330.0;
/// The first and the last point are so far within the axes.
const INSET: f64 = 30.0;
/// Lines across, besides that of zero.
const LINES: u32 = 4;
/// So far apart stand the names.
const NAMED: f64 = 240.0;

pub(crate) fn svg(title: &str, curves: &[Curve]) -> String {
    let mut plot = Plot::new(title, curves);
    plot.axes(curves);
    let mut ours = 0;
    for (at, curve) in curves.iter().enumerate() {
        let is_ours = curve.name.contains("**");
        // The second of ours is dashed: it is told from the first without another colour.
        let dashes = if is_ours && ours > 0 {
            " stroke-dasharray=\"6 4\""
        } else {
            ""
        };
        ours += usize::from(is_ours);
        plot.curve(at, curve, if is_ours { OURS } else { PEER }, dashes);
    }
    plot.svg + "</svg>\n"
}

struct Plot {
    svg: String,
    first: f64,
    last: f64,
    most: f64,
}

impl Plot {
    fn new(title: &str, curves: &[Curve]) -> Self {
        let points = || curves.iter().flat_map(|curve| &curve.points);
        Self {
            svg: svg::head(WIDTH, HEIGHT, title),
            first: points().map(|point| point.0).fold(f64::INFINITY, f64::min),
            last: points().map(|point| point.0).fold(0.0, f64::max),
            most: points().map(|point| point.1).fold(0.0, f64::max),
        }
    }

    fn x(&self, value: f64) -> f64 {
        let part = (value / self.first).ln() / (self.last / self.first).ln();
        LEFT + INSET + part * (RIGHT - LEFT - 2.0 * INSET)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * value / self.most
    }

    fn line(&mut self, text: Arguments<'_>) {
        writeln!(self.svg, "{text}").expect("a String takes all");
    }

    fn axes(&mut self, curves: &[Curve]) {
        for line in 0..=LINES {
            let value = self.most * f64::from(line) / f64::from(LINES);
            let (y, strength) = (self.y(value), if line == 0 { 1.0 } else { 0.25 });
            self.line(format_args!(
                "<path d=\"M{LEFT} {y:.1} H{RIGHT}\" stroke=\"{TEXT}\" stroke-opacity=\"{strength}\"/>"
            ));
            let (x, base, value) = (LEFT - 8.0, y + 4.0, figure(value));
            self.line(format_args!(
                "<text x=\"{x}\" y=\"{base:.1}\" text-anchor=\"end\">{value}</text>"
            ));
        }
        let sizes: Vec<f64> = curves.first().map_or(Vec::new(), |curve| {
            curve.points.iter().map(|it| it.0).collect()
        });
        for size in sizes {
            let (x, base, label) = (self.x(size), BOTTOM + 20.0, grouped(size as u64));
            self.line(format_args!(
                "<path d=\"M{x:.1} {BOTTOM} v5\" stroke=\"{TEXT}\"/>"
            ));
            self.line(format_args!(
                "<text x=\"{x:.1}\" y=\"{base}\" text-anchor=\"middle\">{label}</text>"
            ));
        }
    }

    fn curve(&mut self, at: usize, curve: &Curve, colour: &str, dashes: &str) {
        let x = LEFT + NAMED * at as f64;
        self.line(format_args!(
            "<path d=\"M{x} 48 h24\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>"
        ));
        self.line(format_args!(
            "<text x=\"{}\" y=\"52\">{}</text>",
            x + 32.0,
            plain(&curve.name)
        ));
        let points: Vec<(f64, f64)> = curve
            .points
            .iter()
            .map(|&(size, value)| (self.x(size), self.y(value)))
            .collect();
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.line(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
            path.join(" ")
        ));
        for (&(x, y), &(size, value)) in points.iter().zip(&curve.points) {
            let (size, value) = (grouped(size as u64), figure(value));
            self.line(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"><title>{size}: {value}</title></circle>"
            ));
        }
    }
}
