//! Removals: one listener, or a bounded number of those that have expired, lost their owner, or
//! belong to a scope.

use std::sync::Arc;

use super::{RemovedListener, Table, TopicId, hash_key};
use crate::clock::Nanos;
use crate::registry::list::{List, capacity_after_spike};
use crate::registry::listener::{CallOrder, Listener};
use crate::removal::RemovalCause;
use crate::steps;

impl<T, E: 'static> Table<T, E> {
    /// Removes a listener. Returns `None` if it is not in the table.
    pub(in crate::registry) fn remove(
        &mut self,
        listener: u64,
        cause: RemovalCause,
    ) -> Option<RemovedListener<T, E>> {
        let (removed, topic) = self.remove_record(listener, |_| cause)?;
        self.remove_from_list(topic, &[removed.listener.call_order()]);
        Some(removed)
    }

    /// Removes a listener for this cause, or as expired if its deadline has passed.
    pub(in crate::registry) fn remove_or_expire(
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
    pub(in crate::registry) fn remove_expired(
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
    pub(in crate::registry) fn remove_orphans(
        &mut self,
        from: u64,
        budget: usize,
        now: Nanos,
        removed: &mut Vec<RemovedListener<T, E>>,
    ) -> Option<u64> {
        let checked: Vec<u64> = self.owned.range(from..).copied().take(budget).collect();
        self.remove_dead(&checked, now, removed);
        let last = checked.last()?;
        (checked.len() == budget).then_some(last + 1)
    }

    /// Removes those of these listeners that have expired or whose owner was dropped.
    pub(super) fn remove_dead(
        &mut self,
        checked: &[u64],
        now: Nanos,
        removed: &mut Vec<RemovedListener<T, E>>,
    ) {
        steps::count(checked.len());
        let is_dead = |number: &u64| {
            let record = &self.records[number];
            record.listener.is_expired(now) || record.handler.is_orphan()
        };
        let dead: Vec<u64> = checked.iter().copied().filter(is_dead).collect();
        self.remove_batch(&dead, RemovalCause::OwnerDropped, now, removed);
    }

    /// Removes up to `budget` listeners with numbers below `before`, the newest first. Returns
    /// `true` if none remains.
    ///
    /// The newest are at the end of their lists, where a removal moves the fewest listeners.
    pub(in crate::registry) fn remove_before(
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
    pub(in crate::registry) fn remove_members(
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
