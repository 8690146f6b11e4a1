//! The operations of emits: pin a list, ask about a listener that must not be called directly, and
//! record results.

use std::borrow::Borrow;
use std::sync::Arc;

use super::{RemovedListener, Table, TopicId};
use crate::clock::Nanos;
use crate::registry::breaker::{Admission, Transition};
use crate::registry::emit_stack::EmitFrame;
use crate::registry::handler::Handler;
use crate::registry::list::{List, Pin};
use crate::registry::listener::{CallOrder, Listener};
use crate::removal::RemovalCause;

/// A listener that may be called.
pub(in crate::registry) struct Admitted<E> {
    pub(in crate::registry) handler: Arc<dyn Handler<E>>,
    pub(in crate::registry) listener: Arc<Listener>,
    pub(in crate::registry) is_probe: bool,
}

/// The changes that the result of a call has made.
pub(in crate::registry) struct Recorded<T, E> {
    pub(in crate::registry) transition: Transition,
    pub(in crate::registry) failures: u32,
    pub(in crate::registry) listener: Arc<Listener>,
    pub(in crate::registry) removed: Option<RemovedListener<T, E>>,
}

impl<T, E: 'static> Table<T, E> {
    /// Counts an emit that reaches no listener.
    pub(in crate::registry) fn count_emit(&mut self) {
        self.counters.emitted += 1;
    }

    /// Begins an emit: returns the list of the topic, and notes in the frame that it is pinned.
    // Writing to the frame from in here keeps the values in registers. Returned with the list, they
    // went through memory, which took a quarter of an emit to one listener.
    #[inline]
    pub(in crate::registry) fn pin<Q: ?Sized + Eq>(
        &mut self,
        hash: u64,
        name: &Q,
        frame: &EmitFrame,
    ) -> Option<Pin<E>>
    where
        T: Borrow<Q>,
    {
        self.counters.emitted += 1;
        let topic = self
            .topics
            .find_mut(hash, |topic| topic.is_named(hash, name))?;
        topic.pins += 1;
        self.counters.begun_calls += topic.list.len() as u64;
        frame.set_pinned(topic.id.number, self.next);
        Some(Pin::clone(&topic.list))
    }

    /// Pins the list of a topic again, for an emit that has released a list. Returns the list, and
    /// the index of the first listener behind `last`.
    pub(in crate::registry) fn repin(
        &self,
        topic: TopicId,
        last: Option<CallOrder>,
        frame: &EmitFrame,
    ) -> Option<(Pin<E>, usize)> {
        let list = &self.topic(topic)?.list;
        let next = last.map_or(0, |last| list.index_after(last));
        frame.set_pinned(topic.number, self.next);
        Some((Pin::clone(list), next))
    }

    /// Returns a listener if it may be called now.
    pub(in crate::registry) fn admit(&mut self, listener: u64, now: Nanos) -> Option<Admitted<E>> {
        let record = self.records.get_mut(&listener)?;
        if record.listener.is_paused() {
            return None;
        }
        let admission = record.breaker.admit(now);
        (admission != Admission::Skip).then(|| Admitted {
            handler: Arc::clone(&record.handler),
            listener: Arc::clone(&record.listener),
            is_probe: admission == Admission::Probe,
        })
    }

    /// Records that a call failed or succeeded; `None` if it was not made.
    pub(in crate::registry) fn record(
        &mut self,
        listener: u64,
        is_probe: bool,
        failed: Option<bool>,
        now: Nanos,
    ) -> Option<Recorded<T, E>> {
        let record = self.records.get_mut(&listener)?;
        if is_probe {
            record.breaker.finish_probe();
        }
        let transition = match failed {
            None => Transition::None,
            Some(false) => record.breaker.record_success(is_probe),
            Some(true) => record.breaker.record_failure(self.limits.breaker, now),
        };
        let failures = record.breaker.failures();
        let listener_of_record = Arc::clone(&record.listener);
        listener_of_record.set_failing(failures > 0);
        let mut removed = None;
        match transition {
            Transition::None => {}
            Transition::Opened => self.open_breakers += 1,
            Transition::Closed => self.open_breakers -= 1,
            Transition::Detach => removed = self.remove(listener, RemovalCause::Failed),
        }
        self.refresh_entry(listener);
        Some(Recorded {
            transition,
            failures,
            listener: listener_of_record,
            removed,
        })
    }

    /// Records a result that the consumer of a listener's queue reports after the call.
    ///
    /// If the breaker's pause has passed, the result counts as that of the probe.
    #[cfg(feature = "queue")]
    pub(in crate::registry) fn report(
        &mut self,
        listener: u64,
        failed: bool,
        now: Nanos,
    ) -> Option<Recorded<T, E>> {
        let record = self.records.get(&listener)?;
        record.listener.set_reports_later();
        let is_probe = record.breaker.is_half_open(now);
        self.record(listener, is_probe, Some(failed), now)
    }

    /// Pauses or resumes a listener. Returns `false` if it is not in the table.
    pub(in crate::registry) fn set_paused(&mut self, listener: u64, paused: bool) -> bool {
        let Some(record) = self.records.get(&listener) else {
            return false;
        };
        record.listener.set_paused(paused);
        self.refresh_entry(listener);
        true
    }

    /// Stores in its topic's list if a listener may be called directly.
    fn refresh_entry(&mut self, listener: u64) {
        let Some(record) = self.records.get(&listener) else {
            return;
        };
        let is_direct = !record.listener.is_paused() && record.breaker.failures() == 0;
        let handler = Arc::clone(if is_direct {
            &record.handler
        } else {
            &self.consult_table
        });
        let (id, order) = (record.topic, record.listener.call_order());
        let topic = self.topic_mut(id).expect("a listener has a topic");
        let index = topic.list.index_of(order).expect("a listener is listed");
        if !Arc::ptr_eq(&topic.list.handlers[index], &handler) {
            List::edit(&mut topic.list).handlers[index] = handler;
        }
    }
}
