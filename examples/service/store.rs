//! Values by id: in this process, on disk if there is a journal, or in Redis for all instances.

use example_support::Result;
use leakproof::persist::{Journal, Sync};
use leakproof::{
    Claim, DedupMap, Monitor, SharedDedup, SharedError, SharedTicket, Ticket, Unavailable, Value,
};

use crate::limits::Limits;

#[derive(Clone)]
pub(crate) enum Store<V: Value> {
    Local(DedupMap<[u8], V>),
    Shared(SharedDedup<V>),
}

/// An id in progress.
pub(crate) enum InProgress<V: Value> {
    Local(Ticket<'static, [u8], V>),
    Shared(SharedTicket<V>),
}

impl<V: Value> Store<V> {
    /// Connects to Redis if the limits have an address. Otherwise replays the journal, if any.
    pub(crate) async fn new(
        limits: &Limits,
        name: &str,
        when_unavailable: Unavailable,
        monitor: &Monitor,
    ) -> Result<Self> {
        let local = DedupMap::builder().config(&limits.dedup);
        if let Some(address) = &limits.redis {
            let shared = SharedDedup::builder()
                .redis(address)
                .namespace(format!("leakproof-service:{name}"))
                .ttl(limits.dedup.ttl)
                .lease(limits.dedup.lease)
                .when_unavailable(when_unavailable)
                .local::<DedupMap<[u8], V>>(local);
            let shared = shared.build().await?;
            monitor.watch(name, &shared);
            return Ok(Self::Shared(shared));
        }
        let map = match &limits.journal {
            // A message that was acknowledged is not lost, even if the process is killed.
            Some(folder) => {
                let journal = Journal::open(folder.join(name))?.sync(Sync::Always);
                local.journal(journal).build()?
            }
            None => local.build()?,
        };
        monitor.watch(name, &map);
        Ok(Self::Local(map))
    }

    /// Claims an id, and waits while it is in progress here or in another instance.
    pub(crate) async fn claim_wait(
        &self,
        id: &[u8],
    ) -> Result<Claim<InProgress<V>, V>, SharedError> {
        Ok(match self {
            Self::Local(map) => wrap(map.claim_wait_owned(id).await, InProgress::Local),
            Self::Shared(shared) => wrap(shared.claim_wait(id).await?.answer, InProgress::Shared),
        })
    }

    /// Records a value whose lease has expired, unless another caller has recorded one.
    pub(crate) async fn record(&self, id: &[u8], value: V) {
        match self {
            Self::Local(map) => drop(map.record(id, value)),
            // If it fails, the next delivery is handled again.
            Self::Shared(shared) => drop(shared.record(id, value).await),
        }
    }

    /// Removes all ids of this process and returns their number. Shared ids stay.
    pub(crate) fn clear(&self) -> Option<usize> {
        let Self::Local(map) = self else {
            return None;
        };
        let len = map.len();
        map.clear();
        Some(len)
    }
}

impl<V: Value> InProgress<V> {
    /// Extends the lease. `commit` reports an expired one.
    pub(crate) async fn extend(&self, lease: std::time::Duration) {
        match self {
            Self::Local(ticket) => drop(ticket.extend(lease)),
            Self::Shared(ticket) => drop(ticket.extend(lease).await),
        }
    }

    /// Records the value. Returns `false` if the lease has expired.
    pub(crate) async fn commit(self, value: V) -> bool {
        match self {
            Self::Local(ticket) => ticket.commit(value).is_ok(),
            Self::Shared(ticket) => ticket.commit(value).await.is_ok(),
        }
    }
}

fn wrap<T, V: Value>(
    claim: Claim<T, V>,
    ticket: fn(T) -> InProgress<V>,
) -> Claim<InProgress<V>, V> {
    match claim {
        Claim::Fresh(fresh) => Claim::Fresh(ticket(fresh)),
        Claim::Duplicate { age, value } => Claim::Duplicate { age, value },
        Claim::InFlight { since } => Claim::InFlight { since },
        Claim::Full => Claim::Full,
    }
}
