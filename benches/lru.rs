//! Criterion benchmarks of the caches, one per operation, to measure the effect of a change.
//!
//! `compare` measures against other crates, in the steady state.

use std::cell::Cell;
use std::hash::Hash;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use leakproof::{Clock, LruCache, ManualClock, unsync};

/// The bound of the caches. There are several times as many keys, so that new ones evict old ones.
const LIVE: usize = 100_000;
const KEYS: usize = 4 * LIVE;
/// Entries that expire at once.
const EXPIRED: usize = 10_000;
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

trait Key: Clone + Eq + Hash + Send + 'static {
    fn new(number: u64) -> Self;
}

impl Key for u64 {
    fn new(number: u64) -> Self {
        mixed(number)
    }
}

/// 24 bytes.
impl Key for String {
    fn new(number: u64) -> Self {
        format!("session:{:016x}", mixed(number))
    }
}

/// Maps numbers one to one to numbers spread over the whole range.
fn mixed(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The operations of both caches, one of which takes `&mut self` and borrows values.
trait Cache<K> {
    fn with(max_entries: usize, clock: Clock) -> Self;
    fn lookup(&mut self, key: &K) -> bool;
    fn store(&mut self, key: &K) -> bool;
    fn get_or_compute(&mut self, key: &K) -> u64;
    fn remove_expired(&mut self) -> usize;
}

macro_rules! impl_cache {
    ($cache:ty) => {
        impl<K: Key> Cache<K> for $cache {
            fn with(max_entries: usize, clock: Clock) -> Self {
                let builder = <$cache>::builder().max_entries(max_entries).ttl(MAX_AGE);
                builder.clock(clock).build().expect("bounds are set")
            }

            fn lookup(&mut self, key: &K) -> bool {
                black_box(self.get(key)).is_some()
            }

            fn store(&mut self, key: &K) -> bool {
                self.insert(key.clone(), 1).is_some()
            }

            fn get_or_compute(&mut self, key: &K) -> u64 {
                self.get_or_insert_with(key, || 1)
            }

            fn remove_expired(&mut self) -> usize {
                self.sweep()
            }
        }
    };
}

impl_cache!(unsync::LruCache<K, u64>);
impl_cache!(LruCache<K, u64>);

/// Keys that are handed out in turn, round and round.
struct Keys<K> {
    keys: Vec<K>,
    next: Cell<usize>,
}

impl<K: Key> Keys<K> {
    fn new(keys: impl Iterator<Item = u64>) -> Self {
        Self {
            keys: keys.map(K::new).collect(),
            next: Cell::new(0),
        }
    }

    fn next(&self) -> &K {
        let at = self.next.get();
        self.next.set((at + 1) % self.keys.len());
        &self.keys[at]
    }
}

/// Returns numbers below [`KEYS`], low ones more often: two thirds are below [`LIVE`].
fn skewed() -> impl Iterator<Item = u64> {
    let fractions = (0..KEYS as u64).map(|number| mixed(number) as f64 / u64::MAX as f64);
    fractions.map(|fraction| (fraction.powi(3) * (KEYS - 1) as f64) as u64)
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    group
}

fn operations<K: Key, C: Cache<K>>(criterion: &mut Criterion, name: &str) {
    let all = Keys::<K>::new(0..KEYS as u64);
    all.next.set(LIVE);
    let live = Keys::<K>::new(0..LIVE as u64);
    // Shards that fill before the others have evicted some of the first keys.
    let known = Keys::<K>::new((LIVE / 2..LIVE).map(|number| number as u64));
    let unknown = Keys::<K>::new((KEYS..KEYS + LIVE).map(|number| number as u64));
    let skewed = Keys::<K>::new(skewed());
    let full = || {
        let mut cache = C::with(LIVE, Clock::default());
        live.keys.iter().for_each(|key| assert!(!cache.store(key)));
        cache
    };
    let mut group = group(criterion, name);
    let mut cache = full();
    group.bench_function("get, hit", |bench| {
        bench.iter(|| cache.lookup(black_box(known.next())));
    });
    group.bench_function("get, miss", |bench| {
        bench.iter(|| cache.lookup(black_box(unknown.next())));
    });
    group.bench_function("get_or_insert_with, hit", |bench| {
        bench.iter(|| cache.get_or_compute(black_box(known.next())));
    });
    group.bench_function("get_or_insert_with, evicting", |bench| {
        bench.iter(|| cache.get_or_compute(black_box(all.next())));
    });
    group.bench_function("insert, evicting", |bench| {
        bench.iter(|| cache.store(black_box(all.next())));
    });
    group.bench_function("get, or else insert", |bench| {
        bench.iter(|| {
            let key = black_box(skewed.next());
            cache.lookup(key) || cache.store(key)
        });
    });
    group.throughput(Throughput::Elements(EXPIRED as u64));
    group.bench_function(format!("sweep of {EXPIRED} expired"), |bench| {
        bench.iter_batched(|| expired::<K, C>(&live), sweep, BatchSize::LargeInput);
    });
}

/// Returns a cache whose entries are all expired.
fn expired<K: Key, C: Cache<K>>(keys: &Keys<K>) -> C {
    let time = ManualClock::new();
    // Twice the bound, because shards are not equally full.
    let mut cache = C::with(2 * EXPIRED, time.clock());
    keys.keys[..EXPIRED]
        .iter()
        .for_each(|key| assert!(!cache.store(key)));
    time.advance(MAX_AGE);
    cache
}

/// Returns the cache, so that its drop is not timed.
fn sweep<K: Key, C: Cache<K>>(mut cache: C) -> C {
    assert_eq!(cache.remove_expired(), EXPIRED);
    cache
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    operations::<u64, unsync::LruCache<u64, u64>>(&mut criterion, "unsync, u64");
    operations::<String, unsync::LruCache<String, u64>>(&mut criterion, "unsync, String");
    operations::<u64, LruCache<u64, u64>>(&mut criterion, "shared, u64");
    operations::<String, LruCache<String, u64>>(&mut criterion, "shared, String");
    criterion.final_summary();
}
