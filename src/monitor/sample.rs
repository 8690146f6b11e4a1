//! `Ring`: the last samples of one thing, at most so many.

use std::collections::VecDeque;
use std::time::Duration;

use super::trend::{Point, growth, minutes};
use crate::stats::Usage;

/// The last samples, oldest first, no two of the same time.
#[derive(Debug)]
pub(super) struct Ring<T> {
    samples: VecDeque<(Duration, T)>,
    most: usize,
}

/// What is kept of a collection's statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) len: u64,
    pub(super) weight: u64,
    pub(super) in_flight: u64,
    pub(super) expired: u64,
    pub(super) evicted: u64,
    pub(super) rejected: u64,
    pub(super) failed: u64,
    pub(super) oldest: Option<Duration>,
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
            oldest: usage.oldest_entry_age,
        }
    }
}

impl<T> Ring<T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            samples: VecDeque::new(),
            most,
        }
    }

    /// Adds a sample; whether it is the latest. One of the same time as the last takes its place; one of an earlier time,
    /// which a slower thread took, is left out.
    pub(super) fn push(&mut self, at: Duration, sample: T) -> bool {
        match self.samples.back_mut() {
            Some((last, _)) if at < *last => return false,
            Some((last, place)) if at == *last => {
                *place = sample;
                return true;
            }
            _ => {}
        }
        if self.samples.len() == self.most {
            self.samples.pop_front();
        }
        self.samples.push_back((at, sample));
        true
    }

    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The time from the first sample to the last.
    pub(super) fn window(&self) -> Duration {
        self.samples
            .front()
            .zip(self.samples.back())
            .map_or(Duration::ZERO, |(first, last)| last.0 - first.0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.samples.iter().map(|(_, sample)| sample)
    }

    /// The growth per minute of a figure, once there are so many samples that have it.
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

impl Ring<Sample> {
    /// By how much a counter has risen over the window, up to `now`.
    pub(super) fn rise(&self, now: u64, counter: impl Fn(&Sample) -> u64) -> u64 {
        self.iter()
            .next()
            .map_or(0, |first| now.saturating_sub(counter(first)))
    }

    /// Whether a counter has risen in each quarter of the window.
    pub(super) fn rises_throughout(&self, counter: impl Fn(&Sample) -> u64) -> bool {
        let Some(last) = self.len().checked_sub(1) else {
            return false;
        };
        let counts = [0, 1, 2, 3, 4].map(|quarter| counter(&self.samples[quarter * last / 4].1));
        counts.is_sorted_by(|earlier, later| earlier < later)
    }

    /// The least age that the oldest entry had reached when entries had to be evicted, over the window up to `now`.
    pub(super) fn shortest_window(&self, now: Sample) -> Option<Duration> {
        let later = self.iter().skip(1).chain([&now]);
        let evicting = self
            .iter()
            .zip(later)
            .filter(|(before, after)| after.evicted > before.evicted);
        evicting.filter_map(|(_, after)| after.oldest).min()
    }
}
