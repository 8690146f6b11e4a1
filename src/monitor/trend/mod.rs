//! The growth of a series of samples, robust against noise, jumps and sawteeth.
//!
//! The rate is the Theil–Sen slope: the median of the slopes between all pairs of samples. Up to
//! 29% of outliers move it little (H. Theil, "A rank-invariant method of linear and polynomial
//! regression analysis", 1950; P. K. Sen, "Estimates of the regression coefficient based on
//! Kendall's tau", Journal of the American Statistical Association 63, 1968).
//!
//! The slope alone takes a jump in the middle of the window, or a sawtooth with long teeth, for
//! growth. Floor and ceiling of the samples correct it. The samples are cut into up to six parts in
//! order of time. The level of a part is the lower quartile of its samples, because outliers of
//! memory point upwards. The floor of a part is the lowest level of it and all later parts. The
//! ceiling is the highest level of it and all earlier parts.
//!
//! A leak raises floor and ceiling from part to part. A jump is one step of five. A tooth that
//! ended leaves the floor where it was, and the next tooth does not raise the ceiling. If the
//! median step of floor or ceiling is below half of the slope, that step counts instead of the
//! slope.
//!
//! The later half alone detects a leak that began in the middle of the window. It counts if it ends
//! above all samples of the earlier half. A swing does not do so if one and a half swings fit into
//! the window.

use std::time::Duration;

/// The number of parts of the window whose floors and ceilings are compared.
const PARTS: usize = 6;
/// The smallest number of samples in a part.
const PER_PART: usize = 3;

/// A sample: the time in minutes since an arbitrary origin, and the value.
pub(super) type Point = (f64, f64);

/// Converts a time to the first half of a [`Point`].
pub(super) fn minutes(at: Duration) -> f64 {
    at.as_secs_f64() / 60.0
}

/// Returns the growth per minute, negative if the values shrink. The points are in order of time,
/// no two of the same time.
///
/// Takes time proportional to the square of the number of points, unless all values are equal.
pub(super) fn growth(points: &[Point]) -> Option<f64> {
    // Most collections of a process are idle at any time. This check makes a sample of 8,000 idle
    // collections with 60 samples each several times faster.
    let (first, rest) = points.split_first()?;
    if !rest.is_empty() && rest.iter().all(|point| point.1 == first.1) {
        return Some(0.0);
    }
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

/// Returns the slope, or the rise of floor and ceiling if that is clearly slower.
fn steady(points: &[Point]) -> Option<f64> {
    let slope = theil_sen(points)?;
    let sustained = sustained(points).unwrap_or(slope);
    // A falling slope is returned too, because `sustained` is never negative.
    Some(if sustained >= slope / 2.0 {
        slope
    } else {
        sustained
    })
}

/// Returns the median of the slopes between all pairs.
fn theil_sen(points: &[Point]) -> Option<f64> {
    let pairs = points
        .iter()
        .enumerate()
        .flat_map(|(at, from)| points[at + 1..].iter().map(move |to| slope(from, to)));
    median(pairs.collect())
}

/// Returns the rise per minute that floor and ceiling have in common. Never negative.
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

/// Returns the median time of a part and the lower quartile of its values.
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

/// Returns the middle value, and the lower of two: in doubt, there is less growth.
fn median(values: Vec<f64>) -> Option<f64> {
    at_part(values, 2)
}

/// Returns the value at one `part`-th of the sorted values.
fn at_part(mut values: Vec<f64>, part: usize) -> Option<f64> {
    let at = values.len().checked_sub(1)? / part;
    Some(*values.select_nth_unstable_by(at, f64::total_cmp).1)
}

#[cfg(test)]
mod tests;
