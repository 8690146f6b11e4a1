//! Iterators over the entries of a core, and walks that visit a bounded number of entries per call.

use std::cmp::Reverse;
use std::iter::Enumerate;
use std::ops::Range;
use std::{fmt, vec};

use super::own_ttl::OwnTtls;
use super::{Core, Limits, Node, RECENCY};
use crate::clock::Nanos;
use crate::lru::list::Walk;
use crate::lru::removal::RemovedEntries;
use crate::lru::slab::{self, Slab, Slot};
use crate::removal::RemovalCause;

/// Slots are visited downwards: a removal moves an entry from above, where all were visited.
impl<K, V> Core<K, V> {
    pub(in crate::lru) fn iter(&self, now: Nanos) -> Iter<'_, K, V> {
        Iter {
            slots: if self.keeps_recency() {
                Slots::ByRecency(self.recency.newest_first(&self.nodes))
            } else {
                Slots::All(0..self.nodes.len() as Slot)
            },
            core: self,
            now: self.latest.max(now),
        }
    }

    pub(in crate::lru) fn iter_mut(&mut self, now: Nanos) -> IterMut<'_, K, V> {
        IterMut {
            nodes: self.nodes.iter_mut().enumerate(),
            now: self.latest.max(now),
            limits: self.limits,
            own_ttls: self.own_ttls.as_deref(),
        }
    }

    pub(in crate::lru) fn into_live(self, now: Nanos) -> IntoIter<K, V> {
        IntoIter {
            nodes: self.nodes.into_iter().enumerate(),
            now: self.latest.max(now),
            limits: self.limits,
            own_ttls: self.own_ttls,
        }
    }

    /// Returns the `n` most recently used live entries, with the times of their last accesses. If
    /// there is no recency list, takes a step for every entry.
    pub(in crate::lru) fn most_recent(&self, now: Nanos, n: usize) -> Vec<(Nanos, &K, &V)> {
        let mut iter = self.iter(now);
        let slots = std::iter::from_fn(|| iter.next_slot());
        let slots: Vec<Slot> = if self.keeps_recency() {
            slots.take(n).collect()
        } else {
            let mut slots: Vec<Slot> = slots.collect();
            let by_time = |slot: &Slot| Reverse(self.access_time(*slot));
            if n > 0 && n < slots.len() {
                slots.select_nth_unstable_by_key(n - 1, by_time);
            }
            slots.truncate(n);
            slots
        };
        let with_time = |slot| {
            let (key, value) = self.entry(slot);
            (self.access_time(slot), key, value)
        };
        slots.into_iter().map(with_time).collect()
    }

    /// Calls `visit` with the live entries among the `budget` slots below `from`. Returns how many
    /// slots it visited, and where to continue.
    pub(in crate::lru) fn scan(
        &self,
        now: Nanos,
        from: usize,
        budget: usize,
        mut visit: impl FnMut(&K, &V),
    ) -> (usize, Option<usize>) {
        let now = self.latest.max(now);
        let from = from.min(self.nodes.len());
        let to = from.saturating_sub(budget);
        for slot in (to..from).rev().map(|slot| slot as Slot) {
            if self.expiry_cause(now, slot).is_none() {
                let node = &self.nodes[slot];
                visit(&node.entry.key, &node.entry.value);
            }
        }
        (from - to, (to > 0).then_some(to))
    }

    /// Does what [`scan`](Self::scan) does, and passes the time since the last access, the
    /// remaining time to live, `Nanos::MAX` if it does not end, and the time since the last write.
    /// Returns where to continue.
    #[cfg(feature = "persist")]
    pub(in crate::lru) fn scan_with_times(
        &self,
        now: Nanos,
        from: usize,
        budget: usize,
        mut visit: impl FnMut(&K, &V, [Nanos; 3]),
    ) -> Option<usize> {
        let now = self.latest.max(now);
        let from = from.min(self.nodes.len());
        let to = from.saturating_sub(budget);
        for slot in (to..from).rev().map(|slot| slot as Slot) {
            if self.expiry_cause(now, slot).is_some() {
                continue;
            }
            let node = &self.nodes[slot];
            let remaining = match self.limits.ttl_end(slot, node, self.own_ttls.as_deref()) {
                Nanos::MAX => Nanos::MAX,
                end => end - now,
            };
            let times = [
                now.saturating_sub(self.access_time(slot)),
                remaining,
                now.saturating_sub(node.written.time),
            ];
            visit(&node.entry.key, &node.entry.value, times);
        }
        (to > 0).then_some(to)
    }

    /// Removes, among the `budget` slots below `from`, the entries that `keep` rejects. Returns
    /// where to continue.
    pub(in crate::lru) fn retain(
        &mut self,
        now: Nanos,
        from: usize,
        budget: usize,
        keep: &mut impl FnMut(&K, &mut V) -> bool,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<usize> {
        let now = self.prepare_write(now, removed);
        let from = from.min(self.nodes.len());
        let to = from.saturating_sub(budget);
        for slot in (to..from).rev().map(|slot| slot as Slot) {
            if !self.stays_live(now, slot, removed) {
                continue;
            }
            let node = &mut self.nodes[slot];
            if !keep(&node.entry.key, &mut node.entry.value) {
                self.remove_entry(slot, RemovalCause::Removed, removed);
            }
        }
        (to > 0).then_some(to)
    }
}

