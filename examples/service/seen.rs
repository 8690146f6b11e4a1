//! The replies to handled messages: in this process, or in Redis for all instances.

use example_support::Result;
use leakproof::{
    Claim, CommitError, DedupMap, Monitor, Serde, SharedDedup, SharedError, SharedTicket, Ticket,
};

use crate::limits::Limits;
use crate::service::Reply;

/// The beginning of the keys in Redis.
const NAMESPACE: &str = "leakproof-service";

/// Remembers the reply to each message. Ids are unique within a chat only, so a key has both.
#[derive(Clone)]
pub(crate) enum Seen {
    Local(DedupMap<[u8], Reply>),
    Shared(SharedDedup<Serde<Reply>>),
}

/// A message in progress.
pub(crate) enum InProgress {
    Local(Ticket<'static, [u8], Reply>),
    Shared(SharedTicket<Serde<Reply>>),
}

impl Seen {
    /// Connects to Redis if the limits have an address.
    pub(crate) async fn new(limits: &Limits) -> Result<Self> {
        let local = DedupMap::builder().config(&limits.dedup);
        let Some(address) = &limits.redis else {
            return Ok(Self::Local(local.build()?));
        };
        // While the server is unavailable, each instance decides alone: no message is lost.
        let shared = SharedDedup::builder()
            .redis(address)
            .namespace(NAMESPACE)
            .ttl(limits.dedup.ttl)
            .lease(limits.dedup.lease)
            .local::<DedupMap<[u8], Reply>>(local);
        Ok(Self::Shared(shared.build().await?))
    }

    pub(crate) fn watch(&self, monitor: &Monitor) {
        match self {
            Self::Local(seen) => monitor.watch("messages", seen),
            Self::Shared(seen) => monitor.watch("messages", seen),
        };
    }

    /// Claims a message, and waits while it is in flight here or in another instance.
    pub(crate) async fn claim_wait(
        &self,
        key: &[u8],
    ) -> Result<Claim<InProgress, Reply>, SharedError> {
        Ok(match self {
            Self::Local(seen) => match seen.claim_wait_owned(key).await {
                Claim::Fresh(ticket) => Claim::Fresh(InProgress::Local(ticket)),
                Claim::Duplicate { age, value } => Claim::Duplicate { age, value },
                Claim::InFlight { since } => Claim::InFlight { since },
                Claim::Full => Claim::Full,
            },
            Self::Shared(seen) => match seen.claim_wait(key).await?.answer {
                Claim::Fresh(ticket) => Claim::Fresh(InProgress::Shared(ticket)),
                Claim::Duplicate { age, value } => Claim::Duplicate {
                    age,
                    value: value.0,
                },
                Claim::InFlight { since } => Claim::InFlight { since },
                Claim::Full => Claim::Full,
            },
        })
    }

    /// Records a reply whose lease has expired, unless another delivery was handled.
    pub(crate) async fn record(&self, key: &[u8], reply: Reply) {
        match self {
            Self::Local(seen) => drop(seen.record(key, reply)),
            // If it fails, the next delivery is handled again.
            Self::Shared(seen) => drop(seen.record(key, Serde(reply)).await),
        }
    }

    /// Removes all messages of this process and returns their number. Messages that are shared with
    /// other instances stay.
    pub(crate) fn clear(&self) -> Option<usize> {
        let Self::Local(seen) = self else {
            return None;
        };
        let messages = seen.len();
        seen.clear();
        Some(messages)
    }
}

impl InProgress {
    /// Extends the lease. `commit` reports an expired one.
    pub(crate) async fn extend(&self, lease: std::time::Duration) {
        match self {
            Self::Local(ticket) => drop(ticket.extend(lease)),
            Self::Shared(ticket) => drop(ticket.extend(lease).await),
        }
    }

    /// Records the reply. Returns `false` if the lease has expired.
    pub(crate) async fn commit(self, reply: Reply) -> bool {
        match self {
            Self::Local(ticket) => ticket.commit(reply).is_ok(),
            Self::Shared(ticket) => match ticket.commit(Serde(reply)).await {
                Ok(_) => true,
                Err(CommitError::LeaseExpired { .. } | CommitError::Failed { .. }) => false,
            },
        }
    }
}
