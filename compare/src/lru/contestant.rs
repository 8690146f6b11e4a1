//! The caches that take part, and their events.

use std::thread;

use super::event::{Event, Key};

/// A cache and its properties.
pub(crate) struct Entry<K> {
    pub(crate) name: &'static str,
    pub(crate) traits: Traits,
    pub(crate) is_shared: bool,
    /// Slow caches are timed on fewer events.
    pub(crate) is_slow: bool,
    /// The cache counts uses, so its content depends on more than the last events.
    pub(crate) is_learning: bool,
    /// Creates a cache with this capacity.
    pub(crate) make: Box<dyn Fn(usize) -> Box<dyn Contestant<K>>>,
}

/// The properties that matter for a fair comparison.
#[derive(Clone, Copy)]
pub(crate) struct Traits {
    /// The calls that are measured.
    pub(crate) how: &'static str,
    pub(crate) hasher: &'static str,
    pub(crate) policy: &'static str,
}

/// A cache.
pub(crate) trait Contestant<K> {
    /// Looks up the key of each event, and inserts it if it is absent. Returns the number of hits.
    ///
    /// The events are divided among `threads` threads.
    fn play(&mut self, events: &[Event<K>], threads: usize) -> usize;
}

impl<K: Key> Entry<K> {
    /// Creates a cache for one thread. `visit` looks a key up, or inserts it with the value. It
    /// returns `true` if it found this value.
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

    /// The same as [`unsync`](Self::unsync) for a cache that threads share.
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
