//! Every value is dropped exactly once, on every path, and a panic in a user's code leaves the map
//! consistent.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::support::panicking_types::{Counted, FUSE, Fused};
use crate::support::timeout::in_time;
use leakproof::{Claim, DedupMap, Key, ManualClock, Recorded, unsync};

const TTL: Duration = Duration::from_secs(60);

fn map<K: Key + ?Sized, V>(time: &ManualClock, max: usize) -> unsync::DedupMap<K, V> {
    unsync::DedupMap::builder()
        .ttl(TTL)
        .max_entries(max)
        .clock(time.clock())
        .build()
        .expect("the limits are valid")
}

#[test]
fn values_are_dropped_once_on_every_path() {
    let (time, alive) = (ManualClock::new(), Rc::new(Cell::new(0)));
    let mut seen = map::<str, Counted>(&time, 2_000);
    for id in 0..5_000 {
        time.advance(Duration::from_millis(20));
        let id = id.to_string();
        seen.record(&id, Counted::new(&alive));
        drop(seen.record(&id, Counted::new(&alive)));
        assert_eq!(
            alive.get(),
            seen.len() as isize,
            "evicted values are dropped at once"
        );
    }
    for id in 4_000..4_500 {
        assert!(seen.remove(&id.to_string()).is_some());
        assert_eq!(
            alive.get(),
            seen.len() as isize,
            "removed values are dropped at once"
        );
    }
    if let Claim::Fresh(token) = seen.claim("claimed") {
        time.advance(Duration::from_secs(61));
        let lapsed = seen
            .commit(token, Counted::new(&alive))
            .expect_err("the lease ran out");
        assert_eq!(seen.len(), 0);
        drop(lapsed);
    }
    seen.sweep();
    assert_eq!(alive.get(), 0, "a sweep drops all that expired");
    for id in 0..100 {
        seen.record(&id.to_string(), Counted::new(&alive));
    }
    seen.clear();
    assert_eq!(alive.get(), 0, "clear drops all");
    for id in 0..100 {
        seen.record(&id.to_string(), Counted::new(&alive));
    }
    drop(seen);
    assert_eq!(alive.get(), 0, "so does dropping the map");
}

#[test]
fn keys_are_dropped_once_on_every_path() {
    #[derive(Clone)]
    struct Key {
        id: u64,
        _counted: Counted,
    }
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            self.id == other.id
        }
    }
    impl Eq for Key {}
    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.id.hash(state);
        }
    }
    let (time, alive) = (ManualClock::new(), Rc::new(Cell::new(0)));
    let mut seen = map::<Key, u32>(&time, 500);
    for id in 0..4_000 {
        time.advance(Duration::from_millis(200));
        let key = Key {
            id,
            _counted: Counted::new(&alive),
        };
        match seen.claim(&key) {
            Claim::Fresh(token) if id % 3 == 0 => seen.release(token),
            Claim::Fresh(token) => seen.commit(token, 1).expect("within the lease"),
            _ => panic!("fresh"),
        }
        if id % 7 == 0 {
            seen.remove(&key);
        }
        drop(key);
        assert_eq!(alive.get(), seen.len() as isize);
    }
    seen.validate();
    time.advance(TTL);
    seen.sweep();
    assert_eq!(alive.get(), 0);
}

#[test]
fn drop_of_value_may_use_the_map() {
    struct Reenters(Arc<DedupMap<u64, Reenters>>, Arc<AtomicUsize>);
    impl Clone for Reenters {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0), Arc::clone(&self.1))
        }
    }
    impl Drop for Reenters {
        fn drop(&mut self) {
            self.1.fetch_add(self.0.len(), Ordering::Relaxed);
        }
    }
    let time = ManualClock::new();
    let builder = DedupMap::<u64, Reenters>::builder()
        .ttl(TTL)
        .max_entries(10)
        .shards(1);
    let seen = Arc::new(
        builder
            .clock(time.clock())
            .build()
            .expect("the limits are valid"),
    );
    let calls = Arc::new(AtomicUsize::new(0));
    for id in 0..100 {
        seen.record(&id, Reenters(Arc::clone(&seen), Arc::clone(&calls)));
    }
    seen.remove(&99);
    time.advance(TTL);
    seen.sweep();
    seen.record(&1, Reenters(Arc::clone(&seen), Arc::clone(&calls)));
    seen.clear();
    assert!(calls.load(Ordering::Relaxed) > 0, "and no deadlock");
}

