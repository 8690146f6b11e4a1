//! Sampling by the background thread. This lets real time pass.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use leakproof::monitor::{Monitor, ProcessFigures};

const SOON: Duration = Duration::from_millis(5);
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn samples_are_taken_in_the_background_until_the_monitor_is_dropped() {
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
        .expect("sound limits");
    for _ in 0..5 {
        let thread = receiver
            .recv_timeout(PATIENCE)
            .expect("sampled again and again");
        assert_eq!(
            thread.as_deref(),
            Some("leakproof-sweep"),
            "by the thread that sweeps"
        );
    }
    assert!(monitor.report().samples > 0);
    drop(monitor);
    // The source of figures is dropped with the monitor, be it by the thread that is using it.
    let end = loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    assert_eq!(end, RecvTimeoutError::Disconnected);
}

#[test]
fn without_an_interval_nothing_samples() {
    let (sender, receiver) = channel();
    let figures = move || {
        sender.send(()).ok();
        ProcessFigures::default()
    };
    let monitor = Monitor::builder()
        .process(figures)
        .build()
        .expect("sound limits");
    assert_eq!(
        receiver.recv_timeout(20 * SOON),
        Err(RecvTimeoutError::Timeout)
    );
    monitor.sample();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(()));
}
