//! Helpers of the registry's tests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakproof::{ListenerRegistry, ManualClock, RegistryBuilder};

pub type Bus = ListenerRegistry<&'static str, u32>;

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
/// A timeout that a correct call never reaches, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn builder() -> RegistryBuilder<&'static str, u32> {
    Bus::builder().max_per_topic(1_000)
}

pub fn bus() -> Bus {
    builder().build().unwrap()
}

pub fn timed(time: &ManualClock) -> Bus {
    builder().clock(time).build().unwrap()
}

/// A counter that handlers on any thread share.
#[derive(Clone, Default)]
pub struct Count(Arc<AtomicUsize>);

impl Count {
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// Returns a value to capture, and a function that returns `true` once the value was dropped.
pub fn captured() -> (Arc<()>, impl Fn() -> bool) {
    let value = Arc::new(());
    let weak = Arc::downgrade(&value);
    (value, move || weak.strong_count() == 0)
}

/// A log that handlers on any thread share.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn push(&self, entry: impl ToString) {
        self.0.lock().unwrap().push(entry.to_string());
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A value that a handler captures before the value exists, such as the handler's own guard.
pub type Later<V> = Arc<Mutex<Option<V>>>;

pub fn later<V>() -> Later<V> {
    Arc::default()
}

pub fn take<V>(later: &Later<V>) -> Option<V> {
    later.lock().unwrap().take()
}

pub fn put<V>(later: &Later<V>, value: V) {
    *later.lock().unwrap() = Some(value);
}

/// Returns a handler that only holds its capture.
pub fn holding<C>(capture: C) -> impl Fn(&u32) {
    move |_| {
        let _held = &capture;
    }
}

/// A value to capture that calls a function when it is dropped.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
