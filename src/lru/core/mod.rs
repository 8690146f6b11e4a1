//! `Core`: the entries of one cache or shard, and its bounds.
//!
//! Owns the entries, the index and the two lists, and keeps them in step: an entry, its recency
//! link and its write link have the same slot. It has no clock, hasher, lock or callback. Methods
//! take the time and the key's hash, and add what they remove to [`RemovedEntries`], which the
//! shells notify and drop after they unlock.
//!
//! Reads remove nothing. An expired entry is not returned, and stays until a write or a sweep
//! removes it.

// `#[inline(always)]` marks what costs more instructions with `#[inline]` alone, counted by
// callgrind per call on 10,000 `u64` entries. Without those of this file and the slab, an insert
// takes 573 instead of 565. Without those of the index it takes 576, and without those of `lookup`
// a `get` takes 310 instead of 307.

mod backoff;
mod eviction;
mod expiry;
mod in_place;
mod insert;
mod iter;
mod limits;
mod lookup;
mod order;
mod own_ttl;
mod removal;
mod s3_fifo;
mod stale;
mod stats;

pub(super) use insert::Inserted;
pub(super) use limits::Limits;
pub(super) use removal::Order;
pub(super) use stale::Freshness;

pub use iter::{Drain, IntoIter, Iter, IterMut, Keys, Values};

use std::num::NonZeroU32;

use backoff::Backoff;
use own_ttl::OwnTtls;
use s3_fifo::S3Fifo;
use stats::Counts;

use crate::clock::Nanos;
use crate::lru::index::Index;
use crate::lru::list::{Link, Links, List};
use crate::lru::policy::Policy;
use crate::lru::slab::{Slab, Slot};

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

impl<K, V> Links<RECENCY> for Slab<Node<K, V>> {
    #[inline(always)]
    fn link(&self, slot: Slot) -> &Link {
        &self[slot].accessed
    }

    #[inline(always)]
    fn link_mut(&mut self, slot: Slot) -> &mut Link {
        &mut self[slot].accessed
    }
}

impl<K, V> Links<WRITES> for Slab<Node<K, V>> {
    #[inline(always)]
    fn link(&self, slot: Slot) -> &Link {
        &self[slot].written
    }

    #[inline(always)]
    fn link_mut(&mut self, slot: Slot) -> &mut Link {
        &mut self[slot].written
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
    /// The order of eviction under `Policy::S3Fifo`. `recency` is empty then, unless there is an
    /// idle timeout.
    s3_fifo: Option<Box<S3Fifo>>,
    /// The stale entries whose refresh failed, if there are any.
    backoff: Option<Box<Backoff>>,
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
            s3_fifo: match limits.policy {
                Policy::Lru => None,
                Policy::S3Fifo => {
                    let keeps_recency = limits.idle_timeout != Nanos::MAX;
                    Some(Box::new(S3Fifo::new(keeps_recency)))
                }
            },
            backoff: None,
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

    /// Returns the time that counts for a call at `now`: most calls read the clock before the lock
    /// is taken, so they may be late.
    #[inline(always)]
    fn advance(&mut self, now: Nanos) -> Nanos {
        self.latest = self.latest.max(now);
        self.latest
    }
}
