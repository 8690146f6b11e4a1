//! `Inner`: what a shared cache consists of.
//!
//! A cache holds it in an `Arc`, so that the sweeper can hold it weakly. Owns the rule that whatever leaves a shard is
//! seen off when that is no longer locked.

use std::borrow::Borrow;
use std::sync::Arc;

use super::builder::Weigher;
use super::flight::{Flights, Waiting};
use super::left::{Call, Left, Listener};
use super::unsync;
use crate::clock::Clock;
use crate::sharded::Sharded;
use crate::stats::CacheStats;
use crate::sync::Mutex;

pub(super) struct Inner<K, V, S> {
    pub(super) shards: Sharded<Shard<K, V, S>>,
    pub(super) waiting: Waiting<V>,
    /// One change of a bound at a time, or the shards' shares would be of different ones.
    pub(super) resizing: Mutex<()>,
    pub(super) clock: Clock,
    pub(super) hasher: S,
    pub(super) weigher: Weigher<K, V>,
    pub(super) listener: Arc<Listener<K, V>>,
}

#[repr(C)]
pub(super) struct Shard<K, V, S> {
    pub(super) core: unsync::LruCache<K, V, S>,
    pub(super) flights: Flights<K, V>,
}

impl<K, V, S> Inner<K, V, S> {
    pub(super) fn new(
        cores: Vec<unsync::LruCache<K, V, S>>,
        clock: Clock,
        hasher: S,
        weigher: Weigher<K, V>,
        listener: Arc<Listener<K, V>>,
    ) -> Self {
        let shards = Sharded::new(cores.into_iter().map(|core| Shard {
            core,
            flights: Flights::new(),
        }));
        let (waiting, resizing) = (Waiting::new(), Mutex::new(()));
        Self {
            shards,
            waiting,
            resizing,
            clock,
            hasher,
            weigher,
            listener,
        }
    }

    /// Calls `work` with a shard locked, and sees off what left the shard once it is not locked any more.
    #[inline(always)]
    pub(super) fn with<R>(
        &self,
        shard: usize,
        work: impl FnOnce(&mut Shard<K, V, S>, &mut Left<K, V>) -> R,
    ) -> R {
        // Before the guard, so that it ends after it even where `work` panics.
        let mut call = Call::new(&*self.listener);
        let mut guard = self.shards.lock(shard);
        work(&mut guard, &mut call.left)
    }

    /// [`with`](Self::with), where `tell` tells of what left and is for the caller. (Apart from it, since that moves what
    /// left once more, which a look that finds something would feel.)
    pub(super) fn with_telling<R, T>(
        &self,
        shard: usize,
        work: impl FnOnce(&mut Shard<K, V, S>, &mut Left<K, V>) -> R,
        tell: impl FnOnce(&Listener<K, V>, R) -> T,
    ) -> T {
        let mut call = Call::new(&*self.listener);
        let mut guard = self.shards.lock(shard);
        let result = work(&mut guard, &mut call.left);
        drop(guard);
        call.end(|listener| tell(listener, result))
    }

    pub(super) fn stats(&self) -> CacheStats {
        let now = self.clock.nanos();
        let of = |shard| self.with(shard, |shard, _| shard.core.stats_at(now));
        let mut stats = of(0);
        (1..self.shards.len()).for_each(|shard| stats.merge(&of(shard)));
        CacheStats {
            callback_panics: self.listener.panics(),
            ..stats
        }
    }
}

impl<K, V, S> Shard<K, V, S> {
    /// Sees to it that what is being computed for a key is not stored over what is done to it now.
    #[inline]
    pub(super) fn supersede<Q: ?Sized + Eq>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Option<impl Sized + use<K, V, S, Q>>
    where
        K: Borrow<Q>,
    {
        if self.flights.is_empty() {
            None
        } else {
            self.flights.supersede(hash, key)
        }
    }
}
