//! Promise 8: no call does more than a small constant number of entries' worth of work. What a call
//! touches is counted from outside: keys hashed, keys and values dropped, cloned and compared.

use std::cell::Cell;
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use leakproof::{Claim, ManualClock, unsync};

const TTL: Duration = Duration::from_secs(3600);
/// The bound on the entries that a call may touch.
const AT_MOST: usize = 64;

thread_local! {
    static TOUCHED: Cell<usize> = const { Cell::new(0) };
}

fn touch() {
    TOUCHED.set(TOUCHED.get() + 1);
}

/// A key or value that counts whatever is done with it.
struct Probe(u64);

impl Hash for Probe {
    fn hash<H: Hasher>(&self, state: &mut H) {
        touch();
        self.0.hash(state);
    }
}

impl PartialEq for Probe {
    fn eq(&self, other: &Self) -> bool {
        touch();
        self.0 == other.0
    }
}

impl Eq for Probe {}

impl Clone for Probe {
    fn clone(&self) -> Self {
        touch();
        Self(self.0)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        touch();
    }
}

/// The entries that `call` touches.
fn touched<R>(call: impl FnOnce() -> R) -> (usize, R) {
    TOUCHED.set(0);
    let result = call();
    (TOUCHED.get(), result)
}

/// The largest number of entries that one call touched.
#[derive(Default)]
struct Most(usize);

impl Most {
    fn check<R>(&mut self, what: &str, call: impl FnOnce() -> R) -> R {
        let (count, result) = touched(call);
        assert!(count <= AT_MOST, "{what} touched {count}");
        self.0 = self.0.max(count);
        result
    }
}

fn map(time: &ManualClock, max: usize) -> unsync::DedupMap<Probe, Probe> {
    unsync::DedupMap::builder()
        .ttl(TTL)
        .max_entries(max)
        .clock(time.clock())
        .build()
        .expect("the limits are valid")
}

#[test]
fn calls_touch_64_entries_while_growing_and_expiring() {
    let time = ManualClock::new();
    let mut seen = map(&time, 1 << 20);
    let mut most = Most::default();
    let entries = 200_000;
    for id in 0..entries {
        most.check("growing", || seen.record(&Probe(id), Probe(id)));
    }
    assert!(most.0 > 4, "no resize happened");
    time.advance(TTL);
    assert_eq!(most.check("len", || seen.len()), 0);
    most.check("stats", || seen.stats());
    for id in 0..entries / 10 {
        most.check("all expired at once", || seen.record(&Probe(id), Probe(id)));
    }
    time.advance(TTL);
    for id in 0..entries {
        most.check("growing again", || seen.record(&Probe(id), Probe(id)));
    }
    for id in 0..entries {
        most.check("removing", || seen.remove(&Probe(id * 7_919 % entries)));
    }
    assert!(seen.is_empty());
    seen.validate();
}

#[test]
fn calls_touch_64_entries_at_bound_and_with_claims() {
    let time = ManualClock::new();
    let mut seen = map(&time, 5_000);
    let mut most = Most::default();
    for id in 0..60_000 {
        time.advance(Duration::from_secs(if id % 10_000 == 9_999 {
            4_000
        } else {
            0
        }));
        let claim = most.check("claiming", || seen.claim(&Probe(id)));
        let Claim::Fresh(token) = claim else {
            panic!("fresh")
        };
        match id % 4 {
            0 => most.check("releasing", || seen.release(token)),
            _ => most
                .check("committing", || seen.commit(token, Probe(id)))
                .expect("within the lease"),
        }
        most.check("contains_key", || seen.contains_key(&Probe(id)));
    }
}

#[test]
fn long_key_evicts_many_ids_and_touches_few() {
    let (entries, bytes) = (100_000, 100_000 * 8);
    let time = ManualClock::new();
    let builder = unsync::DedupMap::<str, Probe>::builder()
        .ttl(TTL)
        .max_entries(1 << 20)
        .max_bytes(bytes);
    let mut seen = builder
        .clock(time.clock())
        .build()
        .expect("the limits are valid");
    for id in 0..entries {
        time.advance(Duration::from_millis(1));
        seen.record(&format!("{id:08}"), Probe(id));
    }
    let long = "x".repeat(bytes - 8 * 10_000);
    Most::default().check("a long key", || seen.record(&long, Probe(0)));
    let stats = seen.stats();
    assert_eq!(
        (stats.evicted, stats.len, stats.bytes),
        (90_000, 10_001, bytes as u64)
    );
    assert_eq!(stats.shortest_window, Some(Duration::from_millis(10_000)));
    seen.validate();
}

/// Counts the keys that are hashed.
#[derive(Clone, Default)]
struct Counting(ahash::RandomState);

impl BuildHasher for Counting {
    type Hasher = ahash::AHasher;

    fn build_hasher(&self) -> ahash::AHasher {
        touch();
        self.0.build_hasher()
    }
}

#[test]
fn resize_hashes_a_few_keys_per_call() {
    let time = ManualClock::new();
    let builder = unsync::DedupSet::<str>::builder()
        .ttl(TTL)
        .max_entries(1 << 20)
        .hasher(Counting::default());
    let mut seen = builder
        .clock(time.clock())
        .build()
        .expect("the limits are valid");
    let mut most = Most::default();
    for id in 0..300_000 {
        let id = id.to_string();
        most.check("growing", || seen.insert(&id));
    }
    time.advance(TTL);
    for id in 0..300_000 {
        let id = id.to_string();
        most.check("shrinking and growing", || seen.insert(&id));
    }
    assert!(
        (2..=9).contains(&most.0),
        "{} keys were hashed by one call",
        most.0
    );
}
