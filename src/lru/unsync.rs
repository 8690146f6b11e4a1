//! `unsync::LruCache`: the core that owns one cache's data, or one shard's.
//!
//! Owns the limits and holds them: after every call all bounds hold, and nothing that is past its time is ever returned.
//! Public methods read the clock and hash the key; most have a twin ending in `_at` that is told both, for the shared
//! cache, which does these two outside its locks. What leaves goes into a [`Left`], for the caller to see off.

mod api;
mod figures;
mod short;
mod walk;

use std::borrow::Borrow;
use std::mem::replace;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::builder::{Limits, Weigher};
use super::error::TooHeavy;
use super::left::{Left, Listener};
use super::slab::Place;
use super::store::{Entry, Store};
use crate::clock::{Clock, Nanos};
use crate::hash::DefaultHashBuilder;
use crate::removal::RemovalCause;
use crate::sweep::Swept;

/// Entries past their time that a call frees beside its own work.
const FREED_PER_CALL: usize = 4;

/// The end of an order at which entries leave.
#[derive(Clone, Copy)]
pub(super) enum End {
    LeastRecent,
    Oldest,
}

/// A cache bounded by size, weight, age and idleness: the single-threaded core of [`LruCache`](crate::LruCache).
///
/// The semantics are those of the shared cache, of which this is one shard; see there. Values are borrowed in place of
/// cloned, and [`iter`](Self::iter) goes through them in order of use.
///
/// ```
/// use leakproof::unsync::LruCache;
/// use std::time::Duration;
///
/// let mut cache = LruCache::<String, u32>::new(2, Duration::from_secs(1800));
/// cache.insert("a".to_string(), 1);
/// cache.insert("b".to_string(), 2);
/// assert_eq!(cache.get("a"), Some(&1)); // "b" is now the least recently used
/// cache.insert("c".to_string(), 3);
/// assert_eq!(cache.get("b"), None);
/// assert!(cache.iter().map(|(key, _)| key).eq(["c", "a"]));
/// ```
// In this order, as in a shard: see `Sharded`.
#[repr(C)]
pub struct LruCache<K, V, S = DefaultHashBuilder> {
    counts: Counts,
    /// The latest time that a call was told; later ones are never taken to be earlier.
    latest: Nanos,
    /// No entry's time is over before this.
    next_due: Nanos,
    store: Store<K, V>,
    weight: u64,
    pub(super) limits: Limits,
    clock: Clock,
    hasher: S,
    weigher: Weigher<K, V>,
    listener: Arc<Listener<K, V>>,
}

#[derive(Default)]
#[repr(C)]
struct Counts {
    hits: u64,
    misses: u64,
    inserted: u64,
    evicted: u64,
    expired: u64,
    idle: u64,
    replaced: u64,
    removed: u64,
    rejected: u64,
    high_water: usize,
}

impl Counts {
    fn left(&mut self, cause: RemovalCause) {
        *match cause {
            RemovalCause::Expired => &mut self.expired,
            RemovalCause::Idle => &mut self.idle,
            RemovalCause::Evicted => &mut self.evicted,
            RemovalCause::Replaced => &mut self.replaced,
            _ => &mut self.removed,
        } += 1;
    }
}

impl<K, V, S> LruCache<K, V, S> {
    pub(super) fn with(
        limits: Limits,
        clock: Clock,
        hasher: S,
        weigher: Weigher<K, V>,
        listener: Arc<Listener<K, V>>,
    ) -> Self {
        Self {
            store: Store::new(),
            limits,
            weight: 0,
            latest: 0,
            next_due: Nanos::MAX,
            counts: Counts::default(),
            clock,
            hasher,
            weigher,
            listener,
        }
    }

    /// Why an entry's time is over, if it is: for what came first.
    #[inline(always)]
    fn over(&self, now: Nanos, at: Place) -> Option<RemovalCause> {
        if now < self.next_due {
            return None;
        }
        // Since when, as differences, which no time is too late for; the largest limit is none.
        let since = |time: Nanos, limit: Nanos| {
            (now - time)
                .checked_sub(limit)
                .filter(|_| limit != Nanos::MAX)
        };
        let too_old = since(self.store.writes().time(at), self.limits.ttl);
        let unused = since(self.store.recency().time(at), self.limits.idle_timeout);
        let cause = if too_old >= unused {
            RemovalCause::Expired
        } else {
            RemovalCause::Idle
        };
        too_old.or(unused).map(|_| cause)
    }

    /// An entry whose time is over, if there is one: then one end of one order has it.
    #[inline(always)]
    fn next_over(&self, now: Nanos) -> Option<(Place, RemovalCause)> {
        let ends = [self.store.writes().last(), self.store.recency().last()];
        ends.into_iter()
            .flatten()
            .find_map(|at| Some((at, self.over(now, at)?)))
    }

    /// Lets time pass; whether some entry's time may be over.
    #[inline(always)]
    fn is_due(&mut self, now: Nanos) -> bool {
        self.latest = self.latest.max(now);
        self.latest >= self.next_due
    }

