//! `Left` and `Listener`: what left a cache, and who is told.
//!
//! Whatever leaves is handed out of the core, and out of the lock of a shard, in a `Left`. Only there is the callback called,
//! and only there are keys and values dropped, when all that left has been told of.

use std::mem::replace;
use std::sync::Arc;

use super::store::Entry;
use crate::panic::catch_user_panic;
use crate::removal::RemovalCause;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What left in one call. One entry is the common case, and costs no allocation.
pub(super) struct Left<K, V> {
    first: Option<(K, V, RemovalCause)>,
    more: Vec<(K, V, RemovalCause)>,
}

impl<K, V> Left<K, V> {
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self {
            first: None,
            more: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline(always)]
    pub(super) fn push(&mut self, entry: Entry<K, V>, cause: RemovalCause) {
        let left = (entry.key, entry.value, cause);
        if self.first.is_none() {
            self.first = Some(left);
        } else {
            self.more.push(left);
        }
    }
}

/// A call in which entries may leave. What left is told of, and dropped, when it ends, be it by a panic of a user's `Clone`,
/// `Eq` or closure.
pub(super) struct Call<K, V, C: Tells<K, V>> {
    pub(super) left: Left<K, V>,
    pub(super) by: C,
}

/// Has a listener.
pub(super) trait Tells<K, V> {
    fn listener(&self) -> &Listener<K, V>;
}

impl<K, V> Tells<K, V> for &Listener<K, V> {
    #[inline(always)]
    fn listener(&self) -> &Listener<K, V> {
        self
    }
}

impl<K, V, C: Tells<K, V>> Call<K, V, C> {
    #[inline(always)]
    pub(super) fn new(by: C) -> Self {
        Self {
            left: Left::new(),
            by,
        }
    }

    /// Ends the call: `tell` tells of what left and is for the caller, after the others, and before these are dropped,
    /// since a drop may panic.
    #[inline(always)]
    pub(super) fn end<R>(mut self, tell: impl FnOnce(&Listener<K, V>) -> R) -> R {
        let left = replace(&mut self.left, Left::new());
        let listener = self.by.listener();
        listener.tell_of(&left);
        let result = tell(listener);
        drop(left);
        result
    }
}

impl<K, V, C: Tells<K, V>> Drop for Call<K, V, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.by.listener().tell_of(&self.left);
    }
}

pub(super) type OnRemoval<K, V> = dyn Fn(&K, &V, RemovalCause) + Send + Sync;

/// The callback, and how often it panicked.
pub(super) struct Listener<K, V> {
    on_removal: Option<Arc<OnRemoval<K, V>>>,
    panics: AtomicU64,
}

impl<K, V> Listener<K, V> {
    pub(super) fn new(on_removal: Option<Arc<OnRemoval<K, V>>>) -> Arc<Self> {
        Arc::new(Self {
            on_removal,
            panics: AtomicU64::new(0),
        })
    }

    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Tells of one departure. A panic of the callback ends here, and is counted.
    #[inline(always)]
    pub(super) fn tell(&self, key: &K, value: &V, cause: RemovalCause) {
        if let Some(on_removal) = &self.on_removal {
            self.call(&**on_removal, key, value, cause);
        }
    }

    #[inline(never)]
    fn call(&self, on_removal: &OnRemoval<K, V>, key: &K, value: &V, cause: RemovalCause) {
        if catch_user_panic(|| on_removal(key, value, cause)).is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells of an entry that left, of which the caller of the cache gets the value.
    #[inline(always)]
    pub(super) fn hand_back(&self, (key, value): (K, V), cause: RemovalCause) -> V {
        self.tell(&key, &value, cause);
        value
    }

    /// Tells of what an insert by the short way let go; the value, where it was that of the same key.
    #[inline(always)]
    pub(super) fn see_off_light(&self, left: Option<(K, V, RemovalCause)>) -> Option<V> {
        let (key, value, cause) = left?;
        let value = self.hand_back((key, value), cause);
        (cause == RemovalCause::Replaced).then_some(value)
    }

    /// Tells of all that left.
    #[inline(always)]
    fn tell_of(&self, left: &Left<K, V>) {
        if let Some((key, value, cause)) = &left.first {
            self.tell(key, value, *cause);
            if !left.more.is_empty() {
                self.tell_of_more(&left.more);
            }
        }
    }

    #[cold]
    fn tell_of_more(&self, more: &[(K, V, RemovalCause)]) {
        for (key, value, cause) in more {
            self.tell(key, value, *cause);
        }
    }
}