/// A value that uses its map when it is dropped, and does not keep it alive.
struct Uses<K: Key + ?Sized>(Weak<DedupMap<K, Self>>);

impl<K: Key + ?Sized> Clone for Uses<K> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<K: Key + ?Sized> Drop for Uses<K> {
    fn drop(&mut self) {
        if let Some(seen) = self.0.upgrade() {
            assert!(seen.stats().len < 1_000);
        }
    }
}

#[test]
fn drop_of_unstored_value_may_use_the_map() {
    type Call = fn(&DedupMap<str, Uses<str>>, Uses<str>);
    let calls: [Call; 4] = [
        |seen, value| {
            assert!(matches!(
                seen.record("stored", value),
                Recorded::Duplicate { .. }
            ));
        },
        |seen, value| {
            let Claim::Fresh(_ticket) = seen.claim("claimed") else {
                panic!("fresh")
            };
            assert!(matches!(seen.record("claimed", value), Recorded::InFlight));
        },
        |seen, value| {
            assert!(matches!(
                seen.record("longer than may be", value),
                Recorded::Rejected { .. }
            ));
        },
        |seen, value| {
            let Claim::Fresh(ticket) = seen.claim("longer than may be") else {
                panic!("fresh")
            };
            ticket.commit(value).expect("nothing to record");
        },
    ];
    for call in calls {
        in_time(move || {
            let builder = DedupMap::builder()
                .ttl(TTL)
                .max_entries(10)
                .max_bytes(16)
                .shards(1);
            let seen = Arc::new(builder.build().expect("the limits are valid"));
            seen.record("stored", Uses(Arc::downgrade(&seen)));
            call(&seen, Uses(Arc::downgrade(&seen)));
        });
    }
}

#[test]
fn drop_after_panicking_key_clone_may_use_the_map() {
    #[derive(PartialEq, Eq, Hash)]
    struct Unclonable;
    impl Clone for Unclonable {
        fn clone(&self) -> Self {
            panic!("a key's clone")
        }
    }
    in_time(|| {
        let builder = DedupMap::<Unclonable, Uses<Unclonable>>::builder()
            .ttl(TTL)
            .max_entries(10);
        let seen = Arc::new(builder.build().expect("the limits are valid"));
        let value = Uses(Arc::downgrade(&seen));
        assert!(catch_unwind(AssertUnwindSafe(|| seen.record(&Unclonable, value))).is_err());
        assert!(seen.is_empty());
    });
}

#[test]
fn panic_in_user_code_leaves_the_map_consistent() {
    let time = ManualClock::new();
    let builder = unsync::DedupMap::<Fused, Fused>::builder()
        .ttl(TTL)
        .max_entries(400);
    let mut seen = builder
        .clock(time.clock())
        .build()
        .expect("the limits are valid");
    let mut panics = 0;
    for step in 0..30_000_u64 {
        time.advance(Duration::from_millis(if step % 5_000 == 0 {
            90_000
        } else {
            20
        }));
        let id = step * 7_919 % 1_500;
        FUSE.set(usize::MAX);
        let (key, value) = (Fused(id), Fused(step));
        FUSE.set(step as usize % 23);
        let outcome = catch_unwind(AssertUnwindSafe(|| match step % 4 {
            0 => drop(seen.remove(&key)),
            1 => {
                if let Claim::Fresh(token) = seen.claim(&key) {
                    drop(seen.commit(token, value));
                }
            }
            _ => drop(seen.record(&key, value)),
        }));
        FUSE.set(usize::MAX);
        panics += usize::from(outcome.is_err());
        drop(key);
        if step % 64 == 0 {
            seen.validate();
        }
    }
    assert!(panics > 1_000, "the fuse burnt down {panics} times");
    seen.validate();
    time.advance(TTL);
    assert_eq!(seen.len(), 0);
    assert!(
        matches!(seen.claim(&Fused(1)), Claim::Fresh(_)),
        "and it works on"
    );
}