    /// Lets time pass, and frees a few of the entries whose time is over; the time that counts.
    #[inline(always)]
    fn tick(&mut self, now: Nanos, left: &mut Left<K, V>) -> Nanos {
        if self.is_due(now) {
            self.free_some(FREED_PER_CALL, left);
        }
        self.latest
    }

    /// Frees up to `budget` entries whose time is over; how many.
    #[cold]
    fn free_some(&mut self, budget: usize, left: &mut Left<K, V>) -> usize {
        for freed in 0..budget {
            let Some((at, cause)) = self.next_over(self.latest) else {
                let due = |oldest: Option<(Place, Nanos)>, limit| {
                    oldest.map_or(Nanos::MAX, |(_, time)| time.saturating_add(limit))
                };
                let age = due(self.store.writes().oldest(), self.limits.ttl);
                let idle = due(self.store.recency().oldest(), self.limits.idle_timeout);
                self.next_due = age.min(idle);
                return freed;
            };
            self.take(at, cause, left);
        }
        budget
    }

    /// Takes an entry out.
    fn take(&mut self, at: Place, cause: RemovalCause, left: &mut Left<K, V>) {
        let entry = self.store.remove(at);
        self.weight -= u64::from(entry.weight.get());
        self.counts.left(cause);
        left.push(entry, cause);
    }

    #[cold]
    fn unless_over(&mut self, now: Nanos, at: Place, left: &mut Left<K, V>) -> Option<Place> {
        if let Some(cause) = self.over(now, at) {
            self.take(at, cause, left);
            return None;
        }
        Some(at)
    }

