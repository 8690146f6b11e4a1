//! The caches that are compared: ours, and those of other crates.
//!
//! Each uses its fastest calls and its default hasher. Its ttl, if it has one, is a day. Nothing
//! expires, so the cost of the ttl alone is measured.

use std::num::NonZeroUsize;
use std::time::Duration;

use coarsetime::Instant;
use hashlink::linked_hash_map::RawEntryMut;
use leakproof::{Policy, unsync};
use moka::policy::EvictionPolicy;
use quick_cache::unsync::Cache as QuickUnsync;

use super::contestant::{Entry, Traits};
use super::event::Key;

pub(crate) const UNSYNC: &str = "**leakproof** `unsync::LruCache`";
pub(crate) const UNSYNC_AGELESS: &str = "**leakproof** `unsync::LruCache`, without `ttl`";
pub(crate) const SHARED: &str = "**leakproof** `LruCache`";
pub(crate) const S3_FIFO: &str = "**leakproof** `LruCache`, `Policy::S3Fifo`";
pub(crate) const MANUAL_TTL: &str = "`schnellru`, manual ttl";
pub(crate) const TTL_CACHE: &str = "`ttl_cache`";
pub(crate) const QUICK: &str = "`quick_cache` sync";
pub(crate) const MINI_MOKA: &str = "`mini-moka`, ttl";
pub(crate) const MOKA: &str = "`moka`, ttl";

const DAY: Duration = Duration::from_secs(24 * 3600);

const AHASH: &str = "`ahash`";
const FOLDHASH: &str = "`foldhash`";
const SIPHASH: &str = "`std`'s, SipHash";

const EXACT: &str = "LRU";
const BY_SHARD: &str = "LRU, by shard";
const BY_S3_FIFO: &str = "S3-FIFO";
const ADAPTIVE: &str = "S3-FIFO, adaptive, by shard";
const TINY_LFU: &str = "TinyLFU";

pub(crate) fn all<K: Key>() -> Vec<Entry<K>> {
    let mut all = ours();
    all.extend(unsync_peers());
    all.extend(shared());
    all
}

fn traits(how: &'static str, hasher: &'static str, policy: &'static str) -> Traits {
    Traits {
        how,
        hasher,
        policy,
    }
}

fn ours<K: Key>() -> Vec<Entry<K>> {
    let visit = |cache: &mut unsync::LruCache<K, u64>, key: &K, value| match cache.get(key) {
        Some(found) => *found == value,
        None => cache.insert(key.clone(), value).is_some(),
    };
    let aged = |capacity| unsync::LruCache::<K, u64>::new(capacity, DAY);
    let ageless = |capacity| {
        unsync::LruCache::builder()
            .max_entries(capacity)
            .build()
            .expect("a bound is set")
    };
    vec![
        Entry::unsync(
            UNSYNC,
            traits(
                "`get` or `insert`, `ttl` of a day, default clock",
                AHASH,
                EXACT,
            ),
            aged,
            visit,
        ),
        Entry::unsync(
            UNSYNC_AGELESS,
            traits("`get` or `insert`", AHASH, EXACT),
            ageless,
            visit,
        ),
    ]
}

