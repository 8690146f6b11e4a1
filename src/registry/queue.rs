//! `Queue`: a listener that puts events into a bounded queue, for a consumer with a pace of its own.
//!
//! The handler owns the sending end, the queue the receiving one and the guard: dropping the queue detaches the listener. And
//! the listener closes the channel when it leaves, by whatever way, so that the queue ends once it is empty. To wait for
//! the sending end to be dropped would take longer: an emit may still hold the handler, on the very thread that reads.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use async_channel::{Receiver, Sender, TrySendError};

use super::counters::Counters;
use super::listen::ListenerBuilder;
use super::rejected::Rejected;
use super::slot::ListenerId;
use super::subscription::Subscription;
use crate::sync::Mutex;

/// What an emit does with an event for which a queue has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueOverflow {
    /// The oldest event in the queue is dropped, and counted.
    DropOldest,
    /// The new event is dropped, and counted.
    DropNewest,
    /// The emit blocks its thread until there is room. Where the listener leaves meanwhile, the event is dropped, and counted.
    ///
    /// An emit on the very thread that received last from the queue would wait for itself: there the event is dropped and
    /// counted, and the emit told of a failure. Until something has been received nobody knows who will, so do not fill a
    /// queue on the thread that is to empty it. And do not emit from an async task into a queue that is emptied by tasks
    /// of the same executor.
    Block,
}

/// The receiving end of a listener's queue. Dropped, it detaches the listener.
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
    shared: Arc<Shared>,
    subscription: Subscription,
}

/// What both ends know.
#[derive(Default)]
struct Shared {
    dropped: AtomicU64,
    /// The thread that received last.
    consumer: Mutex<Option<ThreadId>>,
}

/// What puts events in.
struct Inlet<E> {
    sender: Sender<E>,
    when_full: QueueOverflow,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
}

impl<E: Clone> Inlet<E> {
    /// Whether the event is where it was to go; so it is where the queue has ended, and nobody waits for it.
    fn put(&self, event: &E) -> bool {
        let event = event.clone();
        match self.when_full {
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
                    if *self.shared.consumer.lock() == Some(thread::current().id()) {
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

    fn count_dropped(&self) {
        self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        self.counters.count_dropped();
    }
}

impl<T, E> ListenerBuilder<'_, T, E>
where
    T: std::hash::Hash + Eq + Send + Sync + 'static,
    E: Clone + Send + 'static,
{
    /// Registers a queue of clones of the events, at most `capacity` at a time, for all of which memory is taken at once.
    ///
    /// # Errors
    ///
    /// [`Rejected`] where a bound is reached and nothing may go for it, or an option or the capacity is zero, or the capacity
    /// above 2<sup>24</sup>.
    #[track_caller]
    pub fn queue(
        self,
        capacity: usize,
        when_full: QueueOverflow,
    ) -> Result<Queue<E>, Rejected<()>> {
        if let Some(rejected) = Rejected::of_capacity(capacity) {
            return Err(rejected);
        }
        let (sender, receiver) = async_channel::bounded(capacity);
        let channel = sender.clone();
        let shared = Arc::<Shared>::default();
        let counters = self.counters();
        let inlet = Inlet {
            sender,
            when_full,
            shared: Arc::clone(&shared),
            counters,
        };
        // The queue is the guard, whatever other end the listener may have.
        let listen = self.on_leaving(move || {
            channel.close();
        });
        let registered =
            listen.register(move |event: &E| inlet.put(event), Location::caller(), true);
        let subscription = registered.map_err(|rejected| rejected.map(drop))?;
        Ok(Queue {
            receiver,
            shared,
            subscription,
        })
    }
}

impl<E> Queue<E> {
    /// The next event, when there is one; `None` when the listener is detached and the queue empty.
    pub async fn recv(&self) -> Option<E> {
        let event = self.receiver.recv().await.ok();
        self.consumed(event)
    }

    /// The next event, for which this blocks its thread; `None` when the listener is detached and the queue empty.
    pub fn blocking_recv(&self) -> Option<E> {
        self.is_consumer();
        let event = self.receiver.recv_blocking().ok();
        self.consumed(event)
    }

    /// The next event, if there is one.
    pub fn try_recv(&self) -> Option<E> {
        let event = self.receiver.try_recv().ok();
        self.consumed(event)
    }

    fn consumed(&self, event: Option<E>) -> Option<E> {
        self.is_consumer();
        event
    }

    fn is_consumer(&self) {
        *self.shared.consumer.lock() = Some(thread::current().id());
    }

    /// The events that come, until the listener is detached and the queue is empty; blocks between them.
    pub fn iter(&self) -> impl Iterator<Item = E> {
        std::iter::from_fn(|| self.blocking_recv())
    }

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// How many events were dropped because there was no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Which listener fills it.
    #[must_use]
    pub fn id(&self) -> ListenerId {
        self.subscription.id()
    }

    /// Whether the listener is attached.
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
