//! Every value of a cache is dropped exactly once, on every path, and a panic in a user's code leaves it consistent.

use std::cell::Cell;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use leakproof::{LruCache, ManualClock, unsync};

const MINUTE: Duration = Duration::from_secs(60);

/// Counts itself while it is alive.
struct Counted(Rc<Cell<isize>>);

impl Counted {
    fn new(alive: &Rc<Cell<isize>>) -> Self {
        alive.set(alive.get() + 1);
        Self(Rc::clone(alive))
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
        assert!(self.0.get() >= 0, "dropped twice");
    }
}

#[test]
fn values_are_dropped_once_on_every_path() {
    let (time, alive) = (ManualClock::new(), Rc::new(Cell::new(0)));
    let builder = unsync::LruCache::<u32, Counted>::builder().max_entries(500).max_age(MINUTE).max_weight(2_000);
    let mut cache = builder.weigher(|&key, _| key % 7).clock(&time).build().expect("sound limits");
    let check = |cache: &unsync::LruCache<u32, Counted>, what| assert_eq!(alive.get(), cache.len() as isize, "{what}");
    for key in 0..2_000 {
        time.advance(Duration::from_millis(20));
        cache.insert(key, Counted::new(&alive));
        check(&cache, "evicted and expired");
        drop(cache.insert(key, Counted::new(&alive)));
        drop(cache.get_or_insert_with(&(key + 5_000), || Counted::new(&alive)));
        check(&cache, "replaced and computed");
    }
    drop((cache.remove(&1_999), cache.pop_lru(), cache.pop_oldest()));
    check(&cache, "removed");
    cache.retain(|&key, _| key % 2 == 0);
    check(&cache, "not kept");
    cache.resize(50).expect("a sound limit");
    check(&cache, "resized");
    time.advance(MINUTE);
    cache.sweep();
    check(&cache, "swept");
    for key in 0..50 {
        cache.insert(key, Counted::new(&alive));
    }
    cache.clear();
    assert_eq!(alive.get(), 0, "cleared");
    for key in 0..50 {
        cache.insert(key, Counted::new(&alive));
    }
    drop(cache);
    assert_eq!(alive.get(), 0, "dropped with the cache");
}

thread_local! {
    /// Counts down to the panic; none where it is below zero.
    static FUSE: Cell<i32> = const { Cell::new(-1) };
}

fn burn() {
    FUSE.set(FUSE.get() - 1);
    if FUSE.get() == 0 {
        panic!("the fuse has burnt down");
    }
}

/// A key or value that panics when the fuse has burnt down, wherever the cache calls it.
#[derive(Debug)]
struct Fused(u32);

impl Hash for Fused {
    fn hash<H: Hasher>(&self, state: &mut H) {
        burn();
        self.0.hash(state);
    }
}

impl PartialEq for Fused {
    fn eq(&self, other: &Self) -> bool {
        burn();
        self.0 == other.0
    }
}

impl Eq for Fused {}

impl Clone for Fused {
    fn clone(&self) -> Self {
        burn();
        Self(self.0)
    }
}

impl Drop for Fused {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            burn();
        }
    }
}

/// Runs every method of a cache, with a panic at the `fuse`th call of a user's code; whether there were so many.
fn explodes_at(fuse: i32) -> bool {
    let time = ManualClock::new();
    let cache = LruCache::<Fused, Fused>::builder()
        .max_entries(8)
        .max_weight(30)
        .weigher(|_, value| {
            burn();
            value.0 % 12
        })
        .max_age(MINUTE)
        .max_idle(MINUTE / 2)
        .on_removal(|_, _, _| burn())
        .shards(1)
        .clock(&time)
        .build()
        .expect("sound limits");
    FUSE.set(fuse);
    for round in 0..12 {
        let steps: [&dyn Fn(); 10] = [
            &|| drop(cache.insert(Fused(round), Fused(round))),
            &|| drop(cache.insert(Fused(round / 2), Fused(round + 3))),
            &|| drop(cache.get(&Fused(round / 3))),
            &|| drop(cache.try_insert(Fused(round), Fused(11 + round % 2 * 30))),
            &|| drop(cache.get_or_insert_with(&Fused(round + 20), || Fused(1))),
            &|| drop(cache.remove(&Fused(round.wrapping_sub(3)))),
            &|| drop(cache.pop_lru()),
            &|| cache.retain(|key, _| key.0 % 5 != 4),
            &|| drop(cache.scan(Default::default(), 3)),
            &|| time.advance(MINUTE / 5),
        ];
        for step in steps {
            drop(catch_unwind(AssertUnwindSafe(step)));
            cache.validate();
        }
    }
    let burnt = FUSE.get() <= 0;
    FUSE.set(-1);
    assert!(cache.len() <= 8 && cache.weight() <= 30);
    let keys: Vec<u32> = cache.entries_by_recency(100).into_iter().map(|(key, _)| key.0).collect();
    let distinct: HashSet<&u32> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "no key is there twice");
    for key in keys {
        assert!(cache.contains(&Fused(key)), "what is there is found");
    }
    cache.clear();
    assert!(cache.is_empty());
    burnt
}

#[test]
fn a_panic_in_any_call_of_a_users_code_leaves_the_cache_consistent() {
    let calls = (1..10_000).take_while(|&fuse| explodes_at(fuse)).count();
    assert!(calls > 500, "panics at {calls} different calls");
}