    /// The live entry under a key. One whose time is over is taken out.
    #[inline(always)]
    fn live_at<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
        left: &mut Left<K, V>,
    ) -> Option<Place>
    where
        K: Borrow<Q>,
    {
        let at = self.store.find(hash, key)?;
        if now < self.next_due {
            Some(at)
        } else {
            self.unless_over(now, at, left)
        }
    }

    /// [`look`](Self::look), where some entry's time may be over.
    #[cold]
    pub(super) fn get_at<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
        left: &mut Left<K, V>,
    ) -> Option<Place>
    where
        K: Borrow<Q>,
    {
        let now = self.tick(now, left);
        let found = self.live_at(now, hash, key, left);
        match found {
            Some(at) => {
                self.counts.hits += 1;
                self.store.used(at, *self.store.link(at), now);
            }
            None => self.counts.misses += 1,
        }
        found
    }

    /// [`get_at`](Self::get_at) of a call that did so before: it counts no more, and lets nothing leave.
    pub(super) fn get_again_at<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
    ) -> Option<Place>
    where
        K: Borrow<Q>,
    {
        self.latest = self.latest.max(now);
        let found = self
            .store
            .find(hash, key)
            .filter(|&at| self.over(self.latest, at).is_none());
        if let Some(at) = found {
            self.store.used(at, *self.store.link(at), self.latest);
        }
        found
    }

    #[inline(always)]
    pub(super) fn value(&self, at: Place) -> &V {
        &self.store.entry(at).value
    }

    /// The live entry under a key, left as it is.
    #[inline(always)]
    pub(super) fn peek_at<Q: ?Sized + Eq>(&self, now: Nanos, hash: u64, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = self.store.find(hash, key)?;
        self.over(self.latest.max(now), at)
            .is_none()
            .then(|| self.value(at))
    }

    /// Adds an entry, or gives the one under this key another value, which makes it another entry as far as times go.
    ///
    /// The former value comes back with the key that was to be stored.
    pub(super) fn insert_at(
        &mut self,
        now: Nanos,
        hash: u64,
        key: K,
        value: V,
        weight: NonZeroU32,
        left: &mut Left<K, V>,
    ) -> Result<Option<(K, V)>, TooHeavy<K, V>>
    where
        K: Eq,
    {
        let now = self.tick(now, left);
        let found = self.live_at(now, hash, &key, left);
        if u64::from(weight.get()) > self.limits.max_weight {
            self.counts.rejected += 1;
            if let Some(at) = found {
                // Out of date: to serve it on would be worse than to serve nothing.
                self.take(at, RemovalCause::Replaced, left);
            }
            return Err(TooHeavy {
                key,
                value,
                weight: weight.get(),
                max_weight: self.limits.max_weight,
            });
        }
        self.counts.inserted += 1;
        if let Some(at) = found {
            self.weight -= u64::from(self.store.entry(at).weight.get());
            self.weight += u64::from(weight.get());
            let former = self.store.rewrite(at, value, weight, now);
            self.counts.replaced += 1;
            // It is the most recently used now, and within the bound alone: what goes is others.
            self.evict(usize::MAX, left);
            return Ok(Some((key, former)));
        }
        self.add(now, Entry::new(hash, key, value, weight), left);
        Ok(None)
    }

    /// Adds an entry, and evicts what has to go for it: what is past its time first, then the least recently used.
    #[inline(always)]
    fn add(&mut self, now: Nanos, entry: Entry<K, V>, left: &mut Left<K, V>) {
        self.note_due(now);
        self.weight += u64::from(entry.weight.get());
        while self.store.len() >= self.limits.max_entries || self.weight > self.limits.max_weight {
            let Some((at, cause)) = self.next_to_go(now) else {
                break;
            };
            let weight = u64::from(self.store.entry(at).weight.get());
            if self.store.len() <= self.limits.max_entries
                && self.weight - weight <= self.limits.max_weight
            {
                // The last that has to go leaves its place to the newcomer.
                self.weight -= weight;
                self.counts.left(cause);
                left.push(self.store.replace(at, entry, now), cause);
                return;
            }
            self.take(at, cause, left);
        }
        self.push(now, entry);
    }

    /// Notes when the time of an entry that is written now may be over.
    #[inline(always)]
    fn note_due(&mut self, now: Nanos) {
        // It is no later already where there were entries: the time of one that comes after them is over after theirs.
        if self.next_due == Nanos::MAX {
            self.next_due = now.saturating_add(self.limits.ttl.min(self.limits.idle_timeout));
        }
    }

    #[inline(never)]
    fn push(&mut self, now: Nanos, entry: Entry<K, V>) {
        self.store.push(entry, self.limits.max_entries, now);
        self.counts.high_water = self.counts.high_water.max(self.store.len());
    }

    #[inline(always)]
    fn next_to_go(&self, now: Nanos) -> Option<(Place, RemovalCause)> {
        if now >= self.next_due
            && let Some(over) = self.next_over(now)
        {
            return Some(over);
        }
        self.store
            .recency()
            .last()
            .map(|at| (at, RemovalCause::Evicted))
    }

    /// Evicts until the bounds hold, up to `budget` entries.
    #[inline(always)]
    fn evict(&mut self, budget: usize, left: &mut Left<K, V>) {
        for _ in 0..budget {
            if !self.is_above_bounds() {
                return;
            }
            let Some((at, cause)) = self.next_to_go(self.latest) else {
                return;
            };
            self.take(at, cause, left);
        }
    }

    fn is_above_bounds(&self) -> bool {
        self.store.len() > self.limits.max_entries || self.weight > self.limits.max_weight
    }

    /// Takes the live entry under a key out.
    pub(super) fn remove_at<Q: ?Sized + Eq>(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &Q,
        left: &mut Left<K, V>,
    ) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let now = self.tick(now, left);
        let at = self.live_at(now, hash, key, left)?;
        Some(self.pop(at))
    }

    fn pop(&mut self, at: Place) -> (K, V) {
        let entry = self.store.remove(at);
        self.weight -= u64::from(entry.weight.get());
        self.counts.removed += 1;
        (entry.key, entry.value)
    }

    /// The live entry at an end of an order, and its time there; entries whose time is over are freed on the way.
    pub(super) fn first_live(
        &mut self,
        now: Nanos,
        end: End,
        left: &mut Left<K, V>,
    ) -> Option<(Place, Nanos)> {
        let now = self.tick(now, left);
        loop {
            let (at, time) = match end {
                End::LeastRecent => self.store.recency().oldest(),
                End::Oldest => self.store.writes().oldest(),
            }?;
            let Some(cause) = self.over(now, at) else {
                return Some((at, time));
            };
            self.take(at, cause, left);
        }
    }

    pub(super) fn pop_at(&mut self, now: Nanos, end: End, left: &mut Left<K, V>) -> Option<(K, V)> {
        let (at, _) = self.first_live(now, end, left)?;
        Some(self.pop(at))
    }

    pub(super) fn clear_at(&mut self, now: Nanos, left: &mut Left<K, V>) {
        self.latest = self.latest.max(now);
        self.free_some(usize::MAX, left);
        for entry in replace(&mut self.store, Store::new()).into_entries() {
            self.counts.left(RemovalCause::Removed);
            left.push(entry, RemovalCause::Removed);
        }
        self.weight = 0;
        self.next_due = Nanos::MAX;
    }

    /// Frees up to `budget` entries whose time is over.
    pub(super) fn sweep_at(&mut self, now: Nanos, budget: usize, left: &mut Left<K, V>) -> Swept {
        self.latest = self.latest.max(now);
        let freed = if self.latest >= self.next_due {
            self.free_some(budget, left)
        } else {
            0
        };
        let tidying = (freed..budget).take_while(|_| self.store.tidy()).count();
        Swept {
            freed,
            more: freed + tidying == budget,
        }
    }

    /// Evicts up to `budget` of the entries that are too many; whether there are more.
    pub(super) fn evict_at(&mut self, now: Nanos, budget: usize, left: &mut Left<K, V>) -> bool {
        self.tick(now, left);
        self.evict(budget, left);
        self.is_above_bounds()
    }
}
