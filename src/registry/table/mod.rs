//! All listeners of a registry, and everything else behind its one lock.
//!
//! Owns the topics with their lists, a record for each listener in order of registration, and the
//! indices by key, scope, deadline and owner. A listener is in all of them or in none. A topic
//! without listeners is not kept. The only user code that runs in here is `Eq` and `Borrow` of
//! topics. Removed listeners are returned as [`RemovedListener`]s, which the caller drops after it
//! has released the lock.

mod admission;
mod dispatch;
mod validate;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;

use super::breaker::{BreakerState, CircuitBreaker};
use super::counters::{Counters, TableCounters};
use super::handler::{ConsultTable, Handler};
use super::info::ListenerInfo;
use super::list::{List, Pin, capacity_after_spike};
use super::listener::{CallOrder, Listener};
use crate::clock::Nanos;
use crate::hash::DefaultHashBuilder;
use crate::removal::RemovalCause;
use crate::stats::RegistryStats;
pub(super) use admission::NewListener;

/// The treatment of a registration at a bound, if no listener has expired or lost its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The registration is rejected, and its handler returned.
    #[default]
    Reject,
    /// The oldest listener is evicted: that of the topic for `max_per_topic`, that of all for
    /// `max_listeners`.
    EvictOldest,
}

/// The validated limits of a registry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_listeners: usize,
    pub(super) max_per_topic: usize,
    pub(super) overflow: Overflow,
    pub(super) ttl: Option<Duration>,
    pub(super) breaker: Option<CircuitBreaker>,
}

pub(super) struct Table<T, E> {
    topics: HashTable<Topic<T, E>>,
    /// Ordered by registration number.
    records: BTreeMap<u64, Record<E>>,
    keyed: HashTable<KeyedListener>,
    /// The listeners of each scope's generation that has any.
    members: HashMap<u64, BTreeSet<u64>, DefaultHashBuilder>,
    deadlines: BTreeSet<(Nanos, u64)>,
    owned: BTreeSet<u64>,
    /// The owned listener that a registration without room checks next.
    next_checked: u64,
    /// Numbers the next listener, topic or removal. One sequence for all three orders them.
    next: u64,
    open_breakers: usize,
    /// Is `true` if a registration was rejected at `max_listeners` since there was room.
    is_full: bool,
    counters: TableCounters,
    limits: Limits,
    consult_table: Arc<dyn Handler<E>>,
    hasher: DefaultHashBuilder,
    shared_counters: Arc<Counters>,
}

struct Topic<T, E> {
    name: Arc<T>,
    id: TopicId,
    list: Pin<E>,
    /// Emits that pinned the list at their beginning. Each counts as a call of every listener on
    /// it.
    pins: u64,
    /// Is `true` if a registration was rejected at `max_per_topic` since there was room.
    is_full: bool,
    /// The index of the listener that a registration without room checks next.
    next_checked: usize,
}

/// Finds a topic without its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicId {
    pub(super) hash: u64,
    pub(super) number: u64,
}

struct Record<E> {
    listener: Arc<Listener>,
    handler: Arc<dyn Handler<E>>,
    topic: TopicId,
    breaker: BreakerState,
}

struct KeyedListener {
    topic: u64,
    key: Arc<str>,
    listener: u64,
}

/// A listener that is no longer in the table and still has to be dropped.
pub(super) struct RemovedListener<T, E> {
    pub(super) cause: RemovalCause,
    pub(super) topic: Arc<T>,
    pub(super) handler: Arc<dyn Handler<E>>,
    pub(super) listener: Arc<Listener>,
    breaker: BreakerState,
    calls: u64,
    paused: bool,
}

