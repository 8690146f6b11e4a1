//! Registrations: keys, limits, and the listeners that make room.

use std::mem;
use std::panic::Location;
use std::sync::Arc;

use super::{KeyedListener, Overflow, Record, RemovedListener, Table, Topic, TopicId, hash_key};
use crate::clock::Nanos;
use crate::registry::breaker::BreakerState;
use crate::registry::error::{Limit, Refusal};
use crate::registry::handler::Handler;
use crate::registry::list::{List, Pin};
use crate::registry::listener::Listener;
use crate::removal::RemovalCause;

/// Expired listeners that every registration removes. More than one, so that a backlog shrinks.
const EXPIRED_PER_REGISTRATION: usize = 2;
/// Listeners that a registration without room checks for expiry or a dropped owner.
const CHECKED_PER_REJECTION: usize = 64;
/// Listeners whose locations a rejection collects.
const LOCATIONS_PER_REJECTION: usize = 1024;

/// A listener that is to be registered.
pub(in crate::registry) struct NewListener<E> {
    pub(in crate::registry) listener: Arc<Listener>,
    pub(in crate::registry) handler: Arc<dyn Handler<E>>,
    pub(in crate::registry) has_owner: bool,
    /// Is `true` if the listener's scope has ended or belongs to another registry.
    pub(in crate::registry) scope_ended: bool,
}

