//! Values by id: in this process, on disk if there is a journal, or in Redis for all instances.

use example_support::Result;
use leakproof::monitor::Monitor;
use leakproof::persist::{Journal, Sync};
use leakproof::redis::{SharedDedup, SharedError, SharedTicket, Unavailable, Value};
use leakproof::{Claim, DedupConfig, DedupMap, Ticket};

use crate::Options;

#[derive(Clone)]
pub enum Store<V: Value> {
    Local(DedupMap<[u8], V>),
    Shared(SharedDedup<V>),
}

/// An id in progress.
pub enum InProgress<V: Value> {
    Local(Ticket<'static, [u8], V>),
    Shared(SharedTicket<V>),
}

impl<V: Value> Store<V> {
    /// Connects to Redis if there is an address. Otherwise replays the journal, if any.
    pub async fn open(
        options: &Options,
        name: &str,
        when_unavailable: Unavailable,
        monitor: &Monitor,
    ) -> Result<Self> {
        let mut limits = DedupConfig::from_env_lenient("SERVICE_DEDUP").0;
        // Senders choose the ids, so a bound on their number does not bound their memory.
        limits.max_bytes.get_or_insert(64 << 20);
        let mut local = DedupMap::builder().config(&limits);
        if let Some(address) = &options.redis_url {
            let shared = SharedDedup::builder()
                .redis(address)
                .namespace(format!("leakproof-service:{name}"))
                .ttl(limits.ttl)
                .lease(limits.lease)
                .local::<DedupMap<[u8], V>>(local)
                .when_unavailable(when_unavailable)
                .build()
                .await?;
            monitor.watch(name, &shared);
            return Ok(Self::Shared(shared));
        }
        if let Some(folder) = &options.journal {
            // A message that was acknowledged is not lost, even if the process is killed.
            local = local.journal(Journal::open(folder.join(name))?.sync(Sync::Always));
        }
        let map = local.build()?;
        monitor.watch(name, &map);
        Ok(Self::Local(map))
    }

    /// Claims an id, and waits while it is in progress here or in another instance.
    pub async fn claim_wait(&self, id: &[u8]) -> Result<Claim<InProgress<V>, V>, SharedError> {
        Ok(match self {
            Self::Local(map) => map.claim_wait_owned(id).await.map(InProgress::Local),
            Self::Shared(shared) => shared.claim_wait(id).await?.answer.map(InProgress::Shared),
        })
    }

    /// Records a value whose lease has expired, unless another caller has recorded one.
    pub async fn record(&self, id: &[u8], value: V) {
        match self {
            Self::Local(map) => drop(map.record(id, value)),
            // If it fails, the next delivery is handled again.
            Self::Shared(shared) => drop(shared.record(id, value).await),
        }
    }
}

impl<V: Value> InProgress<V> {
    /// Records the value. Returns `false` if the lease has expired.
    pub async fn commit(self, value: V) -> bool {
        match self {
            Self::Local(ticket) => ticket.commit(value).is_ok(),
            Self::Shared(ticket) => ticket.commit(value).await.is_ok(),
        }
    }
}
