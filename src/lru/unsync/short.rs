//! The short ways: what nearly every look and every insert does, while no entry's time may be over.
//!
//! Then a look lets nothing leave, and an insert one entry at most, where entries have no weights. So neither needs to
//! collect in a [`Left`](crate::lru::left::Left) what left, and it is the compiler that keeps them short. They change
//! exactly what the ways for all cases would.

use std::borrow::Borrow;
use std::num::NonZeroU32;

use super::LruCache;
use crate::clock::{Clock, Nanos};
use crate::lru::line::Glance;
use crate::lru::slab::Place;
use crate::lru::store::Entry;
use crate::removal::RemovalCause;

impl<K, V, S> LruCache<K, V, S> {
    /// The live value under a key, whose entry is now the most recently used: where nothing
    /// is found, it does not matter what time it is.
    ///
    /// Where some entry's time may be over, the place is what `when_due` says: see [`get_at`](Self::get_at).
    #[inline(always)]
    pub(in crate::lru) fn look<Q: ?Sized + Eq>(
        &mut self,
        now: impl FnOnce(&Clock) -> Nanos,
        hash: u64,
        key: &Q,
        when_due: impl FnOnce(&mut Self) -> Option<Place>,
    ) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self.store.glance(hash, key) {
            Glance::Found(at) => self.hit(at, now, when_due),
            Glance::Missing => self.miss(),
            Glance::Unclear => self.look_further(now, hash, key, when_due),
        }
    }

    /// [`look`](Self::look), where what is seen at once is not enough.
    #[cold]
    #[inline(never)]
    fn look_further<Q: ?Sized + Eq>(
        &mut self,
        now: impl FnOnce(&Clock) -> Nanos,
        hash: u64,
        key: &Q,
        when_due: impl FnOnce(&mut Self) -> Option<Place>,
    ) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self.store.search(hash, key) {
            Some(at) => self.hit(at, now, when_due),
            None => self.miss(),
        }
    }

    #[inline(always)]
    fn hit(
        &mut self,
        at: Place,
        now: impl FnOnce(&Clock) -> Nanos,
        when_due: impl FnOnce(&mut Self) -> Option<Place>,
    ) -> Option<&mut V> {
        let link = self.store.link(at);
        let (now, link) = (now(&self.clock), *link);
        if self.is_due(now) {
            let at = when_due(self)?;
            return Some(self.store.value_mut(at));
        }
        self.counts.hits += 1;
        Some(self.store.used(at, link, self.latest))
    }

    #[inline(always)]
    fn miss(&mut self) -> Option<&mut V> {
        self.counts.misses += 1;
        None
    }

    /// Whether an insert can go the short way, in a cache without a weigher.
    #[inline(always)]
    pub(in crate::lru) fn is_light(&mut self, now: Nanos) -> bool {
        // There are too many while a bound is being lowered.
        !self.is_due(now) && self.store.len() <= self.limits.max_entries
    }

    /// [`insert_at`](Self::insert_at), where it [is light](Self::is_light); the one that left for it, if any, and why.
    #[inline(always)]
    pub(in crate::lru) fn insert_light(
        &mut self,
        hash: u64,
        key: K,
        value: V,
    ) -> Option<(K, V, RemovalCause)>
    where
        K: Eq,
    {
        let now = self.latest;
        let found = self.store.find(hash, &key);
        self.counts.inserted += 1;
        if let Some(at) = found {
            self.counts.replaced += 1;
            return Some((
                key,
                self.store.rewrite(at, value, NonZeroU32::MIN, now),
                RemovalCause::Replaced,
            ));
        }
        self.note_due(now);
        let entry = Entry::new(hash, key, value, NonZeroU32::MIN);
        if self.store.len() < self.limits.max_entries {
            self.weight += 1;
            self.push(now, entry);
            return None;
        }
        let at = self
            .store
            .recency()
            .last()
            .expect("a full cache has entries");
        self.counts.evicted += 1;
        let evicted = self.store.replace(at, entry, now);
        Some((evicted.key, evicted.value, RemovalCause::Evicted))
    }
}
