//! `Weigher`: the function that returns the weight of an entry.

use std::num::NonZeroU32;

type Weigh<K, V> = dyn Fn(&K, &V) -> u32 + Send + Sync;

/// Returns the weight of entries, if they have weights.
pub(super) struct Weigher<K, V>(Option<Box<Weigh<K, V>>>);

impl<K, V> Weigher<K, V> {
    /// Every entry has weight 1.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(super) fn new(weigh: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(weigh)))
    }

    pub(super) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the weight of an entry, at least 1: a bound on weight thus bounds the number of
    /// entries too.
    #[inline]
    pub(super) fn weigh(&self, key: &K, value: &V) -> NonZeroU32 {
        self.0
            .as_ref()
            .and_then(|weigh| NonZeroU32::new(weigh(key, value)))
            .unwrap_or(NonZeroU32::MIN)
    }
}
