//! Values that count themselves, know their key and their time, and may panic in `clone`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};

use crate::round::panic_deliberately;

/// The number of live values or captures.
#[derive(Clone, Default)]
pub(crate) struct Alive(Arc<AtomicI64>);

impl Alive {
    pub(crate) fn count(&self) -> i64 {
        self.0.load(SeqCst)
    }

    pub(crate) fn one(&self) -> One {
        self.0.fetch_add(1, SeqCst);
        One(self.clone())
    }
}

/// A counted value.
pub(crate) struct One(Alive);

impl Clone for One {
    fn clone(&self) -> Self {
        self.0.one()
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}

pub(crate) struct Value {
    pub(crate) id: usize,
    pub(crate) weight: u32,
    /// Makes `clone` panic.
    brittle: bool,
    pub(crate) history: Arc<History>,
    _alive: One,
}

/// The data that all clones of a value share.
pub(crate) struct History {
    /// The time before the write.
    pub(crate) before: u64,
    /// The time after the write, once it has returned.
    pub(crate) after: AtomicU64,
    /// The ttl of its own, if the value has one.
    pub(crate) ttl: AtomicU64,
    /// Set by the removal callback.
    pub(crate) has_left: AtomicBool,
}

impl Value {
    pub(crate) fn new(alive: &Alive, id: usize, weight: u32, brittle: bool, before: u64) -> Self {
        let history = History {
            before,
            after: AtomicU64::new(u64::MAX),
            ttl: AtomicU64::new(u64::MAX),
            has_left: AtomicBool::new(false),
        };
        Self {
            id,
            weight,
            brittle,
            history: Arc::new(history),
            _alive: alive.one(),
        }
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        if self.brittle {
            panic_deliberately();
        }
        Self {
            id: self.id,
            weight: self.weight,
            brittle: self.brittle,
            history: Arc::clone(&self.history),
            _alive: self._alive.clone(),
        }
    }
}
