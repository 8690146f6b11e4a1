//! Tests of a monitor that need its watch list.

use std::sync::Arc;

use super::{Monitor, ProcessFigures};
use crate::stats::Usage;
use crate::steps;
use crate::sweep::{Sweep, Swept};

struct Empty;

impl Sweep for Empty {
    fn sweep_some(&self, _: usize) -> Swept {
        Swept::default()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

fn monitor() -> Monitor {
    let builder = Monitor::builder().process(ProcessFigures::default);
    builder.build().unwrap()
}

#[test]
fn sample_takes_logarithmic_steps_per_collection() {
    let (monitor, collection) = (monitor(), Arc::new(Empty));
    for number in 0..8_000 {
        monitor.watch(&number.to_string(), &collection);
    }
    let sample = || assert_eq!(monitor.sample().collections.len(), 8_000);
    let steps = steps::during(sample) / 8_000;
    // A binary search takes 13 comparisons, and a linear one 4,000 on average.
    assert!(steps < 60, "{steps} steps per collection");
}

#[test]
fn sample_forgets_dropped_collections() {
    let (monitor, kept) = (monitor(), Arc::new(Empty));
    monitor.watch("kept", &kept);
    monitor.watch("dropped", &Arc::new(Empty));
    monitor.sample();
    let state = monitor.inner.state.lock();
    assert_eq!(state.watched.names().count(), 1);
}
