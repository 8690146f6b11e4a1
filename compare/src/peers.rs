//! The contestants from elsewhere: the standard library's sets, and crates with an entry bound.
//!
//! Each uses its fastest calls. If these promote an id at a hit, which deduplication does not want,
//! a second contestant checks without promotion.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::time::Duration;

use hashlink::linked_hash_map::RawEntryMut;

use crate::contestant::{Contestant, Entry, Setup};

pub(crate) const STD_GROWING: &str = "`HashSet<String>`, growing";
pub(crate) const STD_RESERVED: &str = "`HashSet<String>`, reserved";
pub(crate) const SCHNELLRU: &str = "`schnellru`";
pub(crate) const HASHLINK: &str = "`hashlink`";
pub(crate) const MOKA: &str = "`moka`, ttl and capacity";

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Events between two sweeps of the manually swept map.
const SWEEP_EVERY: u64 = 100_000;

pub(crate) fn unbounded() -> Vec<Entry> {
    vec![
        Entry::new::<Growing>(STD_GROWING, "`insert(id.to_owned())`, never forgets"),
        Entry::new::<Reserved>(STD_RESERVED, "the same, `with_capacity` for all ids"),
        Entry::new::<ReservedAhash>(
            "`HashSet<String, ahash>`, reserved",
            "the same, hashed by `ahash`",
        ),
        Entry::new::<Swept>(
            "`HashMap<String, u64>`, swept",
            "`get` or `insert`, `retain` every 100,000 events",
        ),
    ]
}

/// Returns the single-threaded contestants with an entry bound.
pub(crate) fn bounded() -> Vec<Entry> {
    vec![
        Entry::new::<Lru>("`lru`", "`contains` or `put`"),
        Entry::new::<LruPut>("`lru`, hits move", "`put(id.to_owned())`"),
        Entry::new::<Schnellru>(SCHNELLRU, "`peek` or `insert`"),
        Entry::new::<SchnellruEntry>("`schnellru`, hits move", "`get_or_insert`"),
        Entry::new::<Hashlink>(HASHLINK, "`raw_entry_mut`"),
        Entry::new::<TtlCached>("`ttl_cache`", "`contains_key` or `insert`, a ttl of a day"),
        Entry::new::<QuickUnsync>("`quick_cache` unsync", "`contains_key` or `insert`"),
    ]
}

pub(crate) fn shared() -> Vec<Entry> {
    vec![
        Entry::new::<Quick>("`quick_cache` sync", "`contains_key` or `insert`"),
        Entry::new::<MiniMoka>("`mini-moka`", "`contains_key` or `insert`, a ttl of a day").slow(),
        Entry::new::<Moka>(MOKA, "`entry_by_ref().or_insert()`, a ttl of a day").slow(),
        Entry::new::<MokaLru>("`moka`, LRU policy", "the same, `EvictionPolicy::lru()`").slow(),
    ]
}

struct Growing(HashSet<String>);

impl Contestant for Growing {
    fn new(_: Setup) -> Self {
        Self(HashSet::new())
    }

    // Without `get` first: four of five ids are new, and `get` would hash and probe twice for
    // these.
    fn insert(&mut self, _: u64, id: &str) -> bool {
        self.0.insert(id.to_owned())
    }
}

struct Reserved(HashSet<String>);

impl Contestant for Reserved {
    fn new(setup: Setup) -> Self {
        Self(HashSet::with_capacity(room(setup)))
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        self.0.insert(id.to_owned())
    }
}

struct ReservedAhash(HashSet<String, ahash::RandomState>);

impl Contestant for ReservedAhash {
    fn new(setup: Setup) -> Self {
        Self(HashSet::with_capacity_and_hasher(
            room(setup),
            ahash::RandomState::new(),
        ))
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        self.0.insert(id.to_owned())
    }
}

/// Returns the capacity of a set that removes nothing: the ids of the warm-up and of the timed
/// events, about 1.55 windows, so that it does not grow while it is timed.
fn room(setup: Setup) -> usize {
    if setup.bound == setup.capacity {
        setup.capacity
    } else {
        setup.capacity * 16 / 10
    }
}

/// A common manual solution: a map with the time of each id, and periodic sweeps.
struct Swept {
    seen: HashMap<String, u64>,
    window: u64,
}

impl Contestant for Swept {
    fn new(setup: Setup) -> Self {
        Self {
            seen: HashMap::new(),
            window: setup.window,
        }
    }

    fn insert(&mut self, tick: u64, id: &str) -> bool {
        if tick % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.seen
                .retain(|_, recorded| tick - *recorded < self.window);
        }
        let is_fresh = self
            .seen
            .get(id)
            .is_none_or(|recorded| tick - recorded >= self.window);
        if is_fresh {
            self.seen.insert(id.to_owned(), tick);
        }
        is_fresh
    }
}

fn lru_capacity(setup: Setup) -> NonZeroUsize {
    NonZeroUsize::new(setup.capacity).expect("room for one id")
}