impl<T: Eq, E: 'static> Table<T, E> {
    /// Registers a listener, and takes the name if the topic is new.
    ///
    /// A listener whose scope has ended is removed at once.
    pub(in crate::registry) fn register(
        &mut self,
        now: Nanos,
        hash: u64,
        name: &mut Option<T>,
        new: NewListener<E>,
        removed: &mut Vec<RemovedListener<T, E>>,
    ) -> Result<(), Refusal> {
        // The lookup comes before any change because `Eq` may panic.
        let topic = name.as_ref().and_then(|name| self.find(hash, name));
        let topic = topic.map(|topic| topic.id);
        self.remove_expired(now, EXPIRED_PER_REGISTRATION, removed);
        if new.scope_ended {
            let name = name.take().expect("the name was not used");
            removed.push(self.remove_at_once(name, new));
            return Ok(());
        }
        let key = new.listener.options.key.as_deref();
        match topic
            .zip(key)
            .and_then(|(topic, key)| self.find_key(topic, key))
        {
            Some(replaced) => {
                removed.extend(self.remove_or_expire(replaced, RemovalCause::Replaced, now));
            }
            None => {
                if let Err(limit) = self.make_room(now, topic, removed) {
                    self.counters.rejected += 1;
                    return Err(self.refusal(limit, topic));
                }
                self.is_full = false;
                if let Some(topic) = topic.and_then(|topic| self.topic_mut(topic)) {
                    topic.is_full = false;
                }
            }
        }
        // The topic found above may have been removed with its last listener.
        let topic = topic.filter(|&topic| self.topic(topic).is_some());
        let topic = topic.unwrap_or_else(|| {
            let name = name.take().expect("the name was not used");
            self.add_topic(hash, name)
        });
        self.insert(topic, new);
        Ok(())
    }

    fn find_key(&self, topic: TopicId, key: &str) -> Option<u64> {
        let hash = hash_key(&self.hasher, topic.number, key);
        let found = self.keyed.find(hash, |keyed| {
            keyed.topic == topic.number && *keyed.key == *key
        });
        found.map(|keyed| keyed.listener)
    }

    /// Makes room for one listener: dead listeners go first, then the oldest if the registry
    /// evicts.
    ///
    /// Checks a bounded number of listeners, and continues where the last call stopped.
    fn make_room(
        &mut self,
        now: Nanos,
        topic: Option<TopicId>,
        removed: &mut Vec<RemovedListener<T, E>>,
    ) -> Result<(), Limit> {
        let Some(limit) = self.reached_limit(topic) else {
            return Ok(());
        };
        let before = removed.len();
        let checked = match topic.filter(|_| limit == Limit::MaxPerTopic) {
            Some(topic) => self.next_of_topic(topic),
            // None has expired: `register` has removed two expired listeners, if there were any.
            None => self.next_owned(),
        };
        self.remove_dead(&checked, now, removed);
        if removed.len() > before {
            return Ok(());
        }
        if self.limits.overflow == Overflow::Reject {
            return Err(limit);
        }
        let oldest = match topic.filter(|_| limit == Limit::MaxPerTopic) {
            Some(topic) => self.topic(topic).and_then(|topic| topic.list.oldest()),
            None => self.records.keys().next().copied(),
        };
        let oldest = oldest.expect("limits are above zero");
        removed.extend(self.remove(oldest, RemovalCause::Evicted));
        Ok(())
    }

    fn reached_limit(&self, topic: Option<TopicId>) -> Option<Limit> {
        let topic = topic.and_then(|topic| self.topic(topic));
        if topic.is_some_and(|topic| topic.list.len() >= self.limits.max_per_topic) {
            Some(Limit::MaxPerTopic)
        } else {
            (self.records.len() >= self.limits.max_listeners).then_some(Limit::MaxListeners)
        }
    }

    /// Returns the listeners to check for a dropped owner, and moves the cursor behind them.
    fn next_owned(&mut self) -> Vec<u64> {
        let from = self.next_checked;
        let owned = self.owned.range(from..).chain(self.owned.range(..from));
        let checked: Vec<u64> = owned.copied().take(CHECKED_PER_REJECTION).collect();
        self.next_checked = checked.last().map_or(0, |last| last + 1);
        checked
    }

    /// Returns the listeners of a topic to check, and moves the topic's cursor behind them.
    fn next_of_topic(&mut self, topic: TopicId) -> Vec<u64> {
        let topic = self.topic_mut(topic).expect("a listener has a topic");
        let list = &topic.list;
        let from = if topic.next_checked < list.len() {
            topic.next_checked
        } else {
            0
        };
        let indices = (from..list.len()).chain(0..from);
        let checked = indices.take(CHECKED_PER_REJECTION);
        let checked: Vec<u64> = checked.map(|at| list.listeners[at].number()).collect();
        topic.next_checked = (from + checked.len()) % list.len();
        checked
    }

    fn refusal(&mut self, limit: Limit, topic: Option<TopicId>) -> Refusal {
        let of_topic = topic.filter(|_| limit == Limit::MaxPerTopic);
        match of_topic.and_then(|topic| self.topic_mut(topic)) {
            Some(topic) => {
                let present = topic.list.listeners.iter().take(LOCATIONS_PER_REJECTION);
                Refusal {
                    limit,
                    locations: present.map(|listener| listener.location).collect(),
                    is_first: !mem::replace(&mut topic.is_full, true),
                    max: self.limits.max_per_topic,
                }
            }
            None => {
                let present = self.records.values().take(LOCATIONS_PER_REJECTION);
                let location =
                    |record: &Record<E>| -> &'static Location<'static> { record.listener.location };
                Refusal {
                    limit,
                    locations: present.map(location).collect(),
                    is_first: !mem::replace(&mut self.is_full, true),
                    max: self.limits.max_listeners,
                }
            }
        }
    }

    fn insert(&mut self, id: TopicId, new: NewListener<E>) {
        let number = self.take_number();
        let NewListener {
            listener,
            handler,
            has_owner,
            ..
        } = new;
        if let Some(key) = &listener.options.key {
            let keyed = KeyedListener {
                topic: id.number,
                key: Arc::clone(key),
                listener: number,
            };
            let (hash, hasher) = (hash_key(&self.hasher, id.number, key), &self.hasher);
            self.keyed.insert_unique(hash, keyed, |keyed| {
                hash_key(hasher, keyed.topic, &keyed.key)
            });
        }
        if let Some(generation) = &listener.options.generation {
            let members = self.members.entry(generation.id()).or_default();
            members.insert(number);
        }
        if listener.has_deadline() {
            self.deadlines.insert((listener.deadline, number));
        }
        if has_owner {
            self.owned.insert(number);
        }
        let topic = self.topic_mut(id).expect("it was found or added");
        listener.attach(number, id.number, topic.pins);
        List::edit(&mut topic.list).insert(Arc::clone(&listener), Arc::clone(&handler));
        let record = Record {
            listener,
            handler,
            topic: id,
            breaker: BreakerState::default(),
        };
        self.records.insert(number, record);
        self.counters.inserted += 1;
        self.counters.high_water = self.counters.high_water.max(self.records.len());
    }

    fn add_topic(&mut self, hash: u64, name: T) -> TopicId {
        let id = TopicId {
            hash,
            number: self.take_number(),
        };
        let topic = Topic {
            name: Arc::new(name),
            id,
            list: Pin::new(List::new(Arc::clone(&self.shared_counters))),
            pins: 0,
            is_full: false,
            next_checked: 0,
        };
        self.topics
            .insert_unique(hash, topic, |topic| topic.id.hash);
        id
    }

    /// Counts a listener as registered and removed.
    fn remove_at_once(&mut self, name: T, new: NewListener<E>) -> RemovedListener<T, E> {
        let number = self.take_number();
        new.listener.attach(number, number, 0);
        new.listener.detach(self.take_number());
        self.counters.inserted += 1;
        self.counters.count_removal(RemovalCause::ScopeEnded);
        RemovedListener {
            cause: RemovalCause::ScopeEnded,
            topic: Arc::new(name),
            handler: new.handler,
            listener: new.listener,
            breaker: BreakerState::default(),
            calls: 0,
            paused: false,
        }
    }
}
