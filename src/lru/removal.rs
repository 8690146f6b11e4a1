//! `RemovedEntries` and `RemovalNotifier`: what a call removed from a cache, and the callback that
//! is notified of it.
//!
//! A core adds every entry that it removes to `RemovedEntries`, which the shell creates before it
//! locks and drops after it unlocks. Only then is the callback called, and only after that are the
//! keys and values dropped. This also holds if a user's `Eq`, `Clone` or closure panics in the
//! call.

use std::sync::Arc;

use crate::panic_counter::PanicCounter;
use crate::removal::RemovalCause;

/// An entry that is no longer in the cache, and why.
pub(super) type Removal<K, V> = (K, V, RemovalCause);

pub(super) type OnRemoval<K, V> = dyn Fn(&K, &V, RemovalCause) + Send + Sync;

/// The removal callback of a cache, and how often it panicked.
pub(super) struct RemovalNotifier<K, V> {
    on_removal: Option<Arc<OnRemoval<K, V>>>,
    panics: PanicCounter,
}

impl<K, V> RemovalNotifier<K, V> {
    pub(super) fn new(on_removal: Option<Arc<OnRemoval<K, V>>>) -> Self {
        Self {
            on_removal,
            panics: PanicCounter::default(),
        }
    }

    pub(super) fn panics(&self) -> u64 {
        self.panics.get()
    }

    /// Calls the callback for one removal. Contains a panic in it, and counts it.
    #[inline]
    pub(super) fn notify(&self, key: &K, value: &V, cause: RemovalCause) {
        if let Some(on_removal) = &self.on_removal {
            self.call(&**on_removal, key, value, cause);
        }
    }

    #[inline(never)]
    fn call(&self, on_removal: &OnRemoval<K, V>, key: &K, value: &V, cause: RemovalCause) {
        let call = || on_removal(key, value, cause);
        self.panics.catch("lru", "removal callback", call);
    }
}

/// Returns `true` if what an insert displaced is the entry that it was to store.
#[inline]
pub(super) fn is_rejected<K, V>(displaced: &Option<Removal<K, V>>) -> bool {
    matches!(displaced, Some((_, _, RemovalCause::Rejected)))
}

/// Returns the value of what an insert displaced, if it was replaced.
#[inline]
pub(super) fn replaced_value<K, V>(displaced: Option<Removal<K, V>>) -> Option<V> {
    match displaced {
        Some((_, value, RemovalCause::Replaced)) => Some(value),
        _ => None,
    }
}

/// The entries that one call removed. They are notified, and then dropped, with this.
pub(super) struct RemovedEntries<'a, K, V> {
    notifier: &'a RemovalNotifier<K, V>,
    is_notified: bool,
    /// Most calls remove one entry at most, which thus costs no allocation. Without it, there are
    /// no `more`.
    first: Option<Removal<K, V>>,
    more: Vec<Removal<K, V>>,
}

impl<'a, K, V> RemovedEntries<'a, K, V> {
    #[inline]
    pub(super) fn new(notifier: &'a RemovalNotifier<K, V>) -> Self {
        Self {
            notifier,
            is_notified: false,
            first: None,
            more: Vec::new(),
        }
    }

    #[inline]
    pub(super) fn push(&mut self, removal: Removal<K, V>) {
        if self.first.is_none() {
            self.first = Some(removal);
        } else {
            self.more.push(removal);
        }
    }

    /// Notifies of all entries, and of `last`, which it returns.
    ///
    /// The others are dropped after that, because a `Drop` may panic.
    // Takes a reference: to move this right after it was written stalls the processor, which took
    // an eighth of an insert.
    #[inline]
    pub(super) fn finish(&mut self, last: Option<Removal<K, V>>) -> Option<Removal<K, V>> {
        if self.first.is_some() {
            self.notify();
        }
        if let Some((key, value, cause)) = &last {
            self.notifier.notify(key, value, *cause);
        }
        if self.first.is_some() {
            self.first = None;
            self.more.clear();
        }
        last
    }

    /// Notifies of all entries, and returns them.
    pub(super) fn finish_all(mut self) -> Vec<Removal<K, V>> {
        self.notify();
        let mut all: Vec<_> = self.first.take().into_iter().collect();
        all.append(&mut self.more);
        all
    }

    #[cold]
    fn notify(&mut self) {
        if self.notifier.on_removal.is_some() && !self.is_notified {
            self.is_notified = true;
            for (key, value, cause) in self.first.iter().chain(&self.more) {
                self.notifier.notify(key, value, *cause);
            }
        }
    }
}

impl<K, V> Drop for RemovedEntries<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        if self.first.is_some() {
            self.notify();
        }
    }
}
