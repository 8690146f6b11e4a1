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
//! Five things differ from the paper. An eviction examines at most
//! [`MAX_STEPS`](queues::MAX_STEPS) entries that it does not evict. Ghosts are fingerprints. An
//! entry that expires out of the main queue leaves a ghost, because its key is still a valuable
//! one. The return of a key that the small queue evicted counts only while its ghost is there, so a
//! new key costs one lookup less. While the cache fills, all entries enter the small queue, so that
//! none enters the main queue without hits.
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
//! | 3 to 63 | time of the last access in units of 8 ns |
//!
//! So a hit writes only its own entry, and nothing at all if the hits are at 3 and the clock has
//! not advanced.

mod ghosts;
mod links;
mod queues;

use std::num::NonZeroU32;

use super::Node;
use crate::clock::Nanos;
use crate::lru::list::Link;
use crate::lru::slab::{Slab, Slot};
use crate::removal::RemovalCause;
use links::{HITS, OwnLinks, STATE};
use queues::Queues;

pub(super) use links::without_state;

pub(super) struct S3Fifo {
    queues: Queues,
    /// The links of the queues, if the recency list needs those of the nodes.
    own: Option<Slab<Link>>,
}

impl S3Fifo {
    pub(super) fn new(keeps_recency: bool) -> Self {
        Self {
            queues: Queues::new(),
            own: keeps_recency.then(Slab::new),
        }
    }

    /// Returns `true` if there is a recency list, because of an idle timeout.
    #[inline]
    pub(super) fn keeps_recency(&self) -> bool {
        self.own.is_some()
    }

    /// Counts a hit of the entry in `slot` at `now`.
    #[inline(always)]
    pub(super) fn hit<K, V>(&mut self, node: &mut Node<K, V>, slot: Slot, now: Nanos) {
        let time = match &mut self.own {
            None => &mut node.accessed.time,
            Some(own) => &mut own[slot].time,
        };
        let state = *time & STATE;
        let state = state + Nanos::from(state & HITS < HITS);
        let hit = without_state(now) | state;
        // Without a need, the cache line is not written.
        if *time != hit {
            *time = hit;
        }
    }

    /// Does what [`Queues::admit`] does.
    pub(super) fn admit(&mut self, hash: u32, entries: usize) {
        self.queues.admit(hash, entries);
    }

    /// Does what [`Queues::victim`] does.
    pub(super) fn victim<K, V>(
        &mut self,
        nodes: &mut Slab<Node<K, V>>,
        kept: Slot,
    ) -> Option<Slot> {
        match &mut self.own {
            None => self.queues.victim(nodes, kept),
            Some(links) => self.queues.victim(&mut OwnLinks { nodes, links }, kept),
        }
    }

    /// Does what [`Queues::push`] does.
    pub(super) fn push<K, V>(
        &mut self,
        nodes: &mut Slab<Node<K, V>>,
        slot: Slot,
        weight: NonZeroU32,
        now: Nanos,
    ) {
        match &mut self.own {
            None => self.queues.push(nodes, slot, weight, now),
            Some(links) => {
                if slot as usize == links.len() {
                    links.push(Link::NONE, usize::MAX);
                }
                let links = &mut OwnLinks { nodes, links };
                self.queues.push(links, slot, weight, now);
            }
        }
    }

    /// Does what [`Queues::unlink`] does.
    pub(super) fn unlink<K, V>(
        &mut self,
        nodes: &mut Slab<Node<K, V>>,
        slot: Slot,
        cause: RemovalCause,
    ) {
        match &mut self.own {
            None => self.queues.unlink(nodes, slot, cause),
            Some(links) => self
                .queues
                .unlink(&mut OwnLinks { nodes, links }, slot, cause),
        }
    }

    /// Does what [`Queues::reweigh`] does.
    pub(super) fn reweigh<K, V>(
        &mut self,
        nodes: &mut Slab<Node<K, V>>,
        slot: Slot,
        weight: NonZeroU32,
    ) {
        match &mut self.own {
            None => self.queues.reweigh(nodes, slot, weight),
            Some(links) => self
                .queues
                .reweigh(&OwnLinks { nodes, links }, slot, weight),
        }
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
        match &mut self.own {
            None => self.queues.relocate(nodes, slot),
            Some(links) => self.queues.relocate(&mut OwnLinks { nodes, links }, slot),
        }
    }

    /// Does what [`Queues::validate`] does.
    pub(super) fn validate<K, V>(&self, nodes: &Slab<Node<K, V>>) {
        match &self.own {
            None => self.queues.validate(nodes, nodes),
            Some(own) => {
                assert_eq!(own.len(), nodes.len(), "every entry has a link");
                self.queues.validate(nodes, own);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::queues::MAX_STEPS;
    use super::*;
    use crate::lru::attributes::Attributes;
    use crate::lru::core::{Core, Limits};
    use crate::lru::policy::Policy;
    use crate::lru::removal::{RemovalNotifier, RemovedEntries};
    use crate::steps;

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

    fn hash(key: u64) -> u64 {
        key.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn insert(core: &mut Core<u64, ()>, key: u64) {
        let notifier = RemovalNotifier::new(None, None);
        let mut removed = RemovedEntries::new(&notifier);
        let attributes = Attributes {
            weight: NonZeroU32::MIN,
            ttl: None,
        };
        core.insert(0, hash(key), key, (), attributes, &mut removed);
    }

    #[test]
    fn eviction_examines_a_bounded_number_of_entries() {
        for idle_timeout in [Nanos::MAX, 1_000] {
            let mut core = core(idle_timeout);
            let mut most = 0;
            for key in 0..20_000 {
                most = most.max(steps::during(|| insert(&mut core, key)));
                for _ in 0..3 {
                    assert!(core.get(|| 0, hash(key), &key).is_some());
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
            assert!(core.get(|| 64, hash(key), &key).is_some());
            assert!(links(&core, key) == before);
        }
    }

    #[test]
    fn key_with_an_old_ghost_enters_the_main_queue() {
        for idle_timeout in [Nanos::MAX, 1_000] {
            let mut core = core(idle_timeout);
            // The keys below 15,000 are evicted, and the latest 4,500 of these have ghosts.
            (0..20_000).for_each(|key| insert(&mut core, key));
            let mut enters_main = |key: u64| {
                insert(&mut core, key);
                let slot = core.find(hash(key), &key).expect("it was inserted");
                let own = core.s3_fifo.as_ref().and_then(|it| it.own.as_ref());
                let link = own.map_or(core.nodes[slot].accessed, |own| own[slot]);
                link.time & links::IS_MAIN != 0
            };
            let old = (12_500..13_500).step_by(10).filter(|&key| enters_main(key));
            assert!(old.count() > 90);
            let older = (1_000..2_000).step_by(10).filter(|&key| enters_main(key));
            assert!(older.count() < 10);
            core.validate();
        }
    }
}
