//! `Backoff`: stale entries whose refresh failed, and which no caller refreshes for a while.
//!
//! A database that is down fails every refresh. Without a pause, each call for a stale entry would
//! start one. The rule is fixed: after a failure, an entry is not refreshed for a tenth of the
//! stale window, and for 30 s at most. RFC 8767, section 5, recommends a pause of 30 s for stale
//! DNS records. The tenth leaves a short window several attempts. An option would say the same as
//! the length of the window once more.
//!
//! Two designs were considered. A time in each entry takes 8 bytes of every entry of every cache.
//! This one is a map that exists only while refreshes fail. It identifies an entry by its hash and
//! by the time of its write, so that writes and removals need not update it: after the next write
//! of a key, its record does not match. Keys with the same 64-bit hash that were written at the
//! same time share a back-off.

use std::collections::BTreeMap;

use super::{Core, Limits, index_hash};
use crate::clock::Nanos;
use crate::lru::slab::Slot;

const LONGEST: Nanos = 30_000_000_000;
/// A map of up to this many records is not pruned.
const MIN_PRUNED: usize = 16;

impl Limits {
    /// Returns the time between a failed refresh of an entry and the next one.
    fn backoff(&self) -> Nanos {
        (self.stale / 10).min(LONGEST)
    }
}

pub(super) struct Backoff {
    /// The ends of back-offs, by hash and time of the write. A B-tree grows without moving all of
    /// it, and takes 26 to 64 bytes for each record.
    ends: BTreeMap<(u64, Nanos), Nanos>,
    /// The number of records at which the map is pruned.
    prune_at: usize,
    /// The time from which on a sweep or a stale access prunes the map: one back-off after the last
    /// time. All records that were left then have ended. So a record is removed within two
    /// back-offs, and examined a constant number of times on average.
    prune_after: Nanos,
}

impl<K, V> Core<K, V> {
    /// Returns `true` if the refresh of a stale entry failed a short time ago.
    pub(super) fn backs_off(&self, now: Nanos, hash: u64, slot: Slot) -> bool {
        let end = self.backoff.as_ref().and_then(|backoff| {
            let written = self.nodes[slot].written.time;
            backoff.ends.get(&(hash, written))
        });
        end.is_some_and(|&end| now < end)
    }

    /// Begins the back-off of a stale entry whose refresh has failed.
    pub(super) fn start_backoff(&mut self, hash: u64, slot: Slot) {
        let written = self.nodes[slot].written.time;
        let end = self.latest.saturating_add(self.limits.backoff());
        // A window of a few nanoseconds has no tenth.
        if end == self.latest {
            return;
        }
        let backoff = self.backoff.get_or_insert_with(|| {
            Box::new(Backoff {
                ends: BTreeMap::new(),
                prune_at: MIN_PRUNED,
                prune_after: end,
            })
        });
        backoff.ends.insert((hash, written), end);
        if backoff.ends.len() >= backoff.prune_at {
            self.prune_backoffs();
        }
    }

    /// Removes the records that have ended, or that no entry matches, and frees the map if none is
    /// left. The others are at most as many as the entries, and the map is pruned again when it has
    /// twice as many.
    #[cold]
    fn prune_backoffs(&mut self) {
        let Self {
            backoff: Some(backoff),
            index,
            nodes,
            latest,
            limits,
            ..
        } = self
        else {
            return;
        };
        backoff.ends.retain(|&(hash, written), end| {
            let has_entry = || {
                let is = |slot| {
                    let node = nodes.get(slot);
                    node.is_some_and(|node| node.written.time == written)
                };
                index.find(index_hash(hash), is).is_some()
            };
            *latest < *end && has_entry()
        });
        backoff.prune_at = (2 * backoff.ends.len()).max(MIN_PRUNED);
        backoff.prune_after = latest.saturating_add(limits.backoff());
        self.backoff.take_if(|backoff| backoff.ends.is_empty());
    }

