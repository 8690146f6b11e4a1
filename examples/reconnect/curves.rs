//! Curves as SVG.

use std::fmt::Write;

use example_support::svg::{self, TEXT, escaped};

pub(crate) struct Curve<'a> {
    pub(crate) name: &'a str,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 36.0;
/// Names that end this close to each other are moved apart.
const LINE: f64 = 16.0;

const COLOURS: [&str; 3] = ["#8b95a5", "#3b82c4", "#e0662f"];

pub(crate) fn svg(title: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(1.0, f64::max);
    let (most_x, most_y) = (most(|point| point.0), most(|point| point.1));
    let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * value / most_x;
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most_y;
    let mut svg = svg::head(WIDTH, HEIGHT, title);
    let mut line = |text: String| writeln!(svg, "{text}").expect("a String takes all");
    for part in [0.0, 0.5, 1.0] {
        let (at, value) = (y(most_y * part), most_y * part);
        line(format!(
            "<path d=\"M{LEFT} {at} H{}\" stroke=\"{TEXT}\" stroke-opacity=\"0.3\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value:.0}</text>",
            x(most_x),
            LEFT - 8.0,
            at + 4.0
        ));
    }
    line(format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{most_x:.0}</text>",
        x(most_x),
        HEIGHT - 12.0
    ));
    let mut named_above = f64::INFINITY;
    for (curve, colour) in curves.iter().zip(&COLOURS).rev() {
        let path: Vec<String> = curve
            .points
            .iter()
            .map(|&(at, value)| format!("{:.1} {:.1}", x(at), y(value)))
            .collect();
        line(format!(
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" L")
        ));
        let end = curve.points.last().map_or(0.0, |&(_, value)| y(value));
        let named = end.min(named_above - LINE);
        named_above = named;
        line(format!(
            "<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
            x(most_x) + 8.0,
            named + 4.0,
            escaped(curve.name)
        ));
    }
    svg.push_str("</svg>\n");
    svg
}
