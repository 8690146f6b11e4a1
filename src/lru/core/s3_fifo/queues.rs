//! `Queues`: the small and the main queue, what they evicted, and the share of the small one.

use std::num::NonZeroU32;

use super::ghosts::Ghosts;
use super::links::{HITS, IS_MAIN, QUEUE, Queued, without_state};
use crate::clock::Nanos;
use crate::lru::core::Node;
use crate::lru::list::{Links, List};
use crate::lru::slab::{Slab, Slot};
use crate::removal::RemovalCause;
use crate::steps;

/// Entries that an eviction examines and does not evict. Without a bound, one call on a real trace
/// examined 6,055. This bound costs 0.1 to 0.2% more misses.
pub(super) const MAX_STEPS: usize = 32;

const SMALL: usize = 0;
const MAIN: usize = 1;

/// Hits on evicted keys before the share of the small queue changes.
const REGRETS: f64 = 100.0;

/// Returns the queue of an entry, from the time of its link.
fn queue_of(time: Nanos) -> usize {
    usize::from(time & IS_MAIN != 0)
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

pub(super) struct Queues {
    /// The small and the main queue.
    queues: [Queue; 2],
    /// The small queue's share of the weight.
    share: f64,
    /// Hashes of entries whose keys enter the main queue if they are inserted again.
    ghosts: Ghosts,
    /// The number of entries for which the three tables of hashes have their sizes.
    fitted: usize,
    /// The queue of the entry that is being inserted.
    incoming: usize,
}

impl Queues {
    pub(super) const fn new() -> Self {
        Self {
            queues: [Queue::EMPTY, Queue::EMPTY],
            share: 0.1,
            ghosts: Ghosts::new(),
            fitted: 0,
            incoming: SMALL,
        }
    }

    /// Chooses the queue of a new entry, and learns from it which queue evicts too early.
    ///
    /// Runs before the evictions for that entry, whose ghosts could overwrite its own.
    pub(super) fn admit(&mut self, hash: u32, entries: usize) {
        let [small, main] = &mut self.queues;
        // An entry that the small queue evicted left a ghost.
        let has_ghost = self.ghosts.remove(hash);
        let is_small = has_ghost && small.evicted.remove(hash);
        let is_main = main.evicted.remove(hash);
        if is_small || is_main {
            small.regrets += f64::from(u8::from(is_small));
            main.regrets += f64::from(u8::from(is_main));
            self.adapt(entries);
        }
        self.incoming = if has_ghost { MAIN } else { SMALL };
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
    pub(super) fn victim(&mut self, links: &mut impl Queued, kept: Slot) -> Option<Slot> {
        let [small, main] = &mut self.queues;
        let total = (small.weight + main.weight) as f64;
        let mut step = 0;
        loop {
            steps::count(1);
            // A queue has no other entry than the kept one. If none is kept, it has none.
            let is_small = !small.list.is_only(kept)
                && (small.weight as f64 >= self.share * total || main.list.is_only(kept));
            let (queue, needed) = if is_small { (&*small, 2) } else { (&*main, 1) };
            let slot = queue.list.oldest()?;
            let (link, weight, _) = links.entry(slot);
            let hits = link.time & HITS;
            if slot != kept && hits < needed {
                return Some(slot);
            }
            if slot != kept && step == MAX_STEPS {
                links.link_mut(slot).time = link.time & !HITS;
                return Some(slot);
            }
            step = (step + 1).min(MAX_STEPS);
            let time = without_state(link.time) | IS_MAIN;
            if is_small {
                small.list.unlink(links, link);
                main.list.push(links, slot, time);
                let weight = u64::from(weight.get());
                small.weight -= weight;
                main.weight += weight;
            } else {
                let time = time | hits.saturating_sub(1);
                *links.link_mut(slot) = main.list.move_to_front(links, slot, link, time);
            }
        }
    }

    /// Adds an entry of this weight to the queue that [`admit`](Self::admit) chose.
    pub(super) fn push(
        &mut self,
        links: &mut impl Queued,
        slot: Slot,
        weight: NonZeroU32,
        now: Nanos,
    ) {
        let is_main = if self.incoming == MAIN { IS_MAIN } else { 0 };
        let queue = &mut self.queues[self.incoming];
        queue.weight += u64::from(weight.get());
        queue.list.push(links, slot, without_state(now) | is_main);
    }

    /// Removes an entry from its queue. Depending on the cause, it leaves a ghost.
    pub(super) fn unlink(&mut self, links: &mut impl Queued, slot: Slot, cause: RemovalCause) {
        let (link, weight, hash) = links.entry(slot);
        let at = queue_of(link.time);
        let queue = &mut self.queues[at];
        queue.list.unlink(links, link);
        queue.weight -= u64::from(weight.get());
        let is_evicted = cause == RemovalCause::Evicted;
        let entries = links.len();
        // At a bound, the number of entries rarely changes.
        if self.fitted != entries && (is_evicted || !self.ghosts.is_empty()) {
            self.fit_ghosts(entries);
        }
        let is_expired = matches!(cause, RemovalCause::Expired | RemovalCause::Idle);
        if (is_evicted && at == SMALL) || (is_expired && at == MAIN) {
            self.ghosts.insert(hash);
        }
        if is_evicted {
            self.queues[at].evicted.insert(hash);
        }
    }

    /// Adds or removes a bucket in each of the tables, if it is too small or too large.
    #[cold]
    fn fit_ghosts(&mut self, entries: usize) {
        let mut is_fitted = self.ghosts.fit(entries / 10 * 9);
        for queue in &mut self.queues {
            is_fitted &= queue.evicted.fit(entries / 20);
        }
        if is_fitted {
            self.fitted = entries;
        }
    }

    /// Updates the weight of a queue, before the weight of an entry changes to `weight`.
    pub(super) fn reweigh(&mut self, links: &impl Queued, slot: Slot, weight: NonZeroU32) {
        let (link, former, _) = links.entry(slot);
        let queue = &mut self.queues[queue_of(link.time)];
        queue.weight = queue.weight - u64::from(former.get()) + u64::from(weight.get());
    }

    /// Updates the neighbours of an entry that was moved to `slot`.
    pub(super) fn relocate(&mut self, links: &mut impl Queued, slot: Slot) {
        let queue = queue_of(links.link(slot).time);
        self.queues[queue].list.relocate(links, slot);
    }

    /// Checks that every entry is in the queue that its link names, and the weights of the queues.
    pub(super) fn validate<K, V>(&self, nodes: &Slab<Node<K, V>>, links: &impl Links<QUEUE>) {
        let mut entries = 0;
        for (at, queue) in self.queues.iter().enumerate() {
            let slots = queue.list.validate_links(links);
            let queue_of = |slot: Slot| queue_of(links.link(slot).time);
            assert!(
                slots.iter().all(|&slot| queue_of(slot) == at),
                "an entry is in the queue that its link names"
            );
            let weights = slots.iter().map(|&slot| nodes[slot].entry.weight.get());
            let weight: u64 = weights.map(u64::from).sum();
            assert_eq!(weight, queue.weight, "the weight of a queue");
            entries += slots.len();
        }
        assert_eq!(entries, nodes.len(), "every entry is in one queue");
        assert!((0.01..=0.99).contains(&self.share), "the share of a queue");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lru::attributes::Attributes;
    use crate::lru::core::{Core, Limits};
    use crate::lru::policy::Policy;
    use crate::lru::removal::{RemovalNotifier, RemovedEntries};

    #[test]
    fn ghosts_are_kept_from_the_first_eviction_on() {
        let mut core = Core::<u64, ()>::new(Limits {
            max_entries: 5_000,
            max_weight: u64::MAX,
            ttl: Nanos::MAX,
            idle_timeout: Nanos::MAX,
            stale: 0,
            policy: Policy::S3Fifo,
        });
        fn queues(core: &mut Core<u64, ()>) -> &mut Queues {
            &mut core.s3_fifo.as_mut().expect("the policy").queues
        }
        let notifier = RemovalNotifier::new(None, None);
        let insert = |core: &mut Core<u64, ()>, key: u64| {
            let mut removed = RemovedEntries::new(&notifier);
            let attributes = Attributes {
                weight: NonZeroU32::MIN,
                ttl: None,
            };
            core.insert(0, key << 32, key, (), attributes, &mut removed);
        };
        (0..5_000).for_each(|key| insert(&mut core, key));
        for key in 0..1_000 {
            let mut removed = RemovedEntries::new(&notifier);
            assert!(core.remove(0, key << 32, &key, &mut removed).is_some());
        }
        assert!(queues(&mut core).ghosts.is_empty(), "nothing was evicted");
        (5_000..7_000).for_each(|key| insert(&mut core, key));
        let queues = queues(&mut core);
        assert!(queues.ghosts.fit(4_500), "it has this size");
        for queue in &mut queues.queues {
            assert!(queue.evicted.fit(250), "it has this size");
        }
    }

    #[test]
    fn share_changes_in_proportion_to_the_smaller_queue() {
        for (share, regretted, changed) in [
            (0.1, SMALL, 0.1001),
            (0.1, MAIN, 0.0999),
            (0.9, SMALL, 0.9001),
            (0.9, MAIN, 0.8999),
        ] {
            let mut queues = Queues::new();
            queues.share = share;
            queues.queues[regretted].regrets = REGRETS;
            queues.adapt(1_000_000);
            assert!((queues.share - changed).abs() < 1e-9, "{}", queues.share);
            assert_eq!(queues.queues[regretted].regrets, 80.0);
            // Exactly twice as many as the other one suffice.
            queues.share = share;
            queues.queues[regretted].regrets = 2.0 * REGRETS;
            queues.queues[SMALL + MAIN - regretted].regrets = REGRETS;
            queues.adapt(1_000_000);
            assert!((queues.share - changed).abs() < 1e-9, "{}", queues.share);
        }
    }
}
