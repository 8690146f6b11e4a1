//! `IdempotencyStore`: the stores of responses.
//!
//! The layer needs four calls of a store. Both implementations are in this file, so that their
//! answers can be compared.

use std::future::Future;
use std::hash::BuildHasher;
use std::time::Duration;

use super::record::StoredResponse;
use crate::dedup::{Claim, DedupMap, Recorded, Ticket};
#[cfg(feature = "redis")]
use crate::redis::{CommitError, Decided, SharedDedup, SharedTicket};

/// A store of the responses of an [`IdempotencyLayer`](super::IdempotencyLayer).
///
/// | store | for |
/// | --- | --- |
/// | `DedupMap<[u8], StoredResponse>` | one process; with a journal, also across restarts |
/// | `SharedDedup<StoredResponse>` (feature `redis`) | several instances |
///
/// Its ttl is the time for which a response is replayed. Its lease is the time after which the
/// handler of a request may run again if it has not ended. Its statistics count the requests:
/// `inserted` are stored responses, `duplicates` are retries, `in_flight` are handlers that run.
///
/// At its `max_entries`, a `DedupMap` evicts the oldest response, and a retry of that request runs
/// the handler again. `evicted` counts these. At
/// [`max_stored_bytes`](super::IdempotencyBuilder::max_stored_bytes) nothing is evicted.
#[diagnostic::on_unimplemented(
    message = "the store must be a `DedupMap<[u8], StoredResponse>` or a `SharedDedup<StoredResponse>`"
)]
pub trait IdempotencyStore: sealed::Store {}
impl<T: sealed::Store> IdempotencyStore for T {}

/// The store does not answer.
#[derive(Debug)]
pub struct Unavailable;

/// An answer of a store.
pub(super) type Answer<T> = Result<Claim<T, StoredResponse>, Unavailable>;

pub(super) mod sealed {
    use super::{Answer, Duration, Future, StoredResponse};

    pub trait Store: Clone + Send + Sync + 'static {
        type Ticket: Send + 'static;

        /// Returns the time after which a claim ends.
        fn lease(&self) -> Duration;

        /// Claims a key. If it is in flight, waits for up to `wait`.
        fn claim(
            &self,
            key: &[u8],
            wait: Option<Duration>,
        ) -> impl Future<Output = Answer<Self::Ticket>> + Send;

        /// Extends a lease to `lease` from now.
        fn extend(&self, ticket: &Self::Ticket, lease: Duration)
        -> impl Future<Output = ()> + Send;

        /// Stores a response. Returns `false` if it was not stored.
        fn commit(
            &self,
            ticket: Self::Ticket,
            key: &[u8],
            record: StoredResponse,
        ) -> impl Future<Output = bool> + Send;

        /// Calls `f` with every record that is in memory.
        fn each_record(&self, f: &mut dyn FnMut(&StoredResponse));
    }
}

impl<S> sealed::Store for DedupMap<[u8], StoredResponse, S>
where
    S: BuildHasher + Send + Sync + 'static,
{
    type Ticket = Ticket<'static, [u8], StoredResponse, S>;

    fn lease(&self) -> Duration {
        self.lease()
    }

    async fn claim(&self, key: &[u8], wait: Option<Duration>) -> Answer<Self::Ticket> {
        let waited = match wait {
            Some(limit) => tokio::time::timeout(limit, self.claim_wait_owned(key))
                .await
                .ok(),
            None => None,
        };
        let claim = match waited {
            // Too many callers wait, or the time is up.
            None | Some(Claim::Full) => self.claim_owned(key),
            Some(claim) => claim,
        };
        Ok(match claim {
            // A key that `max_bytes` excludes would let every retry run.
            Claim::Fresh(ticket) if !ticket.is_stored() => Claim::Full,
            claim => claim,
        })
    }

    async fn extend(&self, ticket: &Self::Ticket, lease: Duration) {
        // It was claimed a moment ago. If its lease has ended since, the commit notices.
        let _ = ticket.extend(lease);
    }

    async fn commit(&self, ticket: Self::Ticket, key: &[u8], record: StoredResponse) -> bool {
        match ticket.commit(record) {
            Ok(()) => true,
            // The handler outlived its lease. Its response counts unless another request has the
            // key by now.
            Err(late) => matches!(self.record(key, late.value), Recorded::New),
        }
    }

    fn each_record(&self, f: &mut dyn FnMut(&StoredResponse)) {
        self.for_each(|_, record, _| f(record));
    }
}

#[cfg(feature = "redis")]
impl sealed::Store for SharedDedup<StoredResponse> {
    type Ticket = SharedTicket<StoredResponse>;

    fn lease(&self) -> Duration {
        self.lease()
    }

    async fn claim(&self, key: &[u8], wait: Option<Duration>) -> Answer<Self::Ticket> {
        let waited = match wait {
            Some(limit) => tokio::time::timeout(limit, self.claim_wait(key)).await.ok(),
            None => None,
        };
        let decided = match waited {
            // Too many callers wait, or the time is up.
            None
            | Some(Ok(Decided {
                answer: Claim::Full,
                ..
            })) => self.claim(key).await,
            Some(decided) => decided,
        };
        // An error is never a duplicate. The layer answers it with 503.
        decided.map(|it| it.answer).map_err(|_| Unavailable)
    }

    async fn extend(&self, ticket: &Self::Ticket, lease: Duration) {
        let _ = ticket.extend(lease).await;
    }

    async fn commit(&self, ticket: Self::Ticket, key: &[u8], record: StoredResponse) -> bool {
        match ticket.commit_or_keep(record).await {
            Ok(_) => true,
            Err(CommitError::LeaseExpired { value }) => {
                let recorded = self.record(key, value).await;
                recorded.is_ok_and(|it| matches!(it.answer, Recorded::New))
            }
            // The handler has run. The key stays in flight until the lease ends, because a release
            // would let a retry run it again.
            Err(CommitError::Failed { .. }) => false,
        }
    }

    fn each_record(&self, _: &mut dyn FnMut(&StoredResponse)) {
        // A new instance has no records in memory.
    }
}
