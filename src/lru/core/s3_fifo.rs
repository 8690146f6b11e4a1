//! `S3Fifo`: the order of eviction under [`Policy::S3Fifo`](crate::Policy::S3Fifo).
//!
//! The algorithm is S3-FIFO with an adaptive small queue, from the description in Yang, Zhang, Qiu,
//! Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023
//! (doi 10.1145/3600006.3613147):
//!
//! * A new entry enters the small queue. At the end of that queue, an entry that was hit twice
//!   moves to the main queue. Another one is evicted and leaves a ghost. A key with a ghost enters
//!   the main queue directly.
//! * At the end of the main queue, an entry that was hit since it last was there goes back to the
//!   front. The number of its hits, which counts to 3, decreases by one. Another one is evicted.
//! * The small queue has a share of the weight, at first a tenth. The share grows if the keys that
//!   it evicted lately come back twice as often as those of the main queue. In the opposite case it
//!   shrinks.
//!
//! Four things differ from the paper. An eviction examines at most [`MAX_STEPS`] entries that it
//! does not evict. Ghosts are fingerprints. An entry that expires out of the main queue leaves a
//! ghost, because its key is still a valuable one. While the cache fills, all entries enter the
//! small queue, so that none enters the main queue without hits.
//!
//! # Links
//!
//! An entry is in exactly one queue, and both use one link. If there is no idle timeout, there is
//! no recency list, and the queues use its link. Otherwise they have links of their own. The time
//! of a link has three parts:
//!
//! | bits | content |
//! | --- | --- |
//! | 0 and 1 | hits since the entry entered the queue or its end, up to 3 |
//! | 2 | queue: 0 is small, 1 is main |
//! | 3 to 63 | time of the last access in units of 8 ns; 0 in links of the queues' own |
//!
//! So a hit writes only its own entry, and nothing at all if the hits are at 3 and the clock has
//! not advanced.

use std::num::NonZeroU32;

use super::Node;
use super::ghosts::Ghosts;
use crate::clock::Nanos;
use crate::lru::list::{Link, Links, List};
use crate::lru::slab::{Slab, Slot};
use crate::removal::RemovalCause;
use crate::steps;

/// Entries that an eviction examines and does not evict. Without a bound, one call on a real trace
/// examined 6,055. This bound costs 0.1 to 0.2% more misses.
const MAX_STEPS: usize = 32;

const HITS: Nanos = 0b11;
const IS_MAIN: Nanos = 0b100;
/// The bits of a link's time that are no time.
const STATE: Nanos = HITS | IS_MAIN;

const SMALL: usize = 0;
const MAIN: usize = 1;

/// Hits on evicted keys before the share of the small queue changes.
const REGRETS: f64 = 100.0;

/// The list that the two queues are made of.
pub(super) const QUEUE: usize = 2;

/// Returns the time without the state that is in its lower bits.
pub(super) fn without_state(time: Nanos) -> Nanos {
    time & !STATE
}

struct Queue {
    list: List<QUEUE>,
    weight: u64,
    /// Hashes of what was evicted from this queue lately.
    evicted: Ghosts,
    /// Keys that were inserted again after that. Older ones count less.
    regrets: f64,
}

impl Queue {
    const EMPTY: Self = Self {
        list: List::new(),
        weight: 0,
        evicted: Ghosts::new(),
        regrets: 0.0,
    };
}

pub(super) struct S3Fifo {
    /// The small and the main queue.
    queues: [Queue; 2],
    /// The small queue's share of the weight.
    share: f64,
    /// Hashes of entries whose keys enter the main queue if they are inserted again.
    ghosts: Ghosts,
    /// The queue of the entry that is being inserted.
    incoming: usize,
    /// The links of the queues, if the recency list needs those of the nodes.
    own: Option<Slab<Link>>,
}

impl<K, V> Links<QUEUE> for Slab<Node<K, V>> {
    #[inline]
    fn link(&self, slot: Slot) -> &Link {
        &self[slot].accessed
    }

