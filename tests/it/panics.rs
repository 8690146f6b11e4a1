//! Panics of user code are caught even if the payload panics when it is dropped.

use std::panic::panic_any;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use leakproof::{ListenerRegistry, LruCache, Sweeper};

use crate::support::fn_sweep::fn_sweep;

/// A panic payload whose drop panics as well.
struct PanickingPayload;

impl Drop for PanickingPayload {
    fn drop(&mut self) {
        panic!("in the drop of a payload");
    }
}

#[test]
fn removal_callback_with_panicking_payload_is_counted() {
    let cache = LruCache::<u32, u32>::builder()
        .max_entries(1)
        .on_removal(|_, _, _| panic_any(PanickingPayload))
        .build()
        .expect("valid options");
    for key in 0..3 {
        cache.insert(key, key);
    }
    assert_eq!((cache.len(), cache.stats().callback_panics), (1, 2));
}

#[test]
fn handler_with_panicking_payload_is_counted() {
    let bus = ListenerRegistry::<&str, u32>::new();
    let _subscription = bus
        .on("message", |_| panic_any(PanickingPayload))
        .expect("below the bounds");
    assert_eq!(bus.emit("message", &1).unwrap().panicked, 1);
    assert_eq!(bus.stats().panics, 1);
}

#[test]
#[cfg(feature = "monitor")]
fn process_source_with_panicking_payload_is_counted() {
    let monitor = leakproof::monitor::Monitor::builder()
        .process(|| panic_any(PanickingPayload))
        .build()
        .expect("valid options");
    assert_eq!(monitor.sample().panics, 1);
}

#[test]
fn sweep_with_panicking_payload_runs_again_after_the_interval() {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let collection = fn_sweep(move || {
        sender.lock().expect("not poisoned").send(()).ok();
        panic_any(PanickingPayload)
    });
    let sweeper = Sweeper::new();
    sweeper.watch("panics", &collection, Duration::from_millis(5));
    for _ in 0..3 {
        receiver
            .recv_timeout(Duration::from_secs(20))
            .expect("the thread is alive");
    }
    assert!(sweeper.panics() >= 2);
}
