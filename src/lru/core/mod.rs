//! `Core`: the entries of one cache or shard, and its bounds.
//!
//! Owns the entries, the index and the two lists, and keeps them in step: an entry, its recency
//! link and its write link have the same slot. It has no clock, hasher, lock or callback. Methods
//! take the time and the key's hash, and add what they remove to [`RemovedEntries`], which the
//! shells notify and drop after they unlock.
//!
//! Reads remove nothing. An expired entry is not returned, and stays until a write or a sweep
//! removes it.

// `#[inline(always)]` marks what `get` and `insert` call for every entry. With `#[inline]` alone
// the compiler calls some of it. Counted by callgrind, a `get` or an insert then executes more
// instructions: 7 to 12% without those of this folder, 3 to 7% without those of the index, 4%
// without those of the slab.

mod in_place;
mod iter;
mod own_ttl;
mod stale;
mod stats;

pub(super) use stale::Freshness;

pub use iter::{Drain, IntoIter, Iter, IterMut, Keys, Values};

use std::borrow::Borrow;
use std::cell::Cell;
use std::mem::replace;
use std::num::NonZeroU32;
use std::time::Duration;

use own_ttl::OwnTtls;

use crate::clock::Nanos;
use crate::lru::attributes::Attributes;
use crate::lru::index::Index;
use crate::lru::list::{Link, Linked, List};
use crate::lru::removal::{Removal, RemovedEntries, is_rejected};
use crate::lru::slab::{Slab, Slot};
use crate::removal::RemovalCause;
use crate::sweep::Swept;

/// Expired entries that a write removes in addition to its own work.
const EXPIRED_PER_WRITE: usize = 4;

/// The limits of one core. The highest value of a type means no limit.
#[derive(Clone, Copy, Debug)]
pub(in crate::lru) struct Limits {
    pub(in crate::lru) max_entries: usize,
    pub(in crate::lru) max_weight: u64,
    pub(in crate::lru) ttl: Nanos,
    pub(in crate::lru) idle_timeout: Nanos,
    /// The time for which an entry stays after its ttl ended, unless a bound is reached. 0: none.
    pub(in crate::lru) stale: Nanos,
}

impl Limits {
    /// Returns the most entries that there can be: every entry weighs at least 1.
    pub(in crate::lru) fn reachable_entries(&self) -> usize {
        self.max_entries
            .min(usize::try_from(self.max_weight).unwrap_or(usize::MAX))
    }

    pub(in crate::lru) fn max_weight(&self) -> Option<u64> {
        (self.max_weight != u64::MAX).then_some(self.max_weight)
    }

    pub(in crate::lru) fn ttl(&self) -> Option<Duration> {
        (self.ttl != Nanos::MAX).then(|| Duration::from_nanos(self.ttl))
    }

    pub(in crate::lru) fn idle_timeout(&self) -> Option<Duration> {
        (self.idle_timeout != Nanos::MAX).then(|| Duration::from_nanos(self.idle_timeout))
    }

    /// Returns why an entry is expired, or `None` if it is live. If both of its limits ended, the
    /// one that ended first is the cause.
    fn expiry_cause<K, V>(
        &self,
        now: Nanos,
        slot: Slot,
        node: &Node<K, V>,
        own_ttls: Option<&OwnTtls>,
    ) -> Option<RemovalCause> {
        let ttl_end = self.ttl_end(slot, node, own_ttls);
        let idle_end = node.accessed.time.saturating_add(self.idle_timeout);
        let end = ttl_end.min(idle_end);
        // The highest time means "never".
        (now >= end && end != Nanos::MAX).then_some(if ttl_end <= idle_end {
            RemovalCause::Expired
        } else {
            RemovalCause::Idle
        })
    }
}

/// The expired entries that are to be removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expired {
    /// The entries that are not within their stale window.
    NotStale,
    /// All. At a bound, stale entries are evicted before live ones.
    All,
}

/// The list at whose old end an entry is popped.
#[derive(Clone, Copy)]
pub(in crate::lru) enum Order {
    Recency,
    Write,
}

struct Entry<K, V> {
    key: K,
    value: V,
    /// The part of the hash that the index knows. With it, a resize of the index never calls the
    /// user's `Hash`.
    hash: u32,
    weight: NonZeroU32,
}

/// An entry with its links. The recency link is next to the key, because a lookup needs both.
#[repr(C)]
struct Node<K, V> {
    written: Link,
    accessed: Link,
    entry: Entry<K, V>,
}