/// The live entries of a cache, the most recently used first.
///
/// With [`Policy::S3Fifo`](crate::Policy::S3Fifo) and without an idle timeout they have no
/// particular order.
pub struct Iter<'a, K, V> {
    core: &'a Core<K, V>,
    slots: Slots<'a, K, V>,
    now: Nanos,
}

/// The slots that an [`Iter`] visits.
enum Slots<'a, K, V> {
    ByRecency(Walk<'a, Slab<Node<K, V>>, RECENCY>),
    All(Range<Slot>),
}

impl<K, V> Clone for Slots<'_, K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::ByRecency(walk) => Self::ByRecency(walk.clone()),
            Self::All(slots) => Self::All(slots.clone()),
        }
    }
}

impl<K, V> Iter<'_, K, V> {
    /// Returns the slot of the next live entry.
    fn next_slot(&mut self) -> Option<Slot> {
        let walk = match &mut self.slots {
            Slots::ByRecency(walk) => walk,
            Slots::All(slots) => {
                let (core, now) = (self.core, self.now);
                return slots.find(|&slot| core.expiry_cause(now, slot).is_none());
            }
        };
        let limits = &self.core.limits;
        let longest = match self.core.own_ttls {
            None => limits.ttl.min(limits.idle_timeout),
            Some(_) => limits.idle_timeout,
        };
        loop {
            let slot = walk.next()?;
            if self.core.expiry_cause(self.now, slot).is_none() {
                return Some(slot);
            }
            // No entry was written after its last access, so this one and all that follow are
            // expired.
            if self.now - self.core.nodes[slot].accessed.time >= longest {
                return None;
            }
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let slot = self.next_slot()?;
        let node = &self.core.nodes[slot];
        Some((&node.entry.key, &node.entry.value))
    }
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self {
            core: self.core,
            slots: self.slots.clone(),
            now: self.now,
        }
    }
}

/// The keys of the live entries of a cache, in the order of [`Iter`].
pub struct Keys<'a, K, V>(pub(in crate::lru) Iter<'a, K, V>);

impl<'a, K, V> Iterator for Keys<'a, K, V> {
    type Item = &'a K;

    fn next(&mut self) -> Option<&'a K> {
        self.0.next().map(|(key, _)| key)
    }
}

/// The values of the live entries of a cache, in the order of [`Iter`].
pub struct Values<'a, K, V>(pub(in crate::lru) Iter<'a, K, V>);

impl<'a, K, V> Iterator for Values<'a, K, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        self.0.next().map(|(_, value)| value)
    }
}

/// The live entries of a cache with mutable values, in no particular order.
pub struct IterMut<'a, K, V> {
    nodes: Enumerate<slab::IterMut<'a, Node<K, V>>>,
    now: Nanos,
    limits: Limits,
    own_ttls: Option<&'a OwnTtls>,
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);

    fn next(&mut self) -> Option<Self::Item> {
        let (now, limits, own_ttls) = (self.now, self.limits, self.own_ttls);
        let (_, node) = self.nodes.find(|(slot, node)| {
            let cause = limits.expiry_cause(now, *slot as Slot, node, own_ttls);
            cause.is_none()
        })?;
        Some((&node.entry.key, &mut node.entry.value))
    }
}

/// The live entries of a cache that was consumed, in no particular order. The removal callback is
/// not called.
pub struct IntoIter<K, V> {
    nodes: Enumerate<slab::IntoIter<Node<K, V>>>,
    now: Nanos,
    limits: Limits,
    own_ttls: Option<Box<OwnTtls>>,
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let (now, limits, own_ttls) = (self.now, self.limits, self.own_ttls.as_deref());
        let (_, node) = self.nodes.find(|(slot, node)| {
            let cause = limits.expiry_cause(now, *slot as Slot, node, own_ttls);
            cause.is_none()
        })?;
        Some((node.entry.key, node.entry.value))
    }
}

/// The live entries that [`drain`](crate::unsync::LruCache::drain) removed, in no particular order.
pub struct Drain<K, V>(pub(in crate::lru) vec::IntoIter<(K, V, RemovalCause)>);

impl<K, V> Iterator for Drain<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let (key, value, _) = self.0.next()?;
        Some((key, value))
    }
}

impl<K, V> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for Keys<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for Values<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for IterMut<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IterMut").finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for IntoIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntoIter").finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for Drain<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::lru::attributes::Attributes;
    use crate::lru::policy::Policy;
    use crate::lru::removal::RemovalNotifier;

    #[test]
    fn iter_stops_where_all_that_follow_are_expired() {
        let mut core = Core::new(Limits {
            max_entries: 1_000,
            max_weight: u64::MAX,
            ttl: 100,
            idle_timeout: Nanos::MAX,
            stale: 0,
            policy: Policy::Lru,
        });
        let notifier = RemovalNotifier::new(None, None);
        let attributes = Attributes {
            weight: NonZeroU32::MIN,
            ttl: None,
        };
        for key in 0..1_000_u64 {
            let mut removed = RemovedEntries::new(&notifier);
            let inserted = core.insert(0, key << 32, key, (), attributes, &mut removed);
            assert!(inserted.displaced.is_none());
        }
        assert_eq!(core.iter(99).count(), 1_000);
        let mut iter = core.iter(100);
        assert!(iter.next().is_none());
        let Slots::ByRecency(rest) = iter.slots else {
            panic!("there is a recency list");
        };
        assert_eq!(rest.count(), 999, "one entry was examined");
    }
}
