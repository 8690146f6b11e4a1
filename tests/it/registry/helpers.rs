//! What these tests share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use leakproof::{ListenerRegistry, ManualClock, RegistryBuilder};

pub type Bus = ListenerRegistry<&'static str, u32>;

pub fn builder() -> RegistryBuilder<&'static str, u32> {
    Bus::builder().max_per_topic(1_000)
}

pub fn bus() -> Bus {
    builder().build().expect("sound limits")
}

pub fn timed(time: &ManualClock) -> Bus {
    builder().clock(time).build().expect("sound limits")
}

/// Brings a topic to where emits pin its list; every promise is to hold on both sides of that.
pub fn calm(bus: &Bus, topic: &'static str) {
    for _ in 0..100 {
        bus.emit(topic, &0).unwrap();
    }
}

/// Runs a test on a topic as it begins, and on one that is calm.
pub fn both(test: impl Fn(&dyn Fn(&Bus))) {
    test(&|_| ());
    test(&|bus| calm(bus, "topic"));
}

/// Counts, in whatever thread.
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

/// Something to be captured, of which it can be told whether it has been dropped.
pub fn captured() -> (Arc<()>, impl Fn() -> bool) {
    let value = Arc::new(());
    let weak = Arc::downgrade(&value);
    (value, move || weak.strong_count() == 0)
}

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn push(&self, what: impl ToString) {
        self.0.lock().expect("not poisoned").push(what.to_string());
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("not poisoned"))
    }
}

/// A place where a handler finds a guard that is made after it.
pub type Later<V> = Arc<Mutex<Option<V>>>;

pub fn later<V>() -> Later<V> {
    Arc::default()
}

pub fn take<V>(later: &Later<V>) -> Option<V> {
    later.lock().expect("not poisoned").take()
}

pub fn put<V>(later: &Later<V>, value: V) {
    *later.lock().expect("not poisoned") = Some(value);
}

/// A handler that does nothing but hold what it captured.
pub fn holding<C>(capture: C) -> impl Fn(&u32) {
    move |_| {
        let _held = &capture;
    }
}

/// Something to be captured that does this when it is dropped.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
