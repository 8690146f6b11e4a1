//! `emit`: pins the list of a topic and calls through it without a lock.
//!
//! [`List::call_from`](super::list::List::call_from) calls listeners as long as each call succeeds
//! and the list does not change. Otherwise an [`Emission`] continues.

use std::borrow::Borrow;
use std::hash::Hash;

use super::emission::{Emission, EmitSummary};
use super::emit_stack::{self, MAX_DEPTH};
use super::error::RecursionLimit;
use super::inner::Inner;
use super::list::Stop;
use super::registry::ListenerRegistry;
use super::scope::Generation;
#[cfg(feature = "queue")]
use super::waiting_sends;

impl<T: Hash + Eq + Send + Sync + 'static, E: 'static> ListenerRegistry<T, E> {
    /// Calls the listeners of a topic, by descending priority and then in order of registration.
    ///
    /// Listeners that are registered during the emit are not called by it. Handlers may emit in
    /// turn.
    ///
    /// The topic is hashed before the registry's lock is taken. The topic's `Eq` and `Borrow` run
    /// under the lock, and must not use the registry.
    ///
    /// # Errors
    ///
    /// Returns [`RecursionLimit`] if 32 emits are in progress on this thread. No listener is called
    /// then.
    pub fn emit<Q>(&self, topic: &Q, event: &E) -> Result<EmitSummary, RecursionLimit>
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.inner.emit(topic, event, None)
    }

    /// [Emits](Self::emit), and then waits for room in full queues with
    /// [`QueueOverflow::Block`](crate::QueueOverflow::Block), without blocking the thread.
    ///
    /// The listeners are called in the first poll. Events for full queues are then sent in the
    /// order of the listeners. If the future is dropped, events that were not sent are dropped and
    /// counted. Events of several emits that wait at once may overtake each other.
    ///
    /// The summary counts such a listener as called. Emits that handlers make in turn wait in the
    /// same way. Do not wait for this in the only task that empties the queue.
    ///
    /// # Errors
    ///
    /// Returns [`RecursionLimit`] if 32 emits are in progress on this thread. No listener is called
    /// then.
    #[cfg(feature = "queue")]
    #[cfg_attr(docsrs, doc(cfg(feature = "queue")))]
    pub async fn emit_async<Q>(&self, topic: &Q, event: &E) -> Result<EmitSummary, RecursionLimit>
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let (summary, sends) = waiting_sends::collect(|| self.emit(topic, event));
        for send in sends {
            send.await;
        }
        summary
    }

    /// [Emits](Self::emit) on behalf of one generation of a scope.
    ///
    /// Calls the listeners of that generation and those without a scope. Calls no listener once the
    /// generation has ended, except that a handler whose own filter ends the generation is still
    /// called.
    ///
    /// ```
    /// # use leakproof::ListenerRegistry;
    /// let bus = ListenerRegistry::<&str, u32>::new();
    /// let connection = bus.scope();
    /// let log = bus.on("message", |_| ())?;
    /// let first = connection.generation();
    /// bus.listen("message").scope(&connection).on(|_| ())?.forget();
    /// assert_eq!(bus.emit_to(&first, "message", &1)?.called, 2);
    ///
    /// connection.renew();
    /// bus.listen("message").scope(&connection).on(|_| ())?.forget();
    /// assert_eq!(bus.emit_to(&first, "message", &2)?.called, 0); // a late event
    /// # drop(log);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`RecursionLimit`] if 32 emits are in progress on this thread. No listener is called
    /// then.
    pub fn emit_to<Q>(
        &self,
        generation: &Generation,
        topic: &Q,
        event: &E,
    ) -> Result<EmitSummary, RecursionLimit>
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        self.inner.emit(topic, event, Some(generation))
    }
}

impl<T, E: 'static> Inner<T, E> {
    #[inline]
    fn emit<Q>(
        &self,
        topic: &Q,
        event: &E,
        generation: Option<&Generation>,
    ) -> Result<EmitSummary, RecursionLimit>
    where
        T: Borrow<Q>,
        Q: ?Sized + Hash + Eq,
    {
        let Some(frame) = emit_stack::enter(self.address()) else {
            return Err(RecursionLimit { max: MAX_DEPTH });
        };
        let hash = self.hash(topic);
        if generation.is_some_and(|it| it.has_ended() || !it.is_of(self.address())) {
            self.table.lock().count_emit();
            return Ok(EmitSummary::default());
        }
        let pinned = self.table.lock().pin(hash, topic, &frame);
        let Some(list) = pinned else {
            return Ok(EmitSummary::default());
        };
        // The first list contains no later listeners, so only a generation needs checks.
        let stopped = generation
            .is_none()
            .then(|| list.call_from(0, event, &self.clock, |_| None));
        if let Some((called, Stop::End)) = stopped {
            return Ok(EmitSummary {
                called,
                ..EmitSummary::default()
            });
        }
        let emission = Emission::new(self, frame, event, generation, hash);
        Ok(emission.finish(list, stopped))
    }
}
