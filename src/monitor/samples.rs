//! `Samples`: a bounded series of samples over time.

use std::collections::VecDeque;
use std::time::Duration;

use super::trend::{Point, growth, minutes};
use crate::stats::Usage;

/// The most recent samples, oldest first, no two of the same time.
#[derive(Debug)]
pub(super) struct Samples<T> {
    samples: VecDeque<(Duration, T)>,
    max: usize,
}

/// The part of a collection's usage that a sample keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) len: u64,
    pub(super) weight: u64,
    pub(super) in_flight: u64,
    pub(super) expired: u64,
    pub(super) evicted: u64,
    pub(super) rejected: u64,
    pub(super) failed: u64,
    pub(super) oldest_entry_age: Option<Duration>,
    pub(super) shortest_window: Option<Duration>,
}

impl From<&Usage> for Sample {
    fn from(usage: &Usage) -> Self {
        Self {
            len: usage.len as u64,
            weight: usage.weight.unwrap_or(0),
            in_flight: usage.in_flight.unwrap_or(0) as u64,
            expired: usage.counter("expired"),
            evicted: usage.counter("evicted"),
            rejected: usage.counter("rejected"),
            failed: usage.counter("failed"),
            oldest_entry_age: usage.oldest_entry_age,
            shortest_window: usage.shortest_window,
        }
    }
}

impl<T> Samples<T> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            samples: VecDeque::new(),
            max,
        }
    }

    /// Adds a sample, and returns `true` if it is the latest.
    ///
    /// A sample replaces the last one if both have the same time. An earlier one, from a slower
    /// thread, is ignored.
    pub(super) fn push(&mut self, at: Duration, sample: T) -> bool {
        match self.samples.back_mut() {
            Some((last, _)) if at < *last => return false,
            Some((last, latest)) if at == *last => {
                *latest = sample;
                return true;
            }
            _ => {}
        }
        if self.samples.len() == self.max {
            self.samples.pop_front();
        }
        self.samples.push_back((at, sample));
        true
    }

    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Returns the time from the first sample to the last.
    pub(super) fn window(&self) -> Duration {
        let ends = self.samples.front().zip(self.samples.back());
        ends.map_or(Duration::ZERO, |(first, last)| last.0 - first.0)
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.samples.iter().map(|(_, sample)| sample)
    }

    /// Returns the growth of a figure per minute, or `None` if fewer than `min_samples` samples
    /// have it.
    pub(super) fn growth(
        &self,
        min_samples: usize,
        figure: impl Fn(&T) -> Option<u64>,
    ) -> Option<f64> {
        let points = self
            .samples
            .iter()
            .filter_map(|(at, sample)| Some((minutes(*at), figure(sample)? as f64)));
        let points: Vec<Point> = points.collect();
        if points.len() < min_samples {
            None
        } else {
            growth(&points)
        }
    }
}

impl Samples<Sample> {
    /// Returns the rise of a counter from the first sample to `now`.
    pub(super) fn rise(&self, now: u64, counter: impl Fn(&Sample) -> u64) -> u64 {
        let first = self.iter().next();
        first.map_or(0, |first| now.saturating_sub(counter(first)))
    }

    /// Returns `true` if a counter rose in each quarter of the window.
    pub(super) fn rises_throughout(&self, counter: impl Fn(&Sample) -> u64) -> bool {
        let Some(last) = self.len().checked_sub(1) else {
            return false;
        };
        let counts = [0, 1, 2, 3, 4].map(|quarter| counter(&self.samples[quarter * last / 4].1));
        counts.is_sorted_by(|earlier, later| earlier < later)
    }

    /// Returns the shortest window of the evictions from the first sample to `now`, or `None` if
    /// there were none.
    ///
    /// The collection reports the shortest window since its creation. If it fell between two
    /// samples, it is the window of an eviction between them. If it did not fall, the windows of
    /// the evictions between them are unknown, and the age of the oldest remaining entry is the
    /// estimate.
    pub(super) fn shortest_window(&self, now: Sample) -> Option<Duration> {
        let later = self.iter().skip(1).chain([&now]);
        let pairs = self.iter().zip(later);
        let windows = pairs.filter_map(|(before, after)| {
            if after.evicted <= before.evicted {
                None
            } else if before.shortest_window == after.shortest_window {
                after.oldest_entry_age
            } else {
                after.shortest_window
            }
        });
        windows.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_ignores_an_earlier_sample_and_replaces_an_equal_one() {
        let second = Duration::from_secs(1);
        let mut samples = Samples::new(3);
        assert!(samples.push(2 * second, "first"));
        assert!(!samples.push(second, "earlier"));
        assert!(samples.push(2 * second, "same time"));
        let kept: Vec<_> = samples.samples.iter().copied().collect();
        assert_eq!(kept, [(2 * second, "same time")]);
    }
}
