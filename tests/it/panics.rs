//! A panic of a callback is contained even where its payload panics in turn when it is dropped.

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use leakproof::{ListenerRegistry, LruCache, Sweep, Sweeper, Swept, Usage};

/// What a callback panics with.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("and once more");
    }
}

#[test]
fn of_a_removal_callback() {
    let builder = LruCache::<u32, u32>::builder()
        .max_entries(1)
        .on_removal(|_, _, _| panic_any(Payload));
    let cache = builder.build().expect("sound limits");
    for key in 0..3 {
        cache.insert(key, key);
    }
    assert_eq!((cache.len(), cache.stats().callback_panics), (1, 2));
}

#[test]
fn of_a_handler() {
    let bus = ListenerRegistry::<&str, u32>::new();
    let _guard = bus
        .on("message", |_| panic_any(Payload))
        .expect("there is room");
    assert_eq!(bus.emit("message", &1).unwrap().panicked, 1);
    assert_eq!(bus.stats().panics, 1);
}

#[test]
#[cfg(feature = "monitor")]
fn of_a_monitors_source_of_figures() {
    let monitor = leakproof::Monitor::builder()
        .process(|| panic_any(Payload))
        .build()
        .expect("sound limits");
    assert_eq!(monitor.sample().panics, 1);
}

/// Its sweeps panic, and tell of it.
struct Panics(Sender<()>);

impl Sweep for Panics {
    fn sweep_some(&self, _: usize) -> Swept {
        // Nobody may listen any more.
        let _ = self.0.send(());
        panic_any(Payload)
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

#[test]
fn of_a_sweep_which_goes_on_at_the_next_interval() {
    let (sender, receiver) = channel();
    let collection = Arc::new(Panics(sender));
    let sweeper = Sweeper::new();
    sweeper.watch("panics", &collection, Duration::from_millis(5));
    for _ in 0..3 {
        receiver
            .recv_timeout(Duration::from_secs(20))
            .expect("the thread is alive");
    }
    assert!(sweeper.panics() >= 2);
}
