//! Every invariant of the table, checked; for tests and fuzzing.

use std::sync::Arc;

use super::Table;
use crate::registry::slot::NEVER;

impl<T, E: 'static> Table<T, E> {
    /// # Panics
    ///
    /// Where one does not hold.
    pub(in crate::registry) fn validate(&self) {
        let mut listed = 0;
        for topic in &self.topics {
            let list = &topic.list;
            assert!(list.len() > 0, "a topic without listeners is not kept");
            assert!(list.len() <= self.limits.max_per_topic);
            assert_eq!(list.calls.len(), list.slots.len());
            assert!(list.slots.is_sorted_by(|a, b| a.key() < b.key()));
            assert!(list.staleness() == 0, "the table's list is the current one");
            listed += list.len();
            for (slot, call) in list.slots.iter().zip(&list.calls) {
                let record = &self.records[&slot.number()];
                assert!(record.topic == topic.at && Arc::ptr_eq(&record.slot, slot));
                assert!(slot.deadline >= list.earliest());
                let straight = !slot.is_paused() && record.failures == 0;
                assert!(Arc::ptr_eq(
                    call,
                    if straight { &record.call } else { &self.asks }
                ));
            }
        }
        assert_eq!(listed, self.records.len());
        assert!(self.records.len() <= self.limits.max_listeners);
        let count = |of: fn(&super::Record<E>) -> bool| {
            self.records.values().filter(|record| of(record)).count()
        };
        assert_eq!(
            count(|record| record.slot.deadline != NEVER),
            self.deadlines.len()
        );
        assert_eq!(
            count(|record| record.slot.traits.key.is_some()),
            self.keyed.len()
        );
        assert_eq!(
            count(|record| record.silenced_until.is_some()),
            self.silenced
        );
        let members: usize = self
            .generations
            .values()
            .map(std::collections::BTreeSet::len)
            .sum();
        assert_eq!(
            count(|record| record.slot.traits.generation.is_some()),
            members
        );
        for (number, record) in &self.records {
            assert!(
                record.slot.is_attached() && record.slot.number() == *number && *number < self.next
            );
            assert!(record.silenced_until.is_none() || record.failures > 0);
        }
    }
}