    /// Removes the records that have ended, if enough time has passed.
    pub(super) fn remove_ended_backoffs(&mut self) {
        let backoff = self.backoff.as_ref();
        if backoff.is_some_and(|backoff| self.latest >= backoff.prune_after) {
            self.prune_backoffs();
        }
    }

    pub(super) fn validate_backoffs(&self) {
        let Some(backoff) = &self.backoff else {
            return;
        };
        let ends = &backoff.ends;
        assert!(ends.len() < backoff.prune_at, "the map is bounded");
        assert!(!ends.is_empty(), "a map without records is freed");
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::ops::Range;

    use super::*;
    use crate::lru::attributes::Attributes;
    use crate::lru::policy::Policy;
    use crate::lru::removal::{RemovalNotifier, RemovedEntries};

    const TTL: Nanos = 10;
    const BACKOFF: Nanos = 1_000;

    fn core() -> Core<u64, ()> {
        Core::new(Limits {
            max_entries: 40,
            max_weight: u64::MAX,
            ttl: TTL,
            idle_timeout: Nanos::MAX,
            stale: 10 * BACKOFF,
            policy: Policy::Lru,
        })
    }

    fn write(core: &mut Core<u64, ()>, keys: Range<u64>) {
        let notifier = RemovalNotifier::new(None, None);
        let mut removed = RemovedEntries::new(&notifier);
        for key in keys {
            let attributes = Attributes {
                weight: NonZeroU32::MIN,
                ttl: None,
            };
            core.insert(core.latest, key << 32, key, (), attributes, &mut removed);
        }
    }

    /// Writes entries, and lets their refreshes fail as soon as they are stale.
    fn fail(core: &mut Core<u64, ()>, keys: Range<u64>) {
        write(core, keys.clone());
        let stale_at = core.latest + TTL;
        for key in keys {
            let value = core.peek_after_failure(stale_at, key << 32, &key);
            assert!(value.is_some(), "it is stale");
            core.validate_backoffs();
        }
    }

    /// Returns the number of records, and the one at which they are pruned.
    fn records(core: &Core<u64, ()>) -> (usize, usize) {
        let backoff = core.backoff.as_ref().expect("refreshes have failed");
        (backoff.ends.len(), backoff.prune_at)
    }

    #[test]
    fn records_that_ended_or_lost_their_entry_are_pruned() {
        let mut core = core();
        fail(&mut core, 0..15);
        assert_eq!(records(&core), (15, 16));
        fail(&mut core, 15..16);
        assert_eq!(records(&core), (16, 32), "all are in use");
        core.advance(BACKOFF);
        fail(&mut core, 16..31);
        assert_eq!(records(&core), (31, 32));
        fail(&mut core, 31..32);
        assert_eq!(records(&core), (16, 32), "the last of 16 ends now");
        fail(&mut core, 16..32);
        assert_eq!(records(&core), (16, 32), "all were written again");
        write(&mut core, 100..132);
        fail(&mut core, 32..48);
        assert_eq!(records(&core), (16, 32), "16 were evicted");
        core.advance(3 * BACKOFF);
        fail(&mut core, 16..31);
        fail(&mut core, 0..1);
        assert_eq!(records(&core), (16, 32));
    }

    #[test]
    fn ended_records_are_removed_after_one_backoff() {
        let mut core = core();
        fail(&mut core, 0..2);
        fail(&mut core, 2..3);
        let first_end = TTL + BACKOFF;
        let second_prune = first_end + BACKOFF;
        for (now, left) in [
            (first_end - 1, 3),
            (first_end, 1),
            (second_prune - 1, 1),
            (second_prune, 0),
        ] {
            core.advance(now);
            core.remove_ended_backoffs();
            core.validate_backoffs();
            let records = core.backoff.as_ref().map_or(0, |it| it.ends.len());
            assert_eq!(records, left, "at {now}");
        }
    }
}
