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
pub(super) type OnDiscard<K, V> = dyn Fn(K, V, RemovalCause) + Send + Sync;

/// The removal callbacks of a cache, and how often they panicked.
pub(super) struct RemovalNotifier<K, V> {
    on_removal: Option<Arc<OnRemoval<K, V>>>,
    on_discard: Option<Arc<OnDiscard<K, V>>>,
    panics: PanicCounter,
}

impl<K, V> RemovalNotifier<K, V> {
    pub(super) fn new(
        on_removal: Option<Arc<OnRemoval<K, V>>>,
        on_discard: Option<Arc<OnDiscard<K, V>>>,
    ) -> Self {
        Self {
            on_removal,
            on_discard,
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

    /// Passes an entry that no caller receives to the callback that takes it, or drops it.
    pub(super) fn discard(&self, (key, value, cause): Removal<K, V>) {
        if let Some(on_discard) = &self.on_discard {
            let call = || on_discard(key, value, cause);
            self.panics.catch("lru", "discard callback", call);
        }
    }
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
        if self.notifier.on_discard.is_some() {
            return self.discard_all_but(last);
        }
        if self.first.is_some() {
            self.first = None;
            self.more.clear();
        }
        last
    }

    /// Discards all entries, and returns `last` if the caller of the cache is to receive it.
    #[cold]
    fn discard_all_but(&mut self, last: Option<Removal<K, V>>) -> Option<Removal<K, V>> {
        let more = std::mem::take(&mut self.more);
        for removal in self.first.take().into_iter().chain(more) {
            self.notifier.discard(removal);
        }
        match last {
            Some(evicted @ (_, _, RemovalCause::Evicted)) => {
                self.notifier.discard(evicted);
                None
            }
            last => last,
        }
    }

    /// Notifies of all entries, and returns those that were removed on request.
    pub(super) fn finish_all(mut self) -> Vec<Removal<K, V>> {
        self.notify();
        let more = std::mem::take(&mut self.more);
        let all = self.first.take().into_iter().chain(more);
        let (requested, others) = all.partition::<Vec<_>, _>(|it| it.2 == RemovalCause::Removed);
        for removal in others {
            self.notifier.discard(removal);
        }
        requested
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
            if self.notifier.on_discard.is_some() {
                self.discard_all_but(None);
            }
        }
    }
}