const RECENCY: usize = 0;
const WRITES: usize = 1;

impl<K, V> Linked<RECENCY> for Node<K, V> {
    #[inline(always)]
    fn link(&self) -> &Link {
        &self.accessed
    }

    #[inline(always)]
    fn link_mut(&mut self) -> &mut Link {
        &mut self.accessed
    }
}

impl<K, V> Linked<WRITES> for Node<K, V> {
    #[inline(always)]
    fn link(&self) -> &Link {
        &self.written
    }

    #[inline(always)]
    fn link_mut(&mut self) -> &mut Link {
        &mut self.written
    }
}

/// The fields that most calls write come first, see [`Sharded`](crate::sharded::Sharded).
#[repr(C)]
pub(in crate::lru) struct Core<K, V> {
    counts: Counts,
    /// The latest time that a call was given. A call with an earlier time counts as at this one.
    latest: Nanos,
    /// No entry expires before this.
    next_expiry: Nanos,
    /// No entry is removed before this because it is expired. It is the same as `next_expiry` if
    /// entries have no stale window.
    next_removal: Nanos,
    /// The index hash of a recent `get` that found no entry with that hash, until an entry is
    /// added. An insert of the same key, which often follows, need not search the index again. This
    /// makes get-or-insert 5% faster with 26% misses.
    missing: Option<u32>,
    recency: List<RECENCY>,
    writes: List<WRITES>,
    nodes: Slab<Node<K, V>>,
    index: Index,
    weight: u64,
    limits: Limits,
    /// The entries that have a ttl of their own, if there are any. `writes` is without them.
    own_ttls: Option<Box<OwnTtls>>,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(in crate::lru) struct Counts {
    pub(in crate::lru) hits: u64,
    pub(in crate::lru) misses: u64,
    pub(in crate::lru) inserted: u64,
    pub(in crate::lru) evicted: u64,
    /// The part of `evicted` that the bound on weight caused.
    pub(in crate::lru) evicted_by_weight: u64,
    pub(in crate::lru) expired: u64,
    pub(in crate::lru) idle: u64,
    pub(in crate::lru) replaced: u64,
    pub(in crate::lru) removed: u64,
    pub(in crate::lru) rejected: u64,
    pub(in crate::lru) high_water: usize,
}

impl Counts {
    fn count_removal(&mut self, cause: RemovalCause) {
        *match cause {
            RemovalCause::Expired => &mut self.expired,
            RemovalCause::Idle => &mut self.idle,
            RemovalCause::Evicted => &mut self.evicted,
            RemovalCause::Replaced => &mut self.replaced,
            _ => &mut self.removed,
        } += 1;
    }
}

/// Returns the part of a hash that the index knows. The other half chooses the shard.
#[inline(always)]
fn index_hash(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl<K, V> Core<K, V> {
    pub(in crate::lru) fn new(limits: Limits) -> Self {
        Self {
            counts: Counts::default(),
            latest: 0,
            next_expiry: Nanos::MAX,
            next_removal: Nanos::MAX,
            missing: None,
            recency: List::new(),
            writes: List::new(),
            nodes: Slab::new(),
            index: Index::new(),
            weight: 0,
            limits,
            own_ttls: None,
        }
    }

    pub(in crate::lru) fn limits(&self) -> Limits {
        self.limits
    }

    pub(in crate::lru) fn set_max_entries(&mut self, max_entries: usize) {
        self.limits.max_entries = max_entries;
    }

    pub(in crate::lru) fn set_max_weight(&mut self, max_weight: u64) {
        self.limits.max_weight = max_weight;
    }

    fn is_above_bounds(&self) -> bool {
        self.nodes.len() > self.limits.max_entries || self.weight > self.limits.max_weight
    }

    /// Returns the time that counts for a call at `now`: clocks are read before the lock is taken,
    /// so they may be late.
    #[inline(always)]
    fn advance(&mut self, now: Nanos) -> Nanos {
        self.latest = self.latest.max(now);
        self.latest
    }
}

/// Expiry.
impl<K, V> Core<K, V> {
    /// Returns why an entry is expired, or `None` if it is live.
    #[inline(always)]
    fn expiry_cause(&self, now: Nanos, slot: Slot) -> Option<RemovalCause> {
        if now < self.next_expiry {
            return None;
        }
        self.limits
            .expiry_cause(now, slot, &self.nodes[slot], self.own_ttls.as_deref())
    }

    /// Returns an expired entry, if there is one. It has the earliest deadline, or is at the old
    /// end of one list, which is sorted by its time.
    #[cold]
    fn next_expired(&self, which: Expired) -> Option<(Slot, RemovalCause)> {
        let now = self.latest;
        let first_deadline = self.first_own_deadline().map(|(slot, _)| slot);
        [self.writes.oldest(), first_deadline, self.recency.oldest()]
            .into_iter()
            .flatten()
            .filter(|&slot| which == Expired::All || !self.is_within_stale_window(now, slot))
            .find_map(|slot| Some((slot, self.expiry_cause(now, slot)?)))
    }

    /// Removes up to `budget` expired entries, and returns how many it removed.
    #[cold]
    fn remove_expired(
        &mut self,
        budget: usize,
        which: Expired,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> usize {
        for count in 0..budget {
            let Some((slot, cause)) = self.next_expired(which) else {
                self.update_next_expiry();
                return count;
            };
            self.remove_entry(slot, cause, removed);
        }
        budget
    }

    /// Sets the next times at which an entry can expire, and be removed for that.
    fn update_next_expiry(&mut self) {
        let node = |slot: Option<Slot>| slot.map(|slot| &self.nodes[slot]);
        let end = |time: Option<Nanos>, limit: Nanos| {
            time.map_or(Nanos::MAX, |time| time.saturating_add(limit))
        };
        let written = node(self.writes.oldest()).map(|node| node.written.time);
        let accessed = node(self.recency.oldest()).map(|node| node.accessed.time);
        let ttl_end = match self.first_own_deadline() {
            None => end(written, self.limits.ttl),
            // See `set_own_ttl`.
            Some((_, deadline)) => end(written, self.limits.ttl)
                .min(deadline)
                .min(self.latest.saturating_add(self.limits.ttl)),
        };
        let idle_end = end(accessed, self.limits.idle_timeout);
        self.next_expiry = ttl_end.min(idle_end);
        self.next_removal = ttl_end.saturating_add(self.limits.stale).min(idle_end);
    }

    /// Runs before every write: removes a few expired entries. Returns the time that counts.
    #[inline(always)]
    fn prepare_write(&mut self, now: Nanos, removed: &mut RemovedEntries<'_, K, V>) -> Nanos {
        let now = self.advance(now);
        if now >= self.next_removal {
            self.remove_expired(EXPIRED_PER_WRITE, Expired::NotStale, removed);
        }
        now
    }

    /// Notes when an entry that is written at `now` expires.
    #[inline(always)]
    fn schedule_expiry(&mut self, now: Nanos) {
        // If there are others, they expire no later.
        if self.next_expiry == Nanos::MAX {
            self.next_expiry = self.limits.earliest_expiry(now);
            self.next_removal = self.limits.earliest_removal(now);
        }
    }

    /// Removes up to `budget` expired entries and, within the same budget, resizes the index.
    pub(in crate::lru) fn sweep(
        &mut self,
        now: Nanos,
        budget: usize,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Swept {
        let freed = if self.advance(now) >= self.next_removal {
            self.remove_expired(budget, Expired::NotStale, removed)
        } else {
            0
        };
        let Self { nodes, index, .. } = self;
        let steps = (freed..budget)
            .take_while(|_| index.maintain(nodes.len(), |slot| nodes[slot].entry.hash))
            .count();
        Swept {
            freed,
            more: freed + steps == budget,
        }
    }
}

/// Reads.
impl<K, V> Core<K, V> {
    #[inline(always)]
    fn find<Q: ?Sized + Eq>(&self, hash: u64, key: &Q) -> Option<Slot>
    where
        K: Borrow<Q>,
    {
        self.index
            .find(index_hash(hash), |slot| self.has_key(slot, key))
    }

    /// Returns `true` if there is an entry with this key in a slot, which may be out of range.
    #[inline(always)]
    fn has_key<Q: ?Sized + Eq>(&self, slot: Slot, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let node = self.nodes.get(slot);
        node.is_some_and(|node| node.entry.key.borrow() == key)
    }

    /// Returns the live value of a key, makes its entry the most recently used, and counts a hit or
    /// a miss.
    ///
    /// `now` is called if there is an entry. The unsync cache reads its clock then, which overlaps
    /// with the cache misses of the lookup, and a miss does not read it at all.
    #[inline(always)]
    pub(in crate::lru) fn get<Q: ?Sized + Eq>(
        &mut self,
        now: impl FnOnce() -> Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let Some(slot) = self.find_live(now, hash, key) else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        Some(self.access(slot))
    }

    /// Does what [`get`](Self::get) does, for a call that was counted before.
    pub(in crate::lru) fn get_again<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let slot = self.find_live(|| now, hash, key)?;
        Some(self.access(slot))
    }

    #[inline(always)]
    fn find_live<Q: ?Sized + Eq>(
        &mut self,
        now: impl FnOnce() -> Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<Slot>
    where
        K: Borrow<Q>,
    {
        let compared = Cell::new(false);
        let found = self.index.find(index_hash(hash), |slot| {
            compared.set(true);
            self.has_key(slot, key)
        });
        let Some(slot) = found else {
            // Nothing was compared, so no entry has the hash. A different key with the same hash
            // would be compared.
            if !compared.get() {
                self.missing = Some(index_hash(hash));
            }
            return None;
        };
        let now = self.advance(now());
        self.expiry_cause(now, slot).is_none().then_some(slot)
    }

    /// Makes an entry the most recently used.
    #[inline(always)]
    fn access(&mut self, slot: Slot) -> &mut V {
        let link = self.nodes[slot].accessed;
        let link = self
            .recency
            .move_to_front(&mut self.nodes, slot, link, self.latest);
        let node = &mut self.nodes[slot];
        node.accessed = link;
        &mut node.entry.value
    }

    /// Returns the live value of a key, and changes nothing.
    #[inline(always)]
    pub(in crate::lru) fn peek<Q: ?Sized + Eq>(&self, now: Nanos, hash: u64, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let slot = self.peek_slot(now, hash, key)?;
        Some(&self.nodes[slot].entry.value)
    }

    pub(in crate::lru) fn peek_mut<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let slot = self.peek_slot(now, hash, key)?;
        Some(&mut self.nodes[slot].entry.value)
    }

    #[inline(always)]
    fn peek_slot<Q: ?Sized + Eq>(&self, now: Nanos, hash: u64, key: &Q) -> Option<Slot>
    where
        K: Borrow<Q>,
    {
        let slot = self.find(hash, key)?;
        let cause = self.expiry_cause(self.latest.max(now), slot);
        cause.is_none().then_some(slot)
    }
}

/// Writes.
impl<K, V> Core<K, V> {
    /// Stores a value, and returns what it displaced: the key that was passed with the live value
    /// that it replaces, or the last entry that was evicted for it, or the refused entry itself.
    ///
    /// The displaced entry is returned, and not added to `removed`, because most inserts displace
    /// one entry and remove no other. A refused entry also replaces what was stored: that is out of
    /// date.
    #[inline(always)]
    pub(in crate::lru) fn insert(
        &mut self,
        now: Nanos,
        hash: u64,
        key: K,
        value: V,
        attributes: Attributes,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Removal<K, V>>
    where
        K: Eq,
    {
        let Attributes { weight, ttl } = attributes;
        if let Some(ttl) = ttl {
            return self.insert_with_ttl(now, hash, key, value, (weight, ttl), removed);
        }
        let displaced = self.write(now, hash, key, value, weight, removed);
        if self.own_ttls.is_some() && !is_rejected(&displaced) {
            self.clear_own_ttl_of_newest();
        }
        displaced
    }

    /// Stores an entry, see [`insert`](Self::insert). The entry keeps the own ttl of the one whose
    /// slot it takes.
    #[inline(always)]
    fn write(
        &mut self,
        now: Nanos,
        hash: u64,
        key: K,
        value: V,
        weight: NonZeroU32,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Removal<K, V>>
    where
        K: Eq,
    {
        let now = self.prepare_write(now, removed);
        let found = if self.missing == Some(index_hash(hash)) {
            None
        } else {
            self.find(hash, &key)
        };
        let found = found.filter(|&slot| self.stays_live(now, slot, removed));
        if u64::from(weight.get()) > self.limits.max_weight {
            self.counts.rejected += 1;
            if let Some(slot) = found {
                self.remove_entry(slot, RemovalCause::Replaced, removed);
            }
            return Some((key, value, RemovalCause::Rejected));
        }
        self.counts.inserted += 1;
        self.weight += u64::from(weight.get());
        if let Some(slot) = found {
            let former = self.rewrite(now, slot, value, weight);
            // The entry is now the most recently used and within the bound alone, so others are
            // evicted.
            if self.is_above_bounds() {
                self.evict(usize::MAX, removed);
            }
            return Some((key, former, RemovalCause::Replaced));
        }
        self.missing = None;
        let entry = Entry {
            key,
            value,
            hash: index_hash(hash),
            weight,
        };
        self.add(now, entry, removed)
    }

    /// Removes an entry if it is expired, and returns whether it was live.
    #[inline(always)]
    fn stays_live(
        &mut self,
        now: Nanos,
        slot: Slot,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> bool {
        match self.expiry_cause(now, slot) {
            None => true,
            Some(cause) => {
                self.remove_entry(slot, cause, removed);
                false
            }
        }
    }

    fn rewrite(&mut self, now: Nanos, slot: Slot, value: V, weight: NonZeroU32) -> V {
        let node = &self.nodes[slot];
        let node = self.move_to_front(now, slot, (node.accessed, node.written));
        let former_weight = replace(&mut node.entry.weight, weight);
        let former = replace(&mut node.entry.value, value);
        self.weight -= u64::from(former_weight.get());
        self.counts.replaced += 1;
        former
    }

    /// Moves an entry that is written at `now` to the front of both lists, in which it has these
    /// links.
    #[inline(always)]
    fn move_to_front(
        &mut self,
        now: Nanos,
        slot: Slot,
        (accessed, written): (Link, Link),
    ) -> &mut Node<K, V> {
        if self.own_ttls.is_some() {
            return self.move_to_front_of_either(now, slot);
        }
        let Self { nodes, .. } = self;
        let accessed = self.recency.move_to_front(nodes, slot, accessed, now);
        let written = self.writes.move_to_front(nodes, slot, written, now);
        let node = &mut nodes[slot];
        (node.accessed, node.written) = (accessed, written);
        node
    }

    /// Adds an entry, whose weight is counted already, and evicts what it leaves no room for:
    /// expired entries first, then the least recently used. Returns the last victim.
    #[inline(always)]
    fn add(
        &mut self,
        now: Nanos,
        entry: Entry<K, V>,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Removal<K, V>> {
        self.schedule_expiry(now);
        let mut is_too_heavy = self.weight > self.limits.max_weight;
        if is_too_heavy || now >= self.next_expiry || self.nodes.len() > self.limits.max_entries {
            self.make_room(now, removed);
            is_too_heavy = self.weight > self.limits.max_weight;
        }
        if self.nodes.len() < self.limits.max_entries && !is_too_heavy {
            self.push(now, entry);
            return None;
        }
        // The new entry takes the slot of the last victim, so no third entry moves into that.
        let slot = self.recency.oldest().expect("a full cache has an entry");
        let victim = &self.nodes[slot];
        let (hash, links) = (victim.entry.hash, (victim.accessed, victim.written));
        self.weight -= u64::from(victim.entry.weight.get());
        self.counts.evicted += 1;
        self.counts.evicted_by_weight += u64::from(is_too_heavy);
        let Self { nodes, index, .. } = self;
        index.replace(hash, entry.hash, slot, |slot| nodes[slot].entry.hash);
        let node = self.move_to_front(now, slot, links);
        let victim = replace(&mut node.entry, entry);
        Some((victim.key, victim.value, RemovalCause::Evicted))
    }

    /// Removes entries, expired ones first, until the bounds hold or will hold after one more
    /// eviction.
    #[cold]
    fn make_room(&mut self, now: Nanos, removed: &mut RemovedEntries<'_, K, V>) {
        while self.nodes.len() >= self.limits.max_entries || self.weight > self.limits.max_weight {
            if now >= self.next_expiry && self.remove_expired(1, Expired::All, removed) == 1 {
                continue;
            }
            let Some(slot) = self.recency.oldest() else {
                return;
            };
            let rest = self.weight - u64::from(self.nodes[slot].entry.weight.get());
            if self.nodes.len() <= self.limits.max_entries && rest <= self.limits.max_weight {
                return;
            }
            self.counts.evicted_by_weight += u64::from(self.weight > self.limits.max_weight);
            self.remove_entry(slot, RemovalCause::Evicted, removed);
        }
    }

    #[inline(never)]
    fn push(&mut self, now: Nanos, entry: Entry<K, V>) {
        let Self { nodes, index, .. } = self;
        let bound = self.limits.max_entries;
        index.before_push(nodes.len(), bound, |slot| nodes[slot].entry.hash);
        let hash = entry.hash;
        let node = Node {
            written: Link::NONE,
            accessed: Link::NONE,
            entry,
        };
        let slot = nodes.push(node, bound);
        index.insert(hash, slot);
        self.recency.push(nodes, slot, now);
        self.writes.push(nodes, slot, now);
        self.counts.high_water = self.counts.high_water.max(nodes.len());
    }

    fn remove_entry(
        &mut self,
        slot: Slot,
        cause: RemovalCause,
        removed: &mut RemovedEntries<'_, K, V>,
    ) {
        removed.push(self.take(slot, cause));
    }

    /// Takes an entry out, and counts it.
    fn take(&mut self, slot: Slot, cause: RemovalCause) -> Removal<K, V> {
        self.recency.unlink(&mut self.nodes, slot);
        self.unlink_write(slot);
        let entry = self.nodes.swap_remove(slot).entry;
        let len = self.nodes.len();
        self.index.remove(entry.hash, slot);
        if slot as usize != len {
            self.recency.relocate(&mut self.nodes, slot);
            self.relocate_write(len as Slot, slot);
            let hash = self.nodes[slot].entry.hash;
            self.index.relocate(hash, len as Slot, slot);
        }
        let Self { nodes, index, .. } = self;
        index.after_remove(len, |slot| nodes[slot].entry.hash);
        self.weight -= u64::from(entry.weight.get());
        self.counts.count_removal(cause);
        (entry.key, entry.value, cause)
    }

    /// Removes the live entry of a key, and returns it.
    pub(in crate::lru) fn remove<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Removal<K, V>>
    where
        K: Borrow<Q>,
    {
        let now = self.prepare_write(now, removed);
        let slot = self.find(hash, key)?;
        self.stays_live(now, slot, removed)
            .then(|| self.take(slot, RemovalCause::Removed))
    }

    /// Evicts until the bounds hold, up to `budget` entries.
    #[cold]
    fn evict(&mut self, budget: usize, removed: &mut RemovedEntries<'_, K, V>) {
        for _ in 0..budget {
            if !self.is_above_bounds() {
                return;
            }
            if self.latest >= self.next_expiry && self.remove_expired(1, Expired::All, removed) == 1
            {
                continue;
            }
            let slot = self
                .recency
                .oldest()
                .expect("an empty cache exceeds no bound");
            self.counts.evicted_by_weight += u64::from(self.weight > self.limits.max_weight);
            self.remove_entry(slot, RemovalCause::Evicted, removed);
        }
    }

    /// Evicts up to `budget` entries that exceed lowered bounds, and returns whether there are
    /// more.
    pub(in crate::lru) fn shrink_to_bounds(
        &mut self,
        now: Nanos,
        budget: usize,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> bool {
        self.prepare_write(now, removed);
        self.evict(budget, removed);
        self.is_above_bounds()
    }

    /// Removes expired entries at the old end of a list, and returns the live entry there and its
    /// time.
    fn first_live(
        &mut self,
        now: Nanos,
        order: Order,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<(Slot, Nanos)> {
        let now = self.prepare_write(now, removed);
        loop {
            let (slot, time) = match order {
                Order::Recency => {
                    let slot = self.recency.oldest()?;
                    (slot, self.nodes[slot].accessed.time)
                }
                Order::Write => self
                    .oldest_writes()
                    .into_iter()
                    .flatten()
                    .map(|slot| (slot, self.nodes[slot].written.time))
                    .min_by_key(|&(_, time)| time)?,
            };
            if self.stays_live(now, slot, removed) {
                return Some((slot, time));
            }
        }
    }

    /// Returns the time of the entry that [`pop`](Self::pop) would return.
    pub(in crate::lru) fn time_of_first(
        &mut self,
        now: Nanos,
        order: Order,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Nanos> {
        Some(self.first_live(now, order, removed)?.1)
    }

    /// Removes the live entry at the old end of a list, and the expired ones before it.
    pub(in crate::lru) fn pop(
        &mut self,
        now: Nanos,
        order: Order,
        removed: &mut RemovedEntries<'_, K, V>,
    ) -> Option<Removal<K, V>> {
        let (slot, _) = self.first_live(now, order, removed)?;
        Some(self.take(slot, RemovalCause::Removed))
    }

    /// Removes all entries.
    pub(in crate::lru) fn clear(&mut self, now: Nanos, removed: &mut RemovedEntries<'_, K, V>) {
        if self.advance(now) >= self.next_expiry {
            self.remove_expired(usize::MAX, Expired::All, removed);
        }
        let (limits, counts, latest) = (self.limits, self.counts, self.latest);
        let emptied = replace(self, Self::new(limits));
        (self.counts, self.latest) = (counts, latest);
        for node in emptied.nodes {
            self.counts.count_removal(RemovalCause::Removed);
            removed.push((node.entry.key, node.entry.value, RemovalCause::Removed));
        }
    }
}
