//! Coming in: keys, limits, and what has to go for that.

use std::mem;
use std::panic::Location;
use std::sync::Arc;

use super::{Departed, Keyed, Place, Record, Table, Topic, hash_key};
use crate::clock::Nanos;
use crate::registry::builder::Overflow;
use crate::registry::call::Call;
use crate::registry::list::{List, Pin};
use crate::registry::rejected::Limit;
use crate::registry::slot::{NEVER, Slot};
use crate::removal::RemovalCause;

/// Too old listeners that every registration frees.
const FREED: usize = 2;
/// Listeners whose places of registration a rejection looks at.
const LOOKED_AT: usize = 1024;

/// Who wants to come in.
pub(in crate::registry) struct Newcomer<E> {
    pub(in crate::registry) slot: Arc<Slot>,
    pub(in crate::registry) call: Arc<dyn Call<E>>,
    pub(in crate::registry) has_owner: bool,
}

/// Why it cannot.
pub(in crate::registry) struct Refusal {
    pub(in crate::registry) limit: Limit,
    pub(in crate::registry) max: usize,
    pub(in crate::registry) places: Vec<&'static Location<'static>>,
    /// It is the first one since there was room.
    pub(in crate::registry) is_news: bool,
}

impl<T: Eq, E: 'static> Table<T, E> {
    /// Lets a listener in, and takes the topic if it is a new one; a registration whose scope has ended ends detached.
    pub(in crate::registry) fn add(
        &mut self,
        now: Nanos,
        hash: u64,
        name: &mut Option<T>,
        newcomer: Newcomer<E>,
        gone: &mut Vec<Departed<T, E>>,
    ) -> Result<(), Refusal> {
        // First of all, since it may panic.
        let topic = name
            .as_ref()
            .and_then(|name| self.find(hash, name))
            .map(|topic| topic.at);
        self.expire(now, FREED, gone);
        let number = self.next;
        if newcomer
            .slot
            .traits
            .generation
            .is_some_and(|generation| !self.generations.contains_key(&generation))
        {
            self.next += 1;
            newcomer.slot.attach(number, number);
            newcomer.slot.detach();
            self.departures.inserted += 1;
            self.departures.count(RemovalCause::ScopeEnded);
            gone.extend(
                name.take()
                    .map(|name| Departed::at_once(Arc::new(name), newcomer)),
            );
            return Ok(());
        }
        match topic.and_then(|topic| self.with_key(topic.number, newcomer.slot.traits.key.as_ref()))
        {
            Some(replaced) => gone.extend(self.remove_at(now, replaced, RemovalCause::Replaced)),
            None => {
                if let Err(refusal) = self.make_room(now, topic, gone) {
                    self.departures.rejected += 1;
                    return Err(Refusal {
                        is_news: self.note_full(refusal.limit, topic),
                        ..refusal
                    });
                }
                self.is_full = false;
                if let Some(topic) = topic.and_then(|topic| self.topic_mut(topic)) {
                    topic.is_full = false;
                }
            }
        }
        self.next += 1;
        self.enter(number, topic, hash, name, newcomer);
        Ok(())
    }

    fn with_key(&self, topic: u64, key: Option<&Arc<str>>) -> Option<u64> {
        let key = key?;
        let found = self.keyed.find(self.hash_key(topic, key), |keyed| {
            keyed.topic == topic && *keyed.key == **key
        });
        found.map(|keyed| keyed.listener)
    }

    /// Sees to it that one more may come in: dead and too old listeners go first, then by `overflow` the oldest.
    fn make_room(
        &mut self,
        now: Nanos,
        topic: Option<Place>,
        gone: &mut Vec<Departed<T, E>>,
    ) -> Result<(), Refusal> {
        if self.full(topic).is_some() {
            self.expire(now, usize::MAX, gone);
            self.bury(0, usize::MAX, gone);
        }
        while let Some(limit) = self.full(topic) {
            if self.limits.overflow == Overflow::Reject {
                return Err(self.refusal(limit, topic));
            }
            let oldest = if limit == Limit::MaxPerTopic {
                self.members(topic).map(|slot| slot.number()).min()
            } else {
                self.records.keys().next().copied()
            };
            gone.extend(oldest.and_then(|oldest| self.remove(oldest, RemovalCause::Evicted)));
        }
        Ok(())
    }

    fn members(&self, topic: Option<Place>) -> impl Iterator<Item = &Arc<Slot>> {
        topic
            .and_then(|topic| self.topic(topic))
            .into_iter()
            .flat_map(|topic| &topic.list.slots)
    }

    fn full(&self, topic: Option<Place>) -> Option<Limit> {
        let in_topic = topic
            .and_then(|topic| self.topic(topic))
            .map_or(0, |topic| topic.list.len());
        if in_topic >= self.limits.max_per_topic {
            Some(Limit::MaxPerTopic)
        } else {
            (self.records.len() >= self.limits.max_listeners).then_some(Limit::MaxListeners)
        }
    }

    fn refusal(&self, limit: Limit, topic: Option<Place>) -> Refusal {
        let (max, places) = if limit == Limit::MaxPerTopic {
            let all = self.members(topic).take(LOOKED_AT);
            (
                self.limits.max_per_topic,
                all.map(|slot| slot.location).collect(),
            )
        } else {
            let all = self.records.values().take(LOOKED_AT);
            (
                self.limits.max_listeners,
                all.map(|record| record.slot.location).collect(),
            )
        };
        Refusal {
            limit,
            max,
            places,
            is_news: false,
        }
    }

    /// Takes note that there is no room in a topic or at all; whether that is news.
    fn note_full(&mut self, limit: Limit, topic: Option<Place>) -> bool {
        let is_full = match topic
            .filter(|_| limit == Limit::MaxPerTopic)
            .and_then(|topic| self.topic_mut(topic))
        {
            Some(topic) => &mut topic.is_full,
            None => &mut self.is_full,
        };
        !mem::replace(is_full, true)
    }

    fn enter(
        &mut self,
        number: u64,
        topic: Option<Place>,
        hash: u64,
        name: &mut Option<T>,
        newcomer: Newcomer<E>,
    ) {
        // What was there when this began may have gone with its last listener.
        let topic = match topic.filter(|&topic| self.topic(topic).is_some()) {
            Some(topic) => topic,
            None => self.open_topic(hash, name.take().expect("the name was not needed before")),
        };
        let Newcomer {
            slot,
            call,
            has_owner,
        } = newcomer;
        slot.attach(number, topic.number);
        if let Some(key) = &slot.traits.key {
            let keyed = Keyed {
                topic: topic.number,
                key: Arc::clone(key),
                listener: number,
            };
            let (hash, hasher) = (self.hash_key(topic.number, key), &self.hasher);
            self.keyed.insert_unique(hash, keyed, |keyed| {
                hash_key(hasher, keyed.topic, &keyed.key)
            });
        }
        if let Some(members) = slot
            .traits
            .generation
            .and_then(|generation| self.generations.get_mut(&generation))
        {
            members.insert(number);
        }
        if slot.deadline != NEVER {
            self.deadlines.insert((slot.deadline, number));
        }
        if has_owner {
            self.owned.insert(number);
        }
        let entered = self.topic_mut(topic).expect("it was just found or made");
        slot.enter(entered.passes);
        List::edit(&mut entered.list).insert(Arc::clone(&slot), Arc::clone(&call));
        let record = Record {
            slot,
            call,
            topic,
            failures: 0,
            silenced_until: None,
            probed: false,
        };
        self.records.insert(number, record);
        self.departures.inserted += 1;
        self.departures.high_water = self.departures.high_water.max(self.records.len());
    }

    fn open_topic(&mut self, hash: u64, name: T) -> Place {
        let at = Place::new(hash, self.next);
        self.next += 1;
        let list = Pin::new(List::new(Arc::clone(&self.counters)));
        let topic = Topic {
            name: Arc::new(name),
            at,
            list,
            calm: 0,
            passes: 0,
            is_full: false,
        };
        self.topics
            .insert_unique(hash, topic, |topic| topic.at.hash);
        at
    }
}

impl<T, E> Departed<T, E> {
    fn at_once(topic: Arc<T>, newcomer: Newcomer<E>) -> Self {
        let Newcomer { slot, call, .. } = newcomer;
        Self {
            cause: RemovalCause::ScopeEnded,
            topic,
            calls: 0,
            failures: 0,
            paused: false,
            silenced: false,
            call,
            slot,
        }
    }
}
