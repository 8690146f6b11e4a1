//! Samples of the background thread. These tests wait in real time.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use leakproof::monitor::{Monitor, ProcessFigures};

const SOON: Duration = Duration::from_millis(5);
/// Longer than anything in this file takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn sample_every_samples_until_the_monitor_is_dropped() {
    let (sender, receiver) = channel();
    let figures = move || {
        sender
            .send(std::thread::current().name().map(str::to_owned))
            .ok();
        ProcessFigures::default()
    };
    let monitor = Monitor::builder()
        .sample_every(SOON)
        .process(figures)
        .build()
        .expect("valid options");
    for _ in 0..5 {
        let thread = receiver
            .recv_timeout(PATIENCE)
            .expect("sampled again and again");
        assert_eq!(
            thread.as_deref(),
            Some("leakproof-sweep"),
            "the thread that sweeps"
        );
    }
    assert!(monitor.report().samples > 0);
    drop(monitor);
    // The source of figures is dropped with the monitor, or by the thread if it is using the
    // source.
    let end = loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    assert_eq!(end, RecvTimeoutError::Disconnected);
}

#[test]
fn monitor_without_interval_takes_no_samples() {
    let (sender, receiver) = channel();
    let figures = move || {
        sender.send(()).ok();
        ProcessFigures::default()
    };
    let monitor = Monitor::builder()
        .process(figures)
        .build()
        .expect("valid options");
    assert_eq!(
        receiver.recv_timeout(20 * SOON),
        Err(RecvTimeoutError::Timeout)
    );
    monitor.sample();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
}
