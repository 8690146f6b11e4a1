//! Checks of the table's invariants, for tests and fuzzing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Record, Table};

impl<T, E: 'static> Table<T, E> {
    /// Returns the capacities of the hash tables: topics, keys, scopes.
    #[cfg(test)]
    pub(in crate::registry) fn capacities(&self) -> [usize; 3] {
        let (topics, keyed) = (self.topics.capacity(), self.keyed.capacity());
        [topics, keyed, self.members.capacity()]
    }

    /// Checks every invariant.
    ///
    /// # Panics
    ///
    /// Panics if one does not hold.
    pub(in crate::registry) fn validate(&self) {
        let mut listed = 0;
        for topic in &self.topics {
            let list = &topic.list;
            assert!(list.len() > 0, "a topic without listeners is not kept");
            assert!(list.len() <= self.limits.max_per_topic);
            assert_eq!(list.handlers.len(), list.listeners.len());
            assert!(
                list.listeners
                    .is_sorted_by(|a, b| a.call_order() < b.call_order())
            );
            assert!(!list.is_stale(), "the table's list is current");
            listed += list.len();
            let oldest = list.listeners.iter().map(|it| it.number()).min();
            assert_eq!(list.oldest(), oldest);
            for (listener, handler) in list.listeners.iter().zip(&list.handlers) {
                let record = &self.records[&listener.number()];
                assert!(record.topic == topic.id && Arc::ptr_eq(&record.listener, listener));
                let is_direct = !listener.is_paused() && record.breaker.failures() == 0;
                let expected = if is_direct {
                    &record.handler
                } else {
                    &self.consult_table
                };
                assert!(Arc::ptr_eq(handler, expected));
            }
        }
        assert_eq!(listed, self.records.len());
        assert!(self.records.len() <= self.limits.max_listeners);
        let count = |of: fn(&Record<E>) -> bool| self.records.values().filter(|it| of(it)).count();
        assert_eq!(count(|it| it.listener.has_deadline()), self.deadlines.len());
        assert_eq!(
            count(|it| it.listener.options.key.is_some()),
            self.keyed.len()
        );
        assert_eq!(count(|it| it.breaker.is_open()), self.open_breakers);
        assert_eq!(
            count(|it| it.listener.options.generation.is_some()),
            self.members.values().map(BTreeSet::len).sum()
        );
        assert!(self.members.values().all(|members| !members.is_empty()));
        // `owned` has no mark on the listener to compare it with, so this checks that it does not
        // outlive its listeners.
        assert!(self.owned.iter().all(|it| self.records.contains_key(it)));
        for (number, record) in &self.records {
            assert!(record.listener.is_attached() && record.listener.number() == *number);
            assert!(*number < self.next);
            assert!(!record.breaker.is_open() || record.breaker.failures() > 0);
        }
    }
}