struct Lru(lru::LruCache<String, ()>);

impl Contestant for Lru {
    fn new(setup: Setup) -> Self {
        Self(lru::LruCache::new(lru_capacity(setup)))
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        !self.0.contains(id) && self.0.put(id.to_owned(), ()).is_none()
    }
}

struct LruPut(lru::LruCache<String, ()>);

impl Contestant for LruPut {
    fn new(setup: Setup) -> Self {
        Self(lru::LruCache::new(lru_capacity(setup)))
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        self.0.put(id.to_owned(), ()).is_none()
    }
}

fn schnellru(setup: Setup) -> schnellru::LruMap<String, ()> {
    schnellru::LruMap::new(schnellru::ByLength::new(
        u32::try_from(setup.capacity).expect("a small capacity"),
    ))
}

struct Schnellru(schnellru::LruMap<String, ()>);

impl Contestant for Schnellru {
    fn new(setup: Setup) -> Self {
        Self(schnellru(setup))
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        self.0.peek(id).is_none() && self.0.insert(id.to_owned(), ())
    }
}

struct SchnellruEntry(schnellru::LruMap<String, ()>);

impl Contestant for SchnellruEntry {
    fn new(setup: Setup) -> Self {
        Self(schnellru(setup))
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        let mut is_fresh = false;
        self.0.get_or_insert(id, || is_fresh = true);
        is_fresh
    }
}

struct Hashlink(hashlink::LruCache<String, ()>);

impl Contestant for Hashlink {
    fn new(setup: Setup) -> Self {
        Self(hashlink::LruCache::new(setup.capacity))
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        // One hash for check and insert, and hits are not promoted.
        match self.0.raw_entry_mut().from_key(id) {
            RawEntryMut::Occupied(_) => false,
            RawEntryMut::Vacant(entry) => {
                entry.insert(id.to_owned(), ());
                true
            }
        }
    }
}

struct TtlCached(ttl_cache::TtlCache<String, ()>);

impl Contestant for TtlCached {
    fn new(setup: Setup) -> Self {
        Self(ttl_cache::TtlCache::new(setup.capacity))
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        !self.0.contains_key(id) && self.0.insert(id.to_owned(), (), DAY).is_none()
    }
}

struct QuickUnsync(quick_cache::unsync::Cache<String, ()>);

impl Contestant for QuickUnsync {
    fn new(setup: Setup) -> Self {
        Self(quick_cache::unsync::Cache::new(setup.capacity))
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        let is_fresh = !self.0.contains_key(id);
        if is_fresh {
            self.0.insert(id.to_owned(), ());
        }
        is_fresh
    }
}

struct Quick(quick_cache::sync::Cache<String, ()>);

impl Contestant for Quick {
    fn new(setup: Setup) -> Self {
        Self(quick_cache::sync::Cache::new(setup.capacity))
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        let is_fresh = !self.0.contains_key(id);
        if is_fresh {
            self.0.insert(id.to_owned(), ());
        }
        is_fresh
    }
}

/// Lookups need a `&String`, so one is kept for them.
struct MiniMoka {
    cache: mini_moka::sync::Cache<String, ()>,
    id: String,
}

impl Contestant for MiniMoka {
    fn new(setup: Setup) -> Self {
        let builder = mini_moka::sync::Cache::builder();
        let cache = builder
            .max_capacity(setup.capacity as u64)
            .time_to_live(DAY)
            .build();
        Self {
            cache,
            id: String::new(),
        }
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        self.id.clear();
        self.id.push_str(id);
        let is_fresh = !self.cache.contains_key(&self.id);
        if is_fresh {
            self.cache.insert(self.id.clone(), ());
        }
        is_fresh
    }
}

type MokaCache<S> = moka::sync::Cache<String, (), S>;

fn moka_insert<S: BuildHasher + Clone + Send + Sync + 'static>(
    cache: &MokaCache<S>,
    id: &str,
) -> bool {
    cache.entry_by_ref(id).or_insert(()).is_fresh()
}

struct Moka(moka::sync::Cache<String, ()>);

impl Contestant for Moka {
    fn new(setup: Setup) -> Self {
        Self(
            moka::sync::Cache::builder()
                .max_capacity(setup.capacity as u64)
                .time_to_live(DAY)
                .build(),
        )
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        moka_insert(&self.0, id)
    }
}

struct MokaLru(moka::sync::Cache<String, ()>);

impl Contestant for MokaLru {
    fn new(setup: Setup) -> Self {
        let builder = moka::sync::Cache::builder()
            .max_capacity(setup.capacity as u64)
            .time_to_live(DAY);
        Self(
            builder
                .eviction_policy(moka::policy::EvictionPolicy::lru())
                .build(),
        )
    }

    fn insert(&mut self, _: u64, id: &str) -> bool {
        moka_insert(&self.0, id)
    }
}
