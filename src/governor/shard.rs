//! `Shard`: the keys of one lock, and the rules by which a full shard takes a new one.

use governor::Quota;

use super::builder::WhenFull;
use crate::clock::nanos;
use crate::lru::KeyedDeadlines;
use crate::removal::RemovalCause;
use crate::stats::RateLimitStats;

/// A state that no clock reaches: in 292 years.
const NEVER: u64 = u64::MAX / 2;

/// The rules of a full shard.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    when_full: WhenFull,
    /// The time by which a state may be in the future for a check to be allowed: GCRA's tau.
    tolerance: u64,
}

impl Rules {
    pub(super) fn new(quota: Quota, when_full: WhenFull) -> Self {
        // The same rule as in `governor`: a cell takes at least a nanosecond.
        let interval = nanos(quota.replenish_interval()).max(1);
        Self {
            when_full,
            tolerance: interval.saturating_mul(u64::from(quota.burst_size().get() - 1)),
        }
    }
}

// In this order, see `Sharded`.
#[repr(C)]
pub(super) struct Shard<K> {
    allowed: u64,
    limited: u64,
    inserted: u64,
    expired: u64,
    evicted: u64,
    rejected: u64,
    high_water: usize,
    max_entries: usize,
    /// The deadline of a key is its state: from then on the key is replenished.
    keys: KeyedDeadlines<K>,
}

impl<K> Shard<K> {
    pub(super) fn new(max_entries: usize) -> Self {
        Self {
            allowed: 0,
            limited: 0,
            inserted: 0,
            expired: 0,
            evicted: 0,
            rejected: 0,
            high_water: 0,
            max_entries,
            keys: KeyedDeadlines::new(),
        }
    }

    /// Checks a key. `decide` returns the successor of a state, or denies the check. The caller
    /// drops the `removed` key after it unlocks.
    pub(super) fn check<T, E>(
        &mut self,
        hash: u64,
        key: &K,
        decide: impl Fn(Option<u64>) -> Result<(T, u64), E>,
        rules: Rules,
        removed: &mut Option<K>,
    ) -> Result<T, E>
    where
        K: Eq + Clone,
    {
        let found = self.keys.find(hash, key);
        let state = found.map(|slot| self.keys.deadline(slot));
        if let (Some(slot), WhenFull::EvictLru) = (found, rules.when_full) {
            // Even if the check is denied: a key that always exceeds its quota keeps its history.
            self.keys.access(slot);
        }
        let (outcome, next) = decide(state).inspect_err(|_| self.limited += 1)?;
        if let Some(slot) = found {
            self.keys.set(slot, next);
        } else {
            let victim = if self.keys.len() < self.max_entries {
                None
            } else {
                let victim = self.victim(next, &decide, rules.when_full);
                if victim.is_none() {
                    return self.reject(decide, rules.tolerance);
                }
                victim
            };
            // Before anything is removed, because it may panic.
            let key = key.clone();
            if let Some((slot, cause)) = victim {
                *removed = Some(self.remove(slot, cause));
            }
            self.keys.push(hash, key, next, self.max_entries);
            self.inserted += 1;
            self.high_water = self.high_water.max(self.keys.len());
        }
        self.allowed += 1;
        Ok(outcome)
    }

    /// Returns the key that a new one replaces, and why. `next` is the successor of no state.
    fn victim<T, E>(
        &self,
        next: u64,
        decide: impl Fn(Option<u64>) -> Result<(T, u64), E>,
        when_full: WhenFull,
    ) -> Option<(u32, RemovalCause)> {
        let (first, state) = self.keys.first()?;
        // In GCRA the successor is `max(state, now) + cost`. So equal successors mean that the
        // state is not after the present time. `next` itself is after it, because cells cost time.
        let is_replenished =
            state < next && matches!(decide(Some(state)), Ok((_, it)) if it == next);
        if is_replenished {
            return Some((first, RemovalCause::Expired));
        }
        match when_full {
            WhenFull::Reject => None,
            WhenFull::EvictLru => Some((self.keys.least_recent()?, RemovalCause::Evicted)),
        }
    }

    /// Denies the check of a new key until the first key is replenished.
    ///
    /// Only `decide` can make the answer, for a state whose excess over the tolerance ends then.
    #[cold]
    fn reject<T, E>(
        &mut self,
        decide: impl Fn(Option<u64>) -> Result<(T, u64), E>,
        tolerance: u64,
    ) -> Result<T, E> {
        self.rejected += 1;
        let until = self.keys.first().map_or(NEVER, |(_, state)| state);
        decide(Some(until.saturating_add(tolerance)))
            // The quota of this limiter has a longer burst than that of the store.
            .and_then(|_| decide(Some(NEVER)))
            .map(|(outcome, _)| outcome)
    }

    /// Moves up to `count` keys that are replenished at `time` to `removed`.
    pub(super) fn remove_replenished(&mut self, time: u64, count: usize, removed: &mut Vec<K>) {
        while let Some((slot, state)) = self.keys.first() {
            if state > time || removed.len() == count {
                break;
            }
            removed.push(self.remove(slot, RemovalCause::Expired));
        }
    }

    fn remove(&mut self, slot: u32, cause: RemovalCause) -> K {
        *match cause {
            RemovalCause::Expired => &mut self.expired,
            _ => &mut self.evicted,
        } += 1;
        self.keys.remove(slot)
    }

    pub(super) fn stats(&self) -> RateLimitStats {
        RateLimitStats {
            len: self.keys.len(),
            max_entries: self.max_entries,
            high_water: self.high_water,
            allowed: self.allowed,
            limited: self.limited,
            inserted: self.inserted,
            expired: self.expired,
            evicted: self.evicted,
            rejected: self.rejected,
        }
    }

    pub(super) fn validate(&self) {
        self.keys.validate();
        assert!(self.keys.len() <= self.max_entries, "the bound holds");
        assert_eq!(
            self.inserted - self.expired - self.evicted,
            self.keys.len() as u64,
            "every key that was stored is here or was removed"
        );
    }
}
