//! `Table`: all listeners of a registry, what is behind its one lock.
//!
//! Owns the topics with their lists, a record for each listener in order of registration, and what finds them by key,
//! scope, deadline and owner. A listener is in all of these or in none; a topic without listeners is not kept. No user's
//! code runs in here but the `Eq` of topics: whatever leaves is handed out as [`Departed`], for the caller to drop once the
//! lock is gone.

mod claiming;
mod joining;
mod validate;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;

use super::builder::Limits;
use super::call::{Asks, Call};
use super::counters::{Counters, Departures};
use super::info::ListenerInfo;
use super::list::{List, Pin, after_a_spike};
use super::slot::Slot;
use crate::clock::Nanos;
use crate::hash::DefaultHashBuilder;
use crate::removal::RemovalCause;
use crate::stats::RegistryStats;
pub(super) use claiming::{Claim, Resumed, Settled, Snapshot, Walk};
pub(super) use joining::{Newcomer, Refusal};

pub(super) struct Table<T, E> {
    topics: HashTable<Topic<T, E>>,
    records: BTreeMap<u64, Record<E>>,
    keyed: HashTable<Keyed>,
    /// The members of each generation that has not ended.
    generations: HashMap<u64, BTreeSet<u64>, DefaultHashBuilder>,
    deadlines: BTreeSet<(Nanos, u64)>,
    owned: BTreeSet<u64>,
    /// The number of the next listener or topic.
    next: u64,
    /// How many are silenced by the breaker.
    silenced: usize,
    /// Since there last was room, a listener was turned away at the bound on all.
    is_full: bool,
    pub(super) departures: Departures,
    pub(super) limits: Limits,
    asks: Arc<dyn Call<E>>,
    hasher: DefaultHashBuilder,
    counters: Arc<Counters>,
}

struct Topic<T, E> {
    name: Arc<T>,
    at: Place,
    list: Pin<E>,
    /// Emits since the last listener left.
    calm: u32,
    /// Emits that began with pinning the list, each of which calls every listener, unless it takes that back.
    passes: u64,
    /// Since there last was room in it, a listener was turned away.
    is_full: bool,
}

/// How a topic is found again without its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    hash: u64,
    pub(super) number: u64,
}

struct Record<E> {
    slot: Arc<Slot>,
    call: Arc<dyn Call<E>>,
    topic: Place,
    /// In a row.
    failures: u32,
    silenced_until: Option<Nanos>,
    /// Somebody is trying whether it still fails.
    probed: bool,
}

struct Keyed {
    topic: u64,
    key: Arc<str>,
    listener: u64,
}

/// A listener that has left, with what the user gets to know of it and is still to be dropped.
pub(super) struct Departed<T, E> {
    pub(super) cause: RemovalCause,
    pub(super) topic: Arc<T>,
    pub(super) calls: u64,
    pub(super) failures: u32,
    pub(super) paused: bool,
    pub(super) silenced: bool,
    pub(super) call: Arc<dyn Call<E>>,
    pub(super) slot: Arc<Slot>,
}

