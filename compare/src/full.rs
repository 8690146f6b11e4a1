//! Full collections, for sections that compare calls instead of contestants.

use std::time::Duration;

use leakproof::{DedupSet, LruCache};

use crate::stream::Ids;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Returns a set at its bound of `live` ids, which are the first of `ids`.
pub(crate) fn full_set(ids: &Ids, live: usize) -> DedupSet<str> {
    let set = DedupSet::new(live, DAY);
    (0..live).for_each(|at| assert!(set.insert(ids.get(at))));
    set
}

/// Returns a cache with the keys below `live`.
pub(crate) fn full_cache(live: usize) -> LruCache<u64, u64> {
    // Shards fill unevenly. With a tenth more room, no shard evicts.
    let cache = LruCache::new(live * 11 / 10, DAY);
    for key in 0..live as u64 {
        cache.insert(key, key);
    }
    cache
}