    #[inline]
    fn link_mut(&mut self, slot: Slot) -> &mut Link {
        &mut self[slot].accessed
    }
}

impl Links<QUEUE> for Slab<Link> {
    #[inline]
    fn link(&self, slot: Slot) -> &Link {
        &self[slot]
    }

    #[inline]
    fn link_mut(&mut self, slot: Slot) -> &mut Link {
        &mut self[slot]
    }
}

/// The links of the queues, wherever they are.
struct QueueLinks<'a, K, V> {
    nodes: &'a mut Slab<Node<K, V>>,
    own: Option<&'a mut Slab<Link>>,
}

impl<K, V> Links<QUEUE> for QueueLinks<'_, K, V> {
    #[inline]
    fn link(&self, slot: Slot) -> &Link {
        match &self.own {
            None => Links::<QUEUE>::link(self.nodes, slot),
            Some(own) => own.link(slot),
        }
    }

    #[inline]
    fn link_mut(&mut self, slot: Slot) -> &mut Link {
        match &mut self.own {
            None => Links::<QUEUE>::link_mut(self.nodes, slot),
            Some(own) => own.link_mut(slot),
        }
    }
}

/// Returns the queue of an entry, from the time of its link.
fn queue_of(time: Nanos) -> usize {
    usize::from(time & IS_MAIN != 0)
}

impl S3Fifo {
    pub(super) fn new(keeps_recency: bool) -> Self {
        Self {
            queues: [Queue::EMPTY, Queue::EMPTY],
            share: 0.1,
            ghosts: Ghosts::new(),
            incoming: SMALL,
            own: keeps_recency.then(Slab::new),
        }
    }

    /// Counts a hit, at `now` unless there is a recency list.
    #[inline]
    pub(super) fn hit<K, V>(&mut self, nodes: &mut Slab<Node<K, V>>, slot: Slot, now: Nanos) {
        let (time, now) = match &mut self.own {
            None => (&mut nodes[slot].accessed.time, now),
            Some(own) => (&mut own[slot].time, 0),
        };
        let state = *time & STATE;
        let state = state + Nanos::from(state & HITS < HITS);
        let hit = without_state(now) | state;
        // Without a need, the cache line is not written.
        if *time != hit {
            *time = hit;
        }
    }

    /// Chooses the queue of a new entry, and learns from it which queue evicts too early.
    ///
    /// Runs before the evictions for that entry, whose ghosts could overwrite its own.
    pub(super) fn admit(&mut self, hash: u32, entries: usize) {
        let mut is_regretted = false;
        for queue in &mut self.queues {
            if queue.evicted.remove(hash) {
                queue.regrets += 1.0;
                is_regretted = true;
            }
        }
        if is_regretted {
            self.adapt(entries);
        }
        self.incoming = if self.ghosts.remove(hash) {
            MAIN
        } else {
            SMALL
        };
    }

    /// Changes the share of the small queue, if one of the queues evicts too early.
    #[cold]
    fn adapt(&mut self, entries: usize) {
        let [small, main] = [SMALL, MAIN].map(|queue| self.queues[queue].regrets);
        if small + main < REGRETS {
            return;
        }
        let smaller = self.share.min(1.0 - self.share);
        let step = (1.0 / entries.max(1) as f64).max(smaller / 1_000.0);
        if small >= 2.0 * main {
            self.share += step;
        } else if main >= 2.0 * small {
            self.share -= step;
        }
        self.share = self.share.clamp(0.01, 0.99);
        for queue in &mut self.queues {
            queue.regrets *= 0.8;
        }
    }

