//! What takes part in the measurements of caches, and how it is fed events.

use std::thread;

use super::event::{Event, Key};

/// A cache by name, with what it takes to run it.
pub(crate) struct Entry<K> {
    pub(crate) name: &'static str,
    pub(crate) traits: Traits,
    pub(crate) is_shared: bool,
    /// It needs so long that it is timed on fewer events.
    pub(crate) is_slow: bool,
    /// What it holds depends on more than the last events by which it can be filled: it counts uses.
    pub(crate) is_learning: bool,
    /// Makes one of this capacity.
    pub(crate) make: Box<dyn Fn(usize) -> Box<dyn Contestant<K>>>,
}

/// What one should know to compare fairly.
#[derive(Clone, Copy)]
pub(crate) struct Traits {
    /// How it is used.
    pub(crate) how: &'static str,
    pub(crate) hasher: &'static str,
    pub(crate) policy: &'static str,
}

/// A cache.
pub(crate) trait Contestant<K> {
    /// Looks up the key of each event, and stores the value where it is not found; how many were found.
    ///
    /// The events are divided among so many threads.
    fn play(&mut self, events: &[Event<K>], threads: usize) -> usize;
}

impl<K: Key> Entry<K> {
    /// A cache for one thread. `visit` looks a key up, or else stores it with the value; whether this very value was
    /// found.
    pub(crate) fn unsync<C: 'static>(
        name: &'static str,
        traits: Traits,
        new: impl Fn(usize) -> C + 'static,
        visit: impl Fn(&mut C, &K, u64) -> bool + Copy + 'static,
    ) -> Self {
        let make = move |capacity| {
            Box::new(Unsync {
                cache: new(capacity),
                visit,
            }) as Box<dyn Contestant<K>>
        };
        Self {
            name,
            traits,
            is_shared: false,
            is_slow: false,
            is_learning: false,
            make: Box::new(make),
        }
    }

    /// [`unsync`](Self::unsync) for a cache that threads share.
    pub(crate) fn shared<C: Sync + 'static>(
        name: &'static str,
        traits: Traits,
        new: impl Fn(usize) -> C + 'static,
        visit: impl Fn(&C, &K, u64) -> bool + Copy + Sync + 'static,
    ) -> Self {
        let make = move |capacity| {
            Box::new(Shared {
                cache: new(capacity),
                visit,
            }) as Box<dyn Contestant<K>>
        };
        Self {
            name,
            traits,
            is_shared: true,
            is_slow: false,
            is_learning: false,
            make: Box::new(make),
        }
    }

    pub(crate) fn slow(self) -> Self {
        Self {
            is_slow: true,
            ..self
        }
    }

    pub(crate) fn learning(self) -> Self {
        Self {
            is_learning: true,
            ..self
        }
    }
}

struct Unsync<C, F> {
    cache: C,
    visit: F,
}

impl<K: Key, C, F: Fn(&mut C, &K, u64) -> bool> Contestant<K> for Unsync<C, F> {
    fn play(&mut self, events: &[Event<K>], threads: usize) -> usize {
        assert_eq!(threads, 1, "it cannot be shared");
        events
            .iter()
            .filter(|event| (self.visit)(&mut self.cache, &event.key, event.value))
            .count()
    }
}

struct Shared<C, F> {
    cache: C,
    visit: F,
}

impl<K: Key, C: Sync, F: Fn(&C, &K, u64) -> bool + Sync> Contestant<K> for Shared<C, F> {
    fn play(&mut self, events: &[Event<K>], threads: usize) -> usize {
        let play = |part: &[Event<K>]| {
            part.iter()
                .filter(|event| (self.visit)(&self.cache, &event.key, event.value))
                .count()
        };
        let mut parts = events.chunks(events.len().div_ceil(threads).max(1));
        let own = parts.next().unwrap_or_default();
        thread::scope(|scope| {
            let play = &play;
            let others: Vec<_> = parts.map(|part| scope.spawn(move || play(part))).collect();
            play(own)
                + others
                    .into_iter()
                    .map(|other| other.join().expect("no panic"))
                    .sum::<usize>()
        })
    }
}