impl<T, E: 'static> Table<T, E> {
    pub(super) fn new(limits: Limits, shared_counters: Arc<Counters>) -> Self {
        Self {
            topics: HashTable::new(),
            records: BTreeMap::new(),
            keyed: HashTable::new(),
            members: HashMap::default(),
            deadlines: BTreeSet::new(),
            owned: BTreeSet::new(),
            next_checked: 0,
            next: 0,
            open_breakers: 0,
            is_full: false,
            counters: TableCounters::default(),
            limits,
            consult_table: Arc::new(ConsultTable),
            hasher: DefaultHashBuilder::default(),
            shared_counters,
        }
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Returns the number of the next listener: the present listeners have lower numbers.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Returns the number of scope generations that have listeners.
    #[cfg(test)]
    pub(super) fn scopes(&self) -> usize {
        self.members.len()
    }

    fn topic(&self, id: TopicId) -> Option<&Topic<T, E>> {
        self.topics.find(id.hash, |topic| topic.id == id)
    }

    fn topic_mut(&mut self, id: TopicId) -> Option<&mut Topic<T, E>> {
        self.topics.find_mut(id.hash, |topic| topic.id == id)
    }

    fn find<Q: ?Sized + Eq>(&self, hash: u64, name: &Q) -> Option<&Topic<T, E>>
    where
        T: Borrow<Q>,
    {
        self.topics.find(hash, |topic| topic.is_named(hash, name))
    }

    /// Removes a listener. Returns `None` if it is not in the table.
    pub(super) fn remove(
        &mut self,
        listener: u64,
        cause: RemovalCause,
    ) -> Option<RemovedListener<T, E>> {
        let (removed, topic) = self.remove_record(listener, |_| cause)?;
        self.remove_from_list(topic, &[removed.listener.call_order()]);
        Some(removed)
    }

    /// Removes a listener for this cause, or as expired if its deadline has passed.
    pub(super) fn remove_or_expire(
        &mut self,
        listener: u64,
        cause: RemovalCause,
        now: Nanos,
    ) -> Option<RemovedListener<T, E>> {
        let (removed, topic) = self.remove_record(listener, or_expired(cause, now))?;
        self.remove_from_list(topic, &[removed.listener.call_order()]);
        Some(removed)
    }

    /// Removes listeners as [`remove_or_expire`](Self::remove_or_expire) does, and changes the list
    /// of each topic once.
    fn remove_batch(
        &mut self,
        listeners: &[u64],
        cause: RemovalCause,
        now: Nanos,
        removed: &mut Vec<RemovedListener<T, E>>,
    ) {
        let mut listed: Vec<(TopicId, CallOrder)> = Vec::with_capacity(listeners.len());
        for &listener in listeners {
            let record = self.remove_record(listener, or_expired(cause, now));
            if let Some((listener, topic)) = record {
                listed.push((topic, listener.listener.call_order()));
                removed.push(listener);
            }
        }
        listed.sort_unstable_by_key(|&(topic, order)| (topic.number, order));
        for of_topic in listed.chunk_by(|a, b| a.0 == b.0) {
            let orders: Vec<CallOrder> = of_topic.iter().map(|&(_, order)| order).collect();
            self.remove_from_list(of_topic[0].0, &orders);
        }
    }

    /// Removes a listener from everything but the list of its topic.
    fn remove_record(
        &mut self,
        number: u64,
        cause: impl FnOnce(&Listener) -> RemovalCause,
    ) -> Option<(RemovedListener<T, E>, TopicId)> {
        let record = self.records.remove(&number)?;
        let cause = cause(&record.listener);
        let listener = record.listener;
        let paused = listener.is_paused();
        listener.detach(self.take_number());
        self.open_breakers -= usize::from(record.breaker.is_open());
        if let Some(key) = &listener.options.key {
            self.remove_key(record.topic.number, key, number);
        }
        if let Some(generation) = &listener.options.generation {
            self.remove_member(generation.id(), number);
        }
        self.deadlines.remove(&(listener.deadline, number));
        self.owned.remove(&number);
        self.counters.count_removal(cause);
        let topic = self.topic(record.topic).expect("a listener has a topic");
        let removed = RemovedListener {
            cause,
            topic: Arc::clone(&topic.name),
            calls: listener.calls(topic.pins),
            handler: record.handler,
            listener,
            breaker: record.breaker,
            paused,
        };
        Some((removed, record.topic))
    }

    fn remove_key(&mut self, topic: u64, key: &str, listener: u64) {
        let hash = hash_key(&self.hasher, topic, key);
        let entry = self
            .keyed
            .find_entry(hash, |keyed| keyed.listener == listener);
        if let Ok(entry) = entry {
            entry.remove();
        }
        if let Some(capacity) = capacity_after_spike(self.keyed.len(), self.keyed.capacity()) {
            let hasher = &self.hasher;
            self.keyed
                .shrink_to(capacity, |keyed| hash_key(hasher, keyed.topic, &keyed.key));
        }
    }

    fn remove_member(&mut self, generation: u64, listener: u64) {
        let Some(members) = self.members.get_mut(&generation) else {
            return;
        };
        members.remove(&listener);
        if members.is_empty() {
            self.members.remove(&generation);
            if let Some(capacity) =
                capacity_after_spike(self.members.len(), self.members.capacity())
            {
                self.members.shrink_to(capacity);
            }
        }
    }

    /// Removes listeners, in call order, from the list of their topic. Removes the topic with its
    /// last listener.
    fn remove_from_list(&mut self, id: TopicId, orders: &[CallOrder]) {
        let entry = self.topics.find_entry(id.hash, |topic| topic.id == id);
        let mut entry = entry.ok().expect("a listener has a topic");
        let list = List::edit(&mut entry.get_mut().list);
        let index_of = |&order: &CallOrder| list.index_of(order).expect("a listener is listed");
        match orders {
            [order] => list.remove(&[index_of(order)]),
            orders => {
                let indices: Vec<usize> = orders.iter().map(index_of).collect();
                list.remove(&indices);
            }
        }
        if list.len() == 0 {
            entry.remove();
            if let Some(capacity) = capacity_after_spike(self.topics.len(), self.topics.capacity())
            {
                self.topics.shrink_to(capacity, |topic| topic.id.hash);
            }
        }
    }

    /// Removes up to `budget` expired listeners. Returns `true` if none remains.
    pub(super) fn remove_expired(
        &mut self,
        now: Nanos,
        budget: usize,
        removed: &mut Vec<RemovedListener<T, E>>,
    ) -> bool {
        let expired = self.deadlines.range(..=(now, u64::MAX)).take(budget);
        let expired: Vec<u64> = expired.map(|&(_, listener)| listener).collect();
        self.remove_batch(&expired, RemovalCause::Expired, now, removed);
        expired.len() < budget
    }

    /// Checks up to `budget` listeners with an owner from number `from` on, and removes those whose
    /// owner was dropped. Returns the number to continue from, or `None` at the end.
    pub(super) fn remove_orphans(
        &mut self,
        from: u64,
        budget: usize,
        now: Nanos,
        removed: &mut Vec<RemovedListener<T, E>>,
    ) -> Option<u64> {
        let checked: Vec<u64> = self.owned.range(from..).copied().take(budget).collect();
        let is_orphan = |listener: &u64| self.records[listener].handler.is_orphan();
        let orphans: Vec<u64> = checked.iter().copied().filter(is_orphan).collect();
        self.remove_batch(&orphans, RemovalCause::OwnerDropped, now, removed);
        let last = checked.last()?;
        (checked.len() == budget).then_some(last + 1)
    }

    /// Removes up to `budget` listeners with numbers below `before`, the newest first. Returns
    /// `true` if none remains.
    ///
    /// The newest are at the end of their lists, where a removal moves the fewest listeners.
    pub(super) fn remove_before(
        &mut self,
        before: u64,
        budget: usize,
        now: Nanos,
        removed: &mut Vec<RemovedListener<T, E>>,
    ) -> bool {
        let newest = self.records.range(..before).rev().take(budget);
        let newest: Vec<u64> = newest.map(|(&number, _)| number).collect();
        self.remove_batch(&newest, RemovalCause::Removed, now, removed);
        newest.len() < budget
    }

    /// The same for the listeners of a scope's generation.
    pub(super) fn remove_members(
        &mut self,
        generation: u64,
        before: u64,
        budget: usize,
        now: Nanos,
        removed: &mut Vec<RemovedListener<T, E>>,
    ) -> bool {
        let Some(members) = self.members.get(&generation) else {
            return true;
        };
        let newest: Vec<u64> = members
            .range(..before)
            .rev()
            .copied()
            .take(budget)
            .collect();
        self.remove_batch(&newest, RemovalCause::ScopeEnded, now, removed);
        newest.len() < budget
    }

    /// Returns the number of listeners that have not expired. Takes a step per expired listener.
    pub(super) fn len(&self, now: Nanos) -> usize {
        self.records.len() - self.deadlines.range(..=(now, u64::MAX)).count()
    }

    /// Returns the number of listeners of a topic that have not expired. Takes a step per listener
    /// of the topic, or one step if no listener of the registry has a deadline.
    pub(super) fn listener_count<Q: ?Sized + Eq>(&self, hash: u64, name: &Q, now: Nanos) -> usize
    where
        T: Borrow<Q>,
    {
        let Some(topic) = self.find(hash, name) else {
            return 0;
        };
        if self.deadlines.is_empty() {
            return topic.list.len();
        }
        let live = topic.list.listeners.iter().filter(|it| !it.is_expired(now));
        live.count()
    }

    pub(super) fn stats(&self, now: Nanos) -> RegistryStats {
        let oldest = self
            .records
            .values()
            .find(|record| !record.listener.is_expired(now));
        // The listener may have been registered after `now` was read.
        let age = |record: &Record<E>| {
            Duration::from_nanos(now.saturating_sub(record.listener.registered))
        };
        let mut stats = RegistryStats {
            len: self.len(now),
            max_listeners: self.limits.max_listeners,
            max_per_topic: self.limits.max_per_topic,
            oldest_entry_age: oldest.map(age),
            ttl: self.limits.ttl,
            open_breakers: self.open_breakers,
            ..RegistryStats::default()
        };
        self.counters.report(&mut stats);
        self.shared_counters.report(&mut stats);
        stats
    }

    /// Returns up to `budget` live listeners from number `from` on, and the number to continue
    /// from.
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
            .map(|&(last, _)| last + 1);
        let live = piece
            .into_iter()
            .filter(|(_, record)| !record.listener.is_expired(now));
        let infos = live.map(|(_, record)| {
            let topic = self.topic(record.topic).expect("a listener has a topic");
            ListenerInfo::new(
                &record.listener,
                &record.breaker,
                Arc::clone(&topic.name),
                record.listener.calls(topic.pins),
                now,
            )
        });
        (infos.collect(), next)
    }
}

impl<T, E> Topic<T, E> {
    #[inline]
    fn is_named<Q: ?Sized + Eq>(&self, hash: u64, name: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        // The comparison of hashes comes first because it is cheap.
        self.id.hash == hash && (*self.name).borrow() == name
    }
}

/// Returns the cause of a removal at this time: `Expired` if the listener's deadline has passed.
fn or_expired(cause: RemovalCause, now: Nanos) -> impl FnOnce(&Listener) -> RemovalCause {
    move |listener| {
        if listener.is_expired(now) {
            RemovalCause::Expired
        } else {
            cause
        }
    }
}

fn hash_key(hasher: &DefaultHashBuilder, topic: u64, key: &str) -> u64 {
    hasher.hash_one((topic, key))
}

impl<T, E> RemovedListener<T, E> {
    pub(super) fn info(&self, now: Nanos) -> ListenerInfo<T> {
        let topic = Arc::clone(&self.topic);
        let mut info = ListenerInfo::new(&self.listener, &self.breaker, topic, self.calls, now);
        info.paused = self.paused;
        info
    }
}