impl<T, E: 'static> Table<T, E> {
    pub(super) fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            topics: HashTable::new(),
            records: BTreeMap::new(),
            keyed: HashTable::new(),
            generations: HashMap::default(),
            deadlines: BTreeSet::new(),
            owned: BTreeSet::new(),
            next: 0,
            silenced: 0,
            is_full: false,
            departures: Departures::default(),
            limits,
            asks: Arc::new(Asks),
            hasher: DefaultHashBuilder::default(),
            counters,
        }
    }

    fn topic(&self, at: Place) -> Option<&Topic<T, E>> {
        self.topics.find(at.hash, |topic| topic.at == at)
    }

    fn topic_mut(&mut self, at: Place) -> Option<&mut Topic<T, E>> {
        self.topics.find_mut(at.hash, |topic| topic.at == at)
    }

    fn find<Q: ?Sized + Eq>(&self, hash: u64, name: &Q) -> Option<&Topic<T, E>>
    where
        T: Borrow<Q>,
    {
        self.topics
            .find(hash, |topic| (*topic.name).borrow() == name)
    }

    fn hash_key(&self, topic: u64, key: &str) -> u64 {
        hash_key(&self.hasher, topic, key)
    }

    /// Takes a listener out, if it is in.
    pub(super) fn remove(&mut self, listener: u64, cause: RemovalCause) -> Option<Departed<T, E>> {
        let record = self.records.remove(&listener)?;
        let silenced = record.silenced_until.is_some();
        self.silenced -= usize::from(silenced);
        let slot = record.slot;
        let paused = slot.is_paused();
        slot.detach();
        if let Some(key) = &slot.traits.key {
            let hash = self.hash_key(record.topic.number, key);
            if let Ok(entry) = self
                .keyed
                .find_entry(hash, |keyed| keyed.listener == listener)
            {
                entry.remove();
            }
            if let Some(room) = after_a_spike(self.keyed.len(), self.keyed.capacity()) {
                let hasher = &self.hasher;
                self.keyed
                    .shrink_to(room, |keyed| hash_key(hasher, keyed.topic, &keyed.key));
            }
        }
        if let Some(members) = slot
            .traits
            .generation
            .and_then(|generation| self.generations.get_mut(&generation))
        {
            members.remove(&listener);
        }
        self.deadlines.remove(&(slot.deadline, listener));
        self.owned.remove(&listener);
        self.departures.count(cause);

        let topic = self
            .topic_mut(record.topic)
            .expect("a listener has a topic");
        let name = Arc::clone(&topic.name);
        let at = topic
            .list
            .position(slot.key())
            .expect("a listener is in its topic's list");
        let calls = slot.calls(topic.passes);
        topic.calm = 0;
        List::edit(&mut topic.list).remove(at);
        if topic.list.len() == 0 {
            let entry = self
                .topics
                .find_entry(record.topic.hash, |topic| topic.at == record.topic);
            entry.ok().expect("it was just there").remove();
            if let Some(room) = after_a_spike(self.topics.len(), self.topics.capacity()) {
                self.topics.shrink_to(room, |topic| topic.at.hash);
            }
        }
        Some(Departed {
            cause,
            topic: name,
            calls,
            failures: record.failures,
            paused,
            silenced,
            call: record.call,
            slot,
        })
    }

    /// Takes out a listener, if it is in, for this cause or because it had become too old before.
    pub(super) fn remove_at(
        &mut self,
        now: Nanos,
        listener: u64,
        cause: RemovalCause,
    ) -> Option<Departed<T, E>> {
        let is_too_old = self.records.get(&listener)?.slot.deadline <= now;
        self.remove(
            listener,
            if is_too_old {
                RemovalCause::Expired
            } else {
                cause
            },
        )
    }

    /// Takes out up to `budget` listeners that are too old; whether that may have been all.
    pub(super) fn expire(
        &mut self,
        now: Nanos,
        budget: usize,
        gone: &mut Vec<Departed<T, E>>,
    ) -> bool {
        for _ in 0..budget {
            let Some(&(deadline, listener)) = self.deadlines.first() else {
                return true;
            };
            if deadline > now {
                return true;
            }
            gone.extend(self.remove(listener, RemovalCause::Expired));
        }
        false
    }

    /// Looks at up to `budget` listeners after `cursor` that have owners, and takes out those whose owner is gone; where
    /// to go on.
    pub(super) fn bury(
        &mut self,
        cursor: u64,
        budget: usize,
        gone: &mut Vec<Departed<T, E>>,
    ) -> Option<u64> {
        let looked_at: Vec<u64> = self.owned.range(cursor..).copied().take(budget).collect();
        for listener in &looked_at {
            if self
                .records
                .get(listener)
                .is_some_and(|record| record.call.is_orphan())
            {
                gone.extend(self.remove(*listener, RemovalCause::OwnerDropped));
            }
        }
        looked_at
            .last()
            .filter(|_| looked_at.len() == budget)
            .map(|last| last + 1)
    }

    /// The number of the next listener.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Takes out the oldest listeners with numbers below `before`, up to `budget`; whether that was all.
    pub(super) fn clear(
        &mut self,
        now: Nanos,
        before: u64,
        budget: usize,
        gone: &mut Vec<Departed<T, E>>,
    ) -> bool {
        let oldest: Vec<u64> = self
            .records
            .range(..before)
            .map(|(number, _)| *number)
            .take(budget)
            .collect();
        gone.extend(
            oldest
                .into_iter()
                .filter_map(|listener| self.remove_at(now, listener, RemovalCause::Removed)),
        );
        self.records.range(..before).next().is_none()
    }

    pub(super) fn open(&mut self, generation: u64) {
        self.generations.insert(generation, BTreeSet::new());
    }

    /// Ends a generation.
    pub(super) fn close(&mut self, now: Nanos, generation: u64, gone: &mut Vec<Departed<T, E>>) {
        self.detach_all(now, generation, gone);
        self.generations.remove(&generation);
        if let Some(room) = after_a_spike(self.generations.len(), self.generations.capacity()) {
            self.generations.shrink_to(room);
        }
    }

    /// Takes out the members of a generation.
    pub(super) fn detach_all(
        &mut self,
        now: Nanos,
        generation: u64,
        gone: &mut Vec<Departed<T, E>>,
    ) {
        let members: Vec<u64> = self
            .generations
            .get(&generation)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        gone.extend(
            members
                .into_iter()
                .filter_map(|listener| self.remove_at(now, listener, RemovalCause::ScopeEnded)),
        );
    }

    pub(super) fn len(&self, now: Nanos) -> usize {
        self.records.len() - self.deadlines.range(..=(now, u64::MAX)).count()
    }

    pub(super) fn listener_count<Q: ?Sized + Eq>(&self, hash: u64, name: &Q, now: Nanos) -> usize
    where
        T: Borrow<Q>,
    {
        let slots = self.find(hash, name).map(|topic| &topic.list.slots);
        slots
            .into_iter()
            .flatten()
            .filter(|slot| slot.deadline > now)
            .count()
    }

    pub(super) fn stats(&self, now: Nanos) -> RegistryStats {
        let oldest = self
            .records
            .values()
            .find(|record| record.slot.deadline > now);
        // It may have come in since the time was read.
        let age =
            |record: &Record<E>| Duration::from_nanos(now.saturating_sub(record.slot.registered));
        let mut stats = RegistryStats {
            len: self.len(now),
            max_listeners: self.limits.max_listeners,
            max_per_topic: self.limits.max_per_topic,
            oldest_entry_age: oldest.map(age),
            ttl: self.limits.max_age,
            open_breakers: self.silenced,
            ..RegistryStats::default()
        };
        self.departures.report(&mut stats);
        self.counters.report(&mut stats);
        stats
    }

    /// What is to be told of up to `budget` live listeners from number `from` on, and where to go on.
    pub(super) fn infos(
        &self,
        from: u64,
        budget: usize,
        now: Nanos,
    ) -> (Vec<ListenerInfo<T>>, Option<u64>) {
        let piece: Vec<_> = self.records.range(from..).take(budget).collect();
        let next = piece
            .last()
            .filter(|_| piece.len() == budget)
            .map(|(last, _)| **last + 1);
        let live = piece
            .into_iter()
            .filter(|(_, record)| record.slot.deadline > now);
        let infos = live.map(|(_, record)| {
            let topic = self.topic(record.topic).expect("a listener has a topic");
            let mut info = ListenerInfo::new(&record.slot, Arc::clone(&topic.name), now);
            info.calls = record.slot.calls(topic.passes);
            info.failures = record.failures;
            info.silenced = record.silenced_until.is_some();
            info
        });
        (infos.collect(), next)
    }
}

fn hash_key(hasher: &DefaultHashBuilder, topic: u64, key: &str) -> u64 {
    hasher.hash_one((topic, key))
}

impl<T, E> Departed<T, E> {
    pub(super) fn info(&self, now: Nanos) -> ListenerInfo<T> {
        let mut info = ListenerInfo::new(&self.slot, Arc::clone(&self.topic), now);
        info.calls = self.calls;
        info.failures = self.failures;
        info.paused = self.paused;
        info.silenced = self.silenced;
        info
    }
}

impl Place {
    fn new(hash: u64, number: u64) -> Self {
        Self { hash, number }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{ListenerRegistry, ManualClock};

    #[test]
    fn a_listener_that_came_in_since_the_time_was_read_is_not_older_than_time() {
        let time = ManualClock::new();
        let bus = ListenerRegistry::<u8, u8>::builder()
            .clock(&time)
            .build()
            .expect("sound limits");
        let read_before = 0;
        time.advance(Duration::from_secs(1));
        let guard = bus.on(1, |_| ()).expect("room");
        let stats = bus.inner.table.lock().stats(read_before);
        assert_eq!(stats.oldest_entry_age, Some(Duration::ZERO));
        drop(guard);
    }
}