fn unsync_peers<K: Key>() -> Vec<Entry<K>> {
    vec![
        Entry::unsync(
            "`lru`",
            traits("`get` or `put`", FOLDHASH, EXACT),
            |capacity| {
                lru::LruCache::<K, u64>::new(
                    NonZeroUsize::new(capacity).expect("room for one entry"),
                )
            },
            |cache, key: &K, value| match cache.get(key) {
                Some(found) => *found == value,
                None => cache.put(key.clone(), value).is_some(),
            },
        ),
        Entry::unsync(
            "`schnellru`",
            traits("`get` or `insert`", AHASH, EXACT),
            |capacity| {
                let length = u32::try_from(capacity).expect("a small capacity");
                schnellru::LruMap::<K, u64>::new(schnellru::ByLength::new(length))
            },
            |cache, key: &K, value| match cache.get(key) {
                Some(found) => *found == value,
                None => !cache.insert(key.clone(), value),
            },
        ),
        Entry::unsync(
            MANUAL_TTL,
            traits(
                "`get` and a check of the age, or `insert`; reads the clock of `coarsetime`",
                AHASH,
                EXACT,
            ),
            |capacity| {
                let length = u32::try_from(capacity).expect("a small capacity");
                schnellru::LruMap::<K, (u64, Instant)>::new(schnellru::ByLength::new(length))
            },
            |cache, key: &K, value| {
                let now = Instant::now_without_cache_update();
                match cache.get(key) {
                    Some((found, written)) if now.duration_since(*written) < DAY.into() => {
                        *found == value
                    }
                    _ => !cache.insert(key.clone(), (value, now)),
                }
            },
        ),
        Entry::unsync(
            "`hashlink`",
            traits("`raw_entry_mut`, `to_back`", FOLDHASH, EXACT),
            hashlink::LruCache::<K, u64>::new,
            |cache, key: &K, value| match cache.raw_entry_mut().from_key(key) {
                RawEntryMut::Occupied(mut entry) => {
                    entry.to_back();
                    *entry.get() == value
                }
                RawEntryMut::Vacant(entry) => {
                    entry.insert(key.clone(), value);
                    false
                }
            },
        ),
        Entry::unsync(
            "`quick_cache` unsync",
            traits("`get` or `insert`", FOLDHASH, BY_S3_FIFO),
            QuickUnsync::<K, u64>::new,
            |cache, key: &K, value| match cache.get(key) {
                Some(found) => *found == value,
                None => {
                    cache.insert(key.clone(), value);
                    false
                }
            },
        )
        .learning(),
        Entry::unsync(
            TTL_CACHE,
            traits("`get` or `insert`, a ttl of a day", SIPHASH, "FIFO"),
            ttl_cache::TtlCache::<K, u64>::new,
            |cache, key: &K, value| match cache.get(key) {
                Some(found) => *found == value,
                None => cache.insert(key.clone(), value, DAY).is_some(),
            },
        ),
    ]
}

fn shared<K: Key>() -> Vec<Entry<K>> {
    let visit_moka = |cache: &moka::sync::Cache<K, u64>, key: &K, value| match cache.get(key) {
        Some(found) => found == value,
        None => {
            cache.insert(key.clone(), value);
            false
        }
    };
    let moka = |capacity| {
        moka::sync::Cache::builder()
            .max_capacity(capacity as u64)
            .time_to_live(DAY)
    };
    let get_or_insert_ttl = "`get` or `insert`, a ttl of a day";
    vec![
        Entry::shared(
            SHARED,
            traits(
                "`get` or `insert`, `ttl` of a day, default clock",
                AHASH,
                BY_SHARD,
            ),
            |capacity| leakproof::LruCache::<K, u64>::new(capacity, DAY),
            |cache, key: &K, value| match cache.get(key) {
                Some(found) => found == value,
                None => cache.insert(key.clone(), value).is_some(),
            },
        ),
        Entry::shared(
            S3_FIFO,
            traits("the same, `Policy::S3Fifo`", AHASH, ADAPTIVE),
            |capacity| {
                leakproof::LruCache::<K, u64>::builder()
                    .max_entries(capacity)
                    .ttl(DAY)
                    .policy(Policy::S3Fifo)
                    .build()
                    .expect("a bound is set")
            },
            |cache, key: &K, value| match cache.get(key) {
                Some(found) => found == value,
                None => cache.insert(key.clone(), value).is_some(),
            },
        )
        .learning(),
        Entry::shared(
            QUICK,
            traits("`get` or `insert`", FOLDHASH, BY_S3_FIFO),
            quick_cache::sync::Cache::<K, u64>::new,
            |cache, key: &K, value| match cache.get(key) {
                Some(found) => found == value,
                None => {
                    cache.insert(key.clone(), value);
                    false
                }
            },
        )
        .learning(),
        Entry::shared(
            MINI_MOKA,
            traits(get_or_insert_ttl, SIPHASH, TINY_LFU),
            |capacity| {
                let builder = mini_moka::sync::Cache::<K, u64>::builder();
                builder
                    .max_capacity(capacity as u64)
                    .time_to_live(DAY)
                    .build()
            },
            |cache, key: &K, value| match cache.get(key) {
                Some(found) => found == value,
                None => {
                    cache.insert(key.clone(), value);
                    false
                }
            },
        )
        .slow()
        .learning(),
        Entry::shared(
            MOKA,
            traits(get_or_insert_ttl, SIPHASH, TINY_LFU),
            move |capacity| moka(capacity).build(),
            visit_moka,
        )
        .slow()
        .learning(),
        Entry::shared(
            "`moka`, ttl, LRU policy",
            traits("the same, `EvictionPolicy::lru()`", SIPHASH, EXACT),
            move |capacity| {
                moka(capacity)
                    .eviction_policy(EvictionPolicy::lru())
                    .build()
            },
            visit_moka,
        )
        .slow(),
    ]
}
