//! SVG charts.

use std::fmt::{Arguments, Write};

/// A grey with a contrast of 4 against white and against black, because the page's background is
/// unknown.
pub const TEXT: &str = "#7a7f87";

/// Returns the start of an image and its title. `</svg>` ends the image.
pub fn head(width: f64, height: f64, title: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"13\" fill=\"{TEXT}\" role=\"img\">\n<title>{title}</title>\n\
         <text x=\"8\" y=\"24\" font-size=\"15\" font-weight=\"600\">{title}</text>\n"
    )
}

/// Escapes text. Characters that XML forbids are replaced.
pub fn escaped(text: &str) -> String {
    let text = text.replace(
        |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'),
        "\u{fffd}",
    );
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A chart of lines over one axis.
pub struct LineChart<'a> {
    pub title: &'a str,
    /// The text below the horizontal axis.
    pub caption: &'a str,
    /// A logarithmic horizontal axis, for values above zero.
    pub logarithmic: bool,
    pub format_x: fn(f64) -> String,
    pub format_y: fn(f64) -> String,
    pub lines: Vec<Line>,
}

pub struct Line {
    pub name: String,
    pub colour: &'static str,
    pub dashed: bool,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 770.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 340.0;
/// The distance of the first and the last point from the ends of the axis.
const INSET: f64 = 30.0;
/// Horizontal lines above zero.
const GRID: u32 = 4;
/// The least distance between two labels of the horizontal axis.
const LABEL: f64 = 60.0;
/// Lines with more points have no dots.
const MOST_DOTS: usize = 40;

impl LineChart<'_> {
    pub fn svg(&self) -> String {
        let mut plot = Plot::new(self);
        plot.grid();
        plot.labels();
        for (number, line) in self.lines.iter().enumerate() {
            plot.legend(number, line);
            plot.line(line);
        }
        plot.svg + "</svg>\n"
    }
}

struct Plot<'a> {
    chart: &'a LineChart<'a>,
    svg: String,
    first: f64,
    last: f64,
    most: f64,
}

impl<'a> Plot<'a> {
    fn new(chart: &'a LineChart<'a>) -> Self {
        let points = || chart.lines.iter().flat_map(|line| &line.points);
        let most = points().map(|point| point.1).fold(0.0, f64::max);
        Self {
            chart,
            svg: head(WIDTH, HEIGHT, chart.title),
            first: points().map(|point| point.0).fold(f64::INFINITY, f64::min),
            last: points().map(|point| point.0).fold(0.0, f64::max),
            most: if most > 0.0 { most } else { 1.0 },
        }
    }

    fn x(&self, value: f64) -> f64 {
        let scale = |value: f64| match self.chart.logarithmic {
            true => value.ln(),
            false => value,
        };
        let length = scale(self.last) - scale(self.first);
        let part = if length > 0.0 {
            (scale(value) - scale(self.first)) / length
        } else {
            0.5
        };
        LEFT + INSET + part * (RIGHT - LEFT - 2.0 * INSET)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * value / self.most
    }

    fn push(&mut self, text: Arguments<'_>) {
        writeln!(self.svg, "{text}").expect("a String accepts every write");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escaped(text);
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn grid(&mut self) {
        for number in 0..=GRID {
            let value = self.most * f64::from(number) / f64::from(GRID);
            let (y, opacity) = (self.y(value), if number == 0 { 1.0 } else { 0.25 });
            self.push(format_args!(
                "<path d=\"M{LEFT} {y:.1} H{RIGHT}\" stroke=\"{TEXT}\" \
                 stroke-opacity=\"{opacity}\"/>"
            ));
            self.text(LEFT - 8.0, y + 4.0, "end", &(self.chart.format_y)(value));
        }
    }

    fn labels(&mut self) {
        let points = self
            .chart
            .lines
            .first()
            .map_or(&[][..], |line| &line.points);
        let mut end = f64::NEG_INFINITY;
        for &(value, _) in points {
            let x = self.x(value);
            if x - end >= LABEL {
                end = x;
                self.push(format_args!(
                    "<path d=\"M{x:.1} {BOTTOM} v5\" stroke=\"{TEXT}\"/>"
                ));
                self.text(x, BOTTOM + 20.0, "middle", &(self.chart.format_x)(value));
            }
        }
        let middle = (LEFT + RIGHT) / 2.0;
        self.text(middle, HEIGHT - 14.0, "middle", self.chart.caption);
    }

    fn legend(&mut self, number: usize, line: &Line) {
        let x = LEFT + (RIGHT - LEFT) * number as f64 / self.chart.lines.len() as f64;
        let stroke = stroke(line);
        self.push(format_args!("<path d=\"M{x:.1} 48 h24\" {stroke}/>"));
        self.text(x + 32.0, 52.0, "start", &line.name);
    }

    fn line(&mut self, line: &Line) {
        let points: Vec<String> = line
            .points
            .iter()
            .map(|&(x, y)| format!("{:.1},{:.1}", self.x(x), self.y(y)))
            .collect();
        let (points, stroke) = (points.join(" "), stroke(line));
        self.push(format_args!(
            "<polyline points=\"{points}\" fill=\"none\" {stroke}/>"
        ));
        if line.points.len() > MOST_DOTS || line.dashed {
            return;
        }
        let (colour, name) = (line.colour, escaped(&line.name));
        for &(x, y) in &line.points {
            let label = ((self.chart.format_x)(x), (self.chart.format_y)(y));
            let (x, y) = (self.x(x), self.y(y));
            self.push(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\">\
                 <title>{name}, {}: {}</title></circle>",
                label.0, label.1
            ));
        }
    }
}

fn stroke(line: &Line) -> String {
    let dashes = if line.dashed {
        " stroke-dasharray=\"6 4\""
    } else {
        ""
    };
    format!("stroke=\"{}\" stroke-width=\"2\"{dashes}", line.colour)
}