    /// Returns the entry to evict next, but not the one in slot `kept`, unless there is no entry.
    ///
    /// A second call returns the same entry, if nothing else changed.
    pub(super) fn victim<K, V>(
        &mut self,
        nodes: &mut Slab<Node<K, V>>,
        kept: Slot,
    ) -> Option<Slot> {
        let total = (self.queues[SMALL].weight + self.queues[MAIN].weight) as f64;
        let mut step = 0;
        loop {
            steps::count(1);
            let mut is_small = self.queues[SMALL].weight as f64 >= self.share * total;
            if self.queues.iter().any(|queue| queue.list.is_only(kept)) {
                is_small = !self.queues[SMALL].list.is_only(kept);
            }
            let queue = if is_small { SMALL } else { MAIN };
            let slot = self.queues[queue].list.oldest()?;
            let links = &mut QueueLinks {
                nodes,
                own: self.own.as_mut(),
            };
            let link = *links.link(slot);
            let hits = link.time & HITS;
            let needed = if is_small { 2 } else { 1 };
            if slot != kept && (hits < needed || step == MAX_STEPS) {
                links.link_mut(slot).time = link.time & !HITS;
                return Some(slot);
            }
            step = (step + 1).min(MAX_STEPS);
            let time = without_state(link.time) | IS_MAIN;
            if is_small {
                self.queues[SMALL].list.unlink(links, slot);
                self.queues[MAIN].list.push(links, slot, time);
                let weight = u64::from(nodes[slot].entry.weight.get());
                self.queues[SMALL].weight -= weight;
                self.queues[MAIN].weight += weight;
            } else {
                let time = time | hits.saturating_sub(1);
                let main = &mut self.queues[MAIN].list;
                *links.link_mut(slot) = main.move_to_front(links, slot, link, time);
            }
        }
    }

    /// Adds an entry of this weight to the queue that [`admit`](Self::admit) chose.
    pub(super) fn push<K, V>(
        &mut self,
        nodes: &mut Slab<Node<K, V>>,
        slot: Slot,
        weight: NonZeroU32,
        now: Nanos,
    ) {
        let now = match &mut self.own {
            None => without_state(now),
            Some(own) => {
                if slot as usize == own.len() {
                    own.push(Link::NONE, usize::MAX);
                }
                0
            }
        };
        let is_main = if self.incoming == MAIN { IS_MAIN } else { 0 };
        let queue = &mut self.queues[self.incoming];
        queue.weight += u64::from(weight.get());
        let links = &mut QueueLinks {
            nodes,
            own: self.own.as_mut(),
        };
        queue.list.push(links, slot, now | is_main);
    }

    /// Removes an entry from its queue. Depending on the cause, it leaves a ghost.
    pub(super) fn unlink<K, V>(
        &mut self,
        nodes: &mut Slab<Node<K, V>>,
        slot: Slot,
        cause: RemovalCause,
    ) {
        let (hash, weight) = (nodes[slot].entry.hash, nodes[slot].entry.weight);
        let entries = nodes.len();
        let links = &mut QueueLinks {
            nodes,
            own: self.own.as_mut(),
        };
        let at = queue_of(links.link(slot).time);
        let queue = &mut self.queues[at];
        queue.list.unlink(links, slot);
        queue.weight -= u64::from(weight.get());
        let is_evicted = cause == RemovalCause::Evicted;
        if is_evicted || !self.ghosts.is_empty() {
            self.ghosts.fit(entries / 10 * 9);
            self.queues
                .iter_mut()
                .for_each(|it| it.evicted.fit(entries / 20));
        }
        let is_expired = matches!(cause, RemovalCause::Expired | RemovalCause::Idle);
        if (is_evicted && at == SMALL) || (is_expired && at == MAIN) {
            self.ghosts.insert(hash);
        }
        if is_evicted {
            self.queues[at].evicted.insert(hash);
        }
    }

    /// Updates the weight of a queue, before the weight of an entry changes to `weight`.
    pub(super) fn reweigh<K, V>(
        &mut self,
        nodes: &mut Slab<Node<K, V>>,
        slot: Slot,
        weight: NonZeroU32,
    ) {
        let former = nodes[slot].entry.weight;
        let own = self.own.as_mut();
        let links = QueueLinks { nodes, own };
        let queue = &mut self.queues[queue_of(links.link(slot).time)];
        queue.weight = queue.weight - u64::from(former.get()) + u64::from(weight.get());
    }

