//! `IdempotencyLayer`: what all requests of a service share.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tower_layer::Layer;

use super::budget::Budget;
use super::builder::{Options, Unscoped};
use super::service::IdempotencyService;
use super::stats::{Counters, IdempotencyStats};
use super::store::IdempotencyStore;

/// Answers a retry of a request with the first response, by its `Idempotency-Key`.
///
/// # Which requests
///
/// A request with an `Idempotency-Key` whose method is not safe (`GET`, `HEAD`, `OPTIONS` and
/// `TRACE` are). Every other request passes, except one without a key for an operation that
/// [requires](super::IdempotencyBuilder::required) it.
///
/// # Promises
///
/// * The handler runs at most once per key and lease. A key belongs to a
///   [scope](super::Unscoped::scope), a method and a path.
/// * A retry gets the stored status, body, trailers and
///   [header fields](super::IdempotencyBuilder::replay_headers), and `Idempotent-Replayed: true`.
/// * A response with a status below 500 is stored before the client gets it. A status from 500 on,
///   a panic, and a body that ends with an error release the key.
/// * A response that is too large or a stream passes through, with `Idempotent-Stored: false`. A
///   retry gets 409 and the original status, and the handler does not run again.
/// * If the client disconnects, the handler is finished in its task, and its response is stored.
///
/// # Cost
///
/// The layer reads the whole request body before it claims the key, and the whole response before
/// it sends it. It costs a task, a hash of the body, and a copy of the response. A request that
/// passes costs two allocations.
///
/// # Place
///
/// Put the layer inside of authentication, rate limits and compression, and outside of the
/// handlers. Clones share the store and all options. A layer needs a tokio runtime.
pub struct IdempotencyLayer<T> {
    pub(super) shared: Arc<Shared<T>>,
}

/// The state of a layer.
pub(super) struct Shared<T> {
    pub(super) store: T,
    pub(super) options: Options,
    pub(super) budget: Arc<Budget>,
    pub(super) counters: Counters,
    /// The number of handlers that run in tasks.
    pub(super) running: watch::Sender<usize>,
}

impl<T: IdempotencyStore> IdempotencyLayer<T> {
    /// Returns a builder with every option at its default, which needs a scope.
    pub fn builder(store: T) -> Unscoped<T> {
        Unscoped::new(store)
    }

    pub(super) fn from_parts(store: T, options: Options) -> Self {
        let budget = Budget::new(options.max_stored_bytes);
        // A map that was restored has records already. They count as long as there is room.
        store.each_record(&mut |record| {
            record.charge(&budget);
        });
        Self {
            shared: Arc::new(Shared {
                store,
                options,
                budget,
                counters: Counters::default(),
                running: watch::Sender::new(0),
            }),
        }
    }
}

impl<T> IdempotencyLayer<T> {
    /// Returns the store. Its statistics count the requests.
    #[must_use]
    pub fn store(&self) -> &T {
        &self.shared.store
    }

    /// Returns the memory of the stored responses that count for
    /// [`max_stored_bytes`](super::IdempotencyBuilder::max_stored_bytes).
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.shared.budget.used()
    }

    /// Returns the number of responses that were not stored, by reason.
    #[must_use]
    pub fn stats(&self) -> IdempotencyStats {
        self.shared.counters.read()
    }

    /// Waits until no handler runs.
    ///
    /// A handler whose client has disconnected does not keep its connection open, so a graceful
    /// shutdown of the server does not wait for it. Call this afterwards.
    pub async fn idle(&self) {
        let mut running = self.shared.running.subscribe();
        // An error means that the sender was dropped, and `self` holds it.
        let _ = running.wait_for(|&running| running == 0).await;
    }
}

/// Counts a handler until it is dropped.
pub(super) struct Running<T>(Arc<Shared<T>>);

impl<T> Running<T> {
    pub(super) fn enter(shared: &Arc<Shared<T>>) -> Self {
        shared.running.send_modify(|running| *running += 1);
        Self(Arc::clone(shared))
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

impl<S, T> Layer<S> for IdempotencyLayer<T> {
    type Service = IdempotencyService<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        IdempotencyService {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Clone for IdempotencyLayer<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> fmt::Debug for IdempotencyLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer")
            .field("options", &self.shared.options)
            .field("stored_bytes", &self.stored_bytes())
            .finish_non_exhaustive()
    }
}
