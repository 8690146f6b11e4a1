//! A listener that puts events into a bounded queue, for a consumer with its own pace.
//!
//! The handler owns the sender. The [`Queue`] owns the receiver and the guard, so dropping it
//! detaches the listener. The listener closes the channel when it is detached, so that the queue
//! ends once it is empty. Waiting for the sender's drop would take longer: an emit may still hold
//! the handler, even on the thread that reads.

use std::fmt;
use std::hash::Hash;
use std::iter;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use async_channel::{Receiver, Sender, TrySendError};

use super::counters::Counters;
use super::error::Rejected;
use super::handler::HandlerResult;
use super::listener::ListenerId;
use super::register::ListenerBuilder;
use super::subscription::Subscription;
use super::waiting_sends;
use crate::sync::Mutex;

const LARGEST_CAPACITY: usize = 1 << 24;

/// The treatment of an event for a full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueOverflow {
    /// Drops the oldest event of the queue and counts it.
    DropOldest,
    /// Drops the new event and counts it.
    DropNewest,
    /// Blocks the emitting thread until there is room. If the listener is detached, drops the event
    /// and counts it.
    ///
    /// In async tasks, emit with [`emit_async`](crate::ListenerRegistry::emit_async), which waits
    /// without blocking. `emit` blocks the executor's thread, and if the consumer is a task on the
    /// same executor, it may never run.
    ///
    /// An emit on the consumer's own thread would wait for itself. The thread that received the
    /// latest event counts as the consumer: its emit drops the event, counts it, and reports a
    /// failed call. Before the first event was received no thread counts as the consumer, so do not
    /// fill a queue on the thread that is to empty it.
    Block,
}

/// The receiving end of a listener's queue. Dropping it detaches the listener.
///
/// ```
/// use leakproof::{ListenerRegistry, QueueOverflow};
///
/// let bus = ListenerRegistry::<&str, u32>::new();
/// let queue = bus.listen("message").queue(2, QueueOverflow::DropOldest)?;
/// for number in 1..=3 {
///     bus.emit("message", &number)?;
/// }
/// assert_eq!((queue.dropped(), queue.try_recv(), queue.try_recv()), (1, Some(2), Some(3)));
/// drop(queue);
/// assert!(bus.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queue<E> {
    receiver: Receiver<E>,
    state: Arc<QueueState>,
    subscription: Subscription,
}

/// The state that both ends share.
#[derive(Default)]
struct QueueState {
    dropped: AtomicU64,
    /// The thread that received the latest event.
    consumer: Mutex<Option<ThreadId>>,
}

/// The sending end.
struct QueueSender<E> {
    sender: Sender<E>,
    overflow: QueueOverflow,
    state: Arc<QueueState>,
    counters: Arc<Counters>,
}

impl<E: Clone + Send + 'static> QueueSender<E> {
    /// Returns `false` if the event was dropped because this thread is the consumer.
    fn send(&self, event: &E) -> bool {
        let event = event.clone();
        match self.overflow {
            QueueOverflow::DropOldest => {
                if let Ok(Some(_)) = self.sender.force_send(event) {
                    self.count_dropped();
                }
            }
            QueueOverflow::DropNewest => {
                if let Err(TrySendError::Full(_)) = self.sender.try_send(event) {
                    self.count_dropped();
                }
            }
            QueueOverflow::Block => {
                if let Err(TrySendError::Full(event)) = self.sender.try_send(event) {
                    let Err(event) = waiting_sends::add(event, |event| self.send_later(event))
                    else {
                        return true;
                    };
                    if *self.state.consumer.lock() == Some(thread::current().id()) {
                        self.count_dropped();
                        return false;
                    }
                    if self.sender.send_blocking(event).is_err() {
                        self.count_dropped();
                    }
                }
            }
        }
        true
    }

    /// Returns a future that waits for room. The event is counted as dropped if the listener is
    /// detached or the future is dropped.
    fn send_later(&self, event: E) -> impl Future<Output = ()> + Send + use<E> {
        let sender = self.sender.clone();
        let unsent = Unsent {
            state: Arc::clone(&self.state),
            counters: Arc::clone(&self.counters),
            is_sent: false,
        };
        async move {
            let mut unsent = unsent;
            unsent.is_sent = sender.send(event).await.is_ok();
        }
    }

    fn count_dropped(&self) {
        self.state.count_dropped(&self.counters);
    }
}

impl QueueState {
    fn count_dropped(&self, counters: &Counters) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        counters.count_dropped();
    }
}

