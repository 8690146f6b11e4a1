//! All listeners of a registry, and everything else behind its one lock.
//!
//! Owns the topics with their lists, a record for each listener in order of registration, and the
//! indices by key, scope, deadline and owner. A listener is in all of them or in none. A topic
//! without listeners is not kept. The only user code that runs in here is `Eq` and `Borrow` of
//! topics. Removed listeners are returned as [`RemovedListener`]s, which the caller drops after it
//! has released the lock.

mod admission;
mod dispatch;
mod removal;
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
use super::list::Pin;
use super::listener::Listener;
use crate::clock::Nanos;
use crate::hash::DefaultHashBuilder;
use crate::removal::RemovalCause;
use crate::stats::RegistryStats;
pub(super) use admission::NewListener;
pub(super) use dispatch::Recorded;

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
            scopes: self.members.len(),
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
