//! How fast a series of samples grows, told so that neither noise, nor a jump, nor a sawtooth passes for growth.
//!
//! The rate is the Theil–Sen slope: the median of the slopes between all pairs of samples, which up to 29% of outliers
//! do not move far (H. Theil, "A rank-invariant method of linear and polynomial regression analysis", 1950; P. K. Sen,
//! "Estimates of the regression coefficient based on Kendall's tau", Journal of the American Statistical Association
//! 63, 1968).
//!
//! Alone, it takes a jump in mid-window, or a sawtooth with long teeth, for growth. So floor and ceiling have their say:
//! the samples are cut into up to six parts in order of time, each with its level, the lower quartile of its samples (of
//! memory, what sticks out does so upwards); the floor of a part is the lowest level of it and all later ones, its ceiling
//! the highest of it and all earlier ones. What leaks raises both from part to part, whatever goes on above them. A jump
//! is one step of five; a tooth that has ended has left the floor where it was, and the next one does not raise the
//! ceiling. Where the median step of one of them is below half of the slope, it counts in place of the slope.
//!
//! A leak that began in mid-window is told sooner by the later half alone, which counts where it has risen above all that
//! the earlier half has seen: what swings does not, as long as one swing and a half fit into the window.

use std::time::Duration;

/// Parts of the window whose floors and ceilings are compared.
const PARTS: usize = 6;
/// Samples that a part has at least.
const PER_PART: usize = 3;

/// A sample: when, in minutes since whenever, and how much.
pub(super) type Point = (f64, f64);

/// When a sample was taken, as the first half of a [`Point`].
pub(super) fn minutes(at: Duration) -> f64 {
    at.as_secs_f64() / 60.0
}

/// Growth per minute over points in order of time, no two of the same time; negative where it shrinks.
///
/// Takes time proportional to the square of their number.
pub(super) fn growth(points: &[Point]) -> Option<f64> {
    let whole = steady(points)?;
    let (earlier, later) = points.split_at(points.len() / 2);
    if later.len() < PARTS * PER_PART {
        return Some(whole);
    }
    let highest = earlier
        .iter()
        .map(|point| point.1)
        .fold(f64::NEG_INFINITY, f64::max);
    let (_, now) = level(&later[later.len() - later.len() / PARTS..])?;
    if now > highest {
        Some(whole.max(steady(later)?))
    } else {
        Some(whole)
    }
}

/// The slope, or the rise of floor and ceiling where that is clearly slower.
fn steady(points: &[Point]) -> Option<f64> {
    let slope = theil_sen(points)?;
    let sustained = sustained(points).unwrap_or(slope);
    Some(if slope <= 0.0 || sustained >= slope / 2.0 {
        slope
    } else {
        sustained
    })
}

/// The median of the slopes between all pairs.
fn theil_sen(points: &[Point]) -> Option<f64> {
    let pairs = points
        .iter()
        .enumerate()
        .flat_map(|(at, from)| points[at + 1..].iter().map(move |to| slope(from, to)));
    median(pairs.collect())
}

/// By how much floor and ceiling both rise from part to part, per minute; never negative.
fn sustained(points: &[Point]) -> Option<f64> {
    let parts = (points.len() / PER_PART).min(PARTS);
    let edge = |part: usize| part * points.len() / parts;
    let levels: Vec<Point> = (0..parts)
        .filter_map(|part| level(&points[edge(part)..edge(part + 1)]))
        .collect();
    let mut ceilings = levels.clone();
    let mut highest = f64::NEG_INFINITY;
    for (_, ceiling) in &mut ceilings {
        highest = highest.max(*ceiling);
        *ceiling = highest;
    }
    let mut floors = levels;
    let mut lowest = f64::INFINITY;
    for (_, floor) in floors.iter_mut().rev() {
        lowest = lowest.min(*floor);
        *floor = lowest;
    }
    let rise = |line: &[Point]| {
        median(
            line.windows(2)
                .map(|pair| slope(&pair[0], &pair[1]))
                .collect(),
        )
    };
    Some(rise(&floors)?.min(rise(&ceilings)?))
}

/// The median time of a part, and its lower quartile.
fn level(part: &[Point]) -> Option<Point> {
    let time = median(part.iter().map(|point| point.0).collect())?;
    Some((
        time,
        at_part(part.iter().map(|point| point.1).collect(), 4)?,
    ))
}

fn slope(from: &Point, to: &Point) -> f64 {
    (to.1 - from.1) / (to.0 - from.0)
}

/// The middle value; of two, the lower: where in doubt, less growth.
fn median(values: Vec<f64>) -> Option<f64> {
    at_part(values, 2)
}

/// The value below which, in order, is this part of the others.
fn at_part(mut values: Vec<f64>, part: usize) -> Option<f64> {
    let at = values.len().checked_sub(1)? / part;
    Some(*values.select_nth_unstable_by(at, f64::total_cmp).1)
}

#[cfg(test)]
#[path = "trend_tests.rs"]
mod tests;