/// Counts an event as dropped, unless it was sent.
struct Unsent {
    state: Arc<QueueState>,
    counters: Arc<Counters>,
    is_sent: bool,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if !self.is_sent {
            self.state.count_dropped(&self.counters);
        }
    }
}

impl<T, E> ListenerBuilder<'_, T, E>
where
    T: Hash + Eq + Send + Sync + 'static,
    E: Clone + Send + 'static,
{
    /// Registers a queue for clones of the events. Allocates memory for `capacity` events.
    ///
    /// # Errors
    ///
    /// Returns [`Rejected`] if a bound is reached and no listener can be removed, if an option or
    /// the capacity is zero, or if the capacity is above 2<sup>24</sup>.
    #[track_caller]
    pub fn queue(self, capacity: usize, overflow: QueueOverflow) -> Result<Queue<E>, Rejected<()>> {
        match capacity {
            0 => return Err(Rejected::zero((), "capacity")),
            1..=LARGEST_CAPACITY => {}
            _ => return Err(Rejected::capacity((), LARGEST_CAPACITY)),
        }
        let (sender, receiver) = async_channel::bounded(capacity);
        let channel = sender.clone();
        let state = Arc::<QueueState>::default();
        let sender = QueueSender {
            sender,
            overflow,
            state: Arc::clone(&state),
            counters: self.counters(),
        };
        let builder = self.on_detach(move || {
            channel.close();
        });
        // The queue is the guard, whatever else may end the listener.
        let detaches = true;
        let location = Location::caller();
        let registered = builder.register(move |event: &E| sender.send(event), location, detaches);
        Ok(Queue {
            receiver,
            state,
            subscription: registered.map_err(|rejected| rejected.map(drop))?,
        })
    }
}

impl<E> Queue<E> {
    /// Waits for the next event. Returns `None` if the listener is detached and the queue is empty.
    pub async fn recv(&self) -> Option<E> {
        let event = self.receiver.recv().await;
        self.note_consumer(event.ok())
    }

    /// Blocks the thread until the next event. Returns `None` if the listener is detached and the
    /// queue is empty.
    pub fn blocking_recv(&self) -> Option<E> {
        self.note_consumer(self.receiver.recv_blocking().ok())
    }

    /// Returns the next event, or `None` if the queue is empty.
    pub fn try_recv(&self) -> Option<E> {
        self.note_consumer(self.receiver.try_recv().ok())
    }

    /// Notes this thread as the consumer if it has received an event. A thread that polls in vain
    /// is none.
    fn note_consumer(&self, event: Option<E>) -> Option<E> {
        if event.is_some() {
            *self.state.consumer.lock() = Some(thread::current().id());
        }
        event
    }

    /// Returns an iterator over the events, which blocks between them. It ends when the listener is
    /// detached and the queue is empty.
    pub fn iter(&self) -> impl Iterator<Item = E> {
        iter::from_fn(|| self.blocking_recv())
    }

    /// Reports the result of handling a received event to the listener's circuit breaker.
    ///
    /// Failures in a row open the breaker, as failed calls do, and a success ends the row. From the
    /// first report on, filling the queue does not count as a success. Once the pause of an open
    /// breaker has passed, emits fill the queue again, and the next report closes the breaker or
    /// starts the pause again. A breaker without `retry_after` detaches the listener. A failure is
    /// counted in [`RegistryStats::failures`](crate::RegistryStats::failures).
    ///
    /// ```
    /// use leakproof::{CircuitBreaker, ListenerRegistry, QueueOverflow};
    ///
    /// let breaker = CircuitBreaker { failures: 2, retry_after: None };
    /// let bus = ListenerRegistry::<&str, u32>::builder().circuit_breaker(breaker).build()?;
    /// let queue = bus.listen("message").queue(16, QueueOverflow::DropOldest)?;
    /// for number in 1..=5 {
    ///     bus.emit("message", &number)?;
    /// }
    /// while let Some(number) = queue.try_recv() {
    ///     let handled: Result<(), String> = Err(format!("{number} is not a message"));
    ///     queue.report(&handled);
    /// }
    /// assert!(bus.is_empty(), "two failures detached the listener");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn report<R: HandlerResult>(&self, result: &R) {
        self.subscription.report(result.is_failure());
    }

    /// Returns the number of events in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Returns `true` if the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Returns the number of events that were dropped because the queue was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }

    /// Returns the id of the listener.
    #[must_use]
    pub fn id(&self) -> ListenerId {
        self.subscription.id()
    }

    /// Returns `true` if the listener is attached.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.subscription.is_attached()
    }
}

impl<E> fmt::Debug for Queue<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("id", &self.id())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