    /// Removes the link of an entry that is in no queue, and moves the last one into its slot, as
    /// the slab of the nodes does.
    pub(super) fn swap_remove(&mut self, slot: Slot) {
        if let Some(own) = &mut self.own {
            own.swap_remove(slot);
        }
    }

    /// Updates the neighbours of an entry that was moved to `slot`.
    pub(super) fn relocate<K, V>(&mut self, nodes: &mut Slab<Node<K, V>>, slot: Slot) {
        let links = &mut QueueLinks {
            nodes,
            own: self.own.as_mut(),
        };
        let queue = queue_of(links.link(slot).time);
        self.queues[queue].list.relocate(links, slot);
    }

    /// Checks that every entry is in the queue that its link names, and the weights of the queues.
    pub(super) fn validate<K, V>(&self, nodes: &Slab<Node<K, V>>) {
        let mut entries = 0;
        for (at, queue) in self.queues.iter().enumerate() {
            let slots = match &self.own {
                None => queue.list.validate_links(nodes),
                Some(own) => queue.list.validate_links(own),
            };
            let time = |slot: Slot| match &self.own {
                None => nodes[slot].accessed.time,
                Some(own) => own[slot].time,
            };
            assert!(
                slots.iter().all(|&slot| queue_of(time(slot)) == at),
                "an entry is in the queue that its link names"
            );
            let weights = slots.iter().map(|&slot| nodes[slot].entry.weight.get());
            let weight: u64 = weights.map(u64::from).sum();
            assert_eq!(weight, queue.weight, "the weight of a queue");
            entries += slots.len();
        }
        assert_eq!(entries, nodes.len(), "every entry is in one queue");
        let links = self.own.as_ref().map_or(entries, Slab::len);
        assert_eq!(links, entries, "every entry has a link");
        assert!((0.01..=0.99).contains(&self.share), "the share of a queue");
    }

    /// Returns `true` if there is a recency list, because of an idle timeout.
    #[inline]
    pub(super) fn keeps_recency(&self) -> bool {
        self.own.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lru::attributes::Attributes;
    use crate::lru::core::{Core, Limits};
    use crate::lru::policy::Policy;
    use crate::lru::removal::{RemovalNotifier, RemovedEntries};

    fn core(idle_timeout: Nanos) -> Core<u64, ()> {
        Core::new(Limits {
            max_entries: 5_000,
            max_weight: u64::MAX,
            ttl: Nanos::MAX,
            idle_timeout,
            stale: 0,
            policy: Policy::S3Fifo,
        })
    }

    fn insert(core: &mut Core<u64, ()>, key: u64) {
        let notifier = RemovalNotifier::new(None, None);
        let mut removed = RemovedEntries::new(&notifier);
        let attributes = Attributes {
            weight: NonZeroU32::MIN,
            ttl: None,
        };
        core.insert(0, key << 32, key, (), attributes, &mut removed);
    }

    #[test]
    fn eviction_examines_a_bounded_number_of_entries() {
        for idle_timeout in [Nanos::MAX, 1_000] {
            let mut core = core(idle_timeout);
            let mut most = 0;
            for key in 0..20_000 {
                most = most.max(steps::during(|| insert(&mut core, key)));
                for _ in 0..3 {
                    assert!(core.get(|| 0, key << 32, &key).is_some());
                }
            }
            assert_eq!(most, MAX_STEPS as u64 + 1);
            core.validate();
        }
    }

    #[test]
    fn hit_writes_its_own_entry_only() {
        let mut core = core(Nanos::MAX);
        (0..5_000).for_each(|key| insert(&mut core, key));
        let links = |core: &Core<u64, ()>, but: u64| -> Vec<(Slot, Slot, Nanos)> {
            let slots = (0..5_000).filter(|&slot| core.nodes[slot].entry.key != but);
            let link = |slot: Slot| core.nodes[slot].accessed.parts();
            slots.map(link).collect()
        };
        for key in [0, 2_500, 4_999] {
            let before = links(&core, key);
            assert!(core.get(|| 64, key << 32, &key).is_some());
            assert!(links(&core, key) == before);
        }
    }
}
