//! `Attributes`: the weight and the ttl of an entry, and the options that determine them.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::{Nanos, nanos};
use crate::sync::atomic::{AtomicU64, Ordering};

/// The properties of an entry that a write determines in addition to its value.
#[derive(Clone, Copy)]
pub(super) struct Attributes {
    /// At least 1: a bound on weight thus bounds the number of entries too.
    pub(super) weight: NonZeroU32,
    /// The entry's own ttl, if it has one.
    pub(super) ttl: Option<Nanos>,
}

pub(super) type Weigh<K, V> = dyn Fn(&K, &V) -> u32 + Send + Sync;
pub(super) type ExpireAfter<K, V> = dyn Fn(&K, &V) -> Option<Duration> + Send + Sync;

/// Determines the attributes of entries.
pub(super) struct EntryRules<K, V> {
    pub(super) weigher: Option<Box<Weigh<K, V>>>,
    /// `None` if no entry has a ttl of its own unless a call passes one. Most caches are like that,
    /// and then an insert checks only this.
    pub(super) ttl: Option<Box<TtlRule<K, V>>>,
}

/// Determines the own ttl of entries for which a call passes none.
pub(super) struct TtlRule<K, V> {
    pub(super) expire_after: Option<Box<ExpireAfter<K, V>>>,
    /// The largest part of a ttl by which it is shortened.
    pub(super) jitter: f64,
    /// The number of ttls that were shortened.
    pub(super) jittered: AtomicU64,
    /// The ttl of the cache.
    pub(super) ttl: Nanos,
}

impl<K, V> EntryRules<K, V> {
    #[inline]
    pub(super) fn attributes(&self, key: &K, value: &V) -> Attributes {
        Attributes {
            weight: self.weight(key, value),
            ttl: self.ttl(key, value),
        }
    }

    /// Returns the entry's own ttl, if it has one.
    #[inline]
    pub(super) fn ttl(&self, key: &K, value: &V) -> Option<Nanos> {
        match &self.ttl {
            None => None,
            Some(rule) => rule.ttl(key, value),
        }
    }

    #[inline]
    pub(super) fn weight(&self, key: &K, value: &V) -> NonZeroU32 {
        self.weigher
            .as_ref()
            .and_then(|weigh| NonZeroU32::new(weigh(key, value)))
            .unwrap_or(NonZeroU32::MIN)
    }
}

impl<K, V> TtlRule<K, V> {
    #[cold]
    fn ttl(&self, key: &K, value: &V) -> Option<Nanos> {
        let given = self
            .expire_after
            .as_ref()
            .and_then(|expire_after| expire_after(key, value))
            .map(nanos);
        let ttl = given.unwrap_or(self.ttl);
        if self.jitter == 0.0 || ttl == Nanos::MAX {
            return given;
        }
        // Relaxed: the count guards no other data.
        let random = mix(self.jittered.fetch_add(1, Ordering::Relaxed));
        // Its upper 53 bits are a fraction.
        let fraction = (random >> 11) as f64 / (1_u64 << 53) as f64;
        Some(ttl - (ttl as f64 * self.jitter * fraction) as Nanos)
    }
}

/// Returns a number in which every bit depends on every bit of the argument: the last step of
/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
/// The results for consecutive numbers are as good as random.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
