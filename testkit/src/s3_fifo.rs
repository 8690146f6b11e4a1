//! The reference model of `Policy::S3Fifo`: which entries it evicts, in which order.
//!
//! It follows the description of the policy, with plain queues. A cache of up to 39 entries keeps
//! each kind of hash of evicted keys in one ring of 31, as the reference does.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex};

use leakproof::unsync::LruCache;
use leakproof::{Policy, RemovalCause};

/// Entries up to which the reference is exact.
pub const MAX_ENTRIES: usize = 39;

/// One step.
#[derive(Clone, Debug)]
pub enum Op {
    /// Reads a key, and inserts it if it is absent.
    Visit {
        key: u8,
        weight: u8,
    },
    Insert {
        key: u8,
        weight: u8,
    },
    Get(u8),
    Remove(u8),
    SetMaxWeight(u8),
}

struct Entry {
    key: u8,
    weight: u64,
    hits: u8,
}

/// The last 31 keys that were added. A removed one leaves a hole.
#[derive(Default)]
struct Ring(VecDeque<Option<u8>>);

impl Ring {
    fn add(&mut self, key: u8) {
        self.0.push_back(Some(key));
        if self.0.len() > 31 {
            self.0.pop_front();
        }
    }

    fn remove(&mut self, key: u8) -> bool {
        let found = self.0.iter_mut().find(|it| **it == Some(key));
        found.map(Option::take).is_some()
    }
}

/// The small queue is number 0, and the main queue number 1. Their oldest entries come first.
#[derive(Default)]
struct Reference {
    max_entries: usize,
    max_weight: u64,
    queues: [VecDeque<Entry>; 2],
    ghosts: Ring,
    evicted_lately: [Ring; 2],
    regrets: [f64; 2],
    share: f64,
    evicted: Vec<u8>,
}

impl Reference {
    fn weight(&self, queue: usize) -> u64 {
        self.queues[queue].iter().map(|entry| entry.weight).sum()
    }

    fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    fn find(&mut self, key: u8) -> Option<&mut Entry> {
        self.queues.iter_mut().flatten().find(|it| it.key == key)
    }

    fn hit(&mut self, key: u8) -> bool {
        let found = self.find(key);
        found.map(|it| it.hits = (it.hits + 1).min(3)).is_some()
    }

    fn remove(&mut self, key: u8) {
        for queue in &mut self.queues {
            queue.retain(|it| it.key != key);
        }
    }

    fn evict(&mut self, entries: usize, weight: u64, kept: Option<u8>) {
        while self.len() + entries > self.max_entries
            || self.weight(0) + self.weight(1) + weight > self.max_weight
        {
            self.evict_one(kept);
        }
    }

    fn evict_one(&mut self, kept: Option<u8>) {
        let mut spared = 0;
        loop {
            let total = self.weight(0) + self.weight(1);
            let mut is_small = self.weight(0) as f64 >= self.share * total as f64;
            for (at, queue) in self.queues.iter().enumerate() {
                if queue.len() == 1 && Some(queue[0].key) == kept {
                    is_small = at == 1;
                }
            }
            let queue = usize::from(!is_small);
            let mut entry = self.queues[queue].pop_front().expect("an entry");
            let is_worthy = entry.hits >= if is_small { 2 } else { 1 };
            if kept == Some(entry.key) || is_worthy && spared < 32 {
                spared += 1;
                entry.hits = if is_small {
                    0
                } else {
                    entry.hits.saturating_sub(1)
                };
                self.queues[1].push_back(entry);
                continue;
            }
            if is_small {
                self.ghosts.add(entry.key);
            }
            self.evicted_lately[queue].add(entry.key);
            self.evicted.push(entry.key);
            return;
        }
    }

    /// Learns from the return of a key which queue evicts too early. What the small queue evicted
    /// counts only with its ghost.
    fn learn(&mut self, key: u8, has_ghost: bool) {
        let [small, main] = &mut self.evicted_lately;
        let regretted = [has_ghost && small.remove(key), main.remove(key)];
        for queue in [0, 1] {
            self.regrets[queue] += f64::from(u8::from(regretted[queue]));
        }
        let [small, main] = self.regrets;
        if regretted == [false; 2] || small + main < 100.0 {
            return;
        }
        let step = (1.0 / self.len() as f64).max(self.share.min(1.0 - self.share) / 1_000.0);
        if small >= 2.0 * main {
            self.share = (self.share + step).min(0.99);
        } else if main >= 2.0 * small {
            self.share = (self.share - step).max(0.01);
        }
        self.regrets = self.regrets.map(|regrets| regrets * 0.8);
    }

    fn insert(&mut self, key: u8, weight: u64) {
        if weight > self.max_weight {
            self.remove(key);
            return;
        }
        if self.hit(key) {
            self.find(key).expect("it was hit").weight = weight;
            self.evict(0, 0, Some(key));
            return;
        }
        let has_ghost = self.ghosts.remove(key);
        self.learn(key, has_ghost);
        self.evict(1, weight, None);
        self.queues[usize::from(has_ghost)].push_back(Entry {
            key,
            weight,
            hits: 0,
        });
    }
}

/// Hashes of different keys differ in every part that a cache uses.
#[derive(Clone)]
struct PlainHash(u64);

impl BuildHasher for PlainHash {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        self.clone()
    }
}

impl Hasher for PlainHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (u64::from(byte) + 1) << 48 | u64::from(byte) << 32;
        }
    }
}

/// Runs the operations on a cache and on the reference, and compares what they evict.
pub fn run(max_entries: usize, max_weight: u64, ops: &[Op]) {
    assert!(max_entries <= MAX_ENTRIES);
    let evicted = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&evicted);
    let mut cache = LruCache::<u8, u8>::builder()
        .max_entries(max_entries)
        .max_weight(max_weight)
        .weigher(|_, &weight| u32::from(weight))
        .policy(Policy::S3Fifo)
        .hasher(PlainHash(0))
        .on_removal(move |&key, _, cause| {
            if cause == RemovalCause::Evicted {
                log.lock().expect("not poisoned").push(key);
            }
        })
        .build()
        .expect("valid limits");
    let mut model = Reference {
        max_entries,
        max_weight,
        share: 0.1,
        ..Reference::default()
    };
    for op in ops {
        match *op {
            Op::Visit { key, weight } => {
                let is_hit = cache.get(&key).is_some();
                assert_eq!(is_hit, model.hit(key));
                if !is_hit {
                    cache.insert(key, weight);
                    model.insert(key, u64::from(weight).max(1));
                }
            }
            Op::Insert { key, weight } => {
                cache.insert(key, weight);
                model.insert(key, u64::from(weight).max(1));
            }
            Op::Get(key) => assert_eq!(cache.get(&key).is_some(), model.hit(key)),
            Op::Remove(key) => {
                cache.remove(&key);
                model.remove(key);
            }
            Op::SetMaxWeight(max) => {
                model.max_weight = u64::from(max) + 1;
                cache.set_max_weight(model.max_weight).expect("valid");
                model.evict(0, 0, None);
            }
        }
        assert_eq!(*evicted.lock().expect("not poisoned"), model.evicted);
        assert_eq!((cache.len(), cache.weight()), {
            (model.len(), model.weight(0) + model.weight(1))
        });
        cache.validate();
    }
}
