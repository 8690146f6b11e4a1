//! `SharedDedupBuilder`: the options of a shared deduplicator, and their validation.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::answer::Unavailable;
use super::client::{Address, Client};
use super::command::Connection;
use super::dedup::{SharedDedup, Value};
use super::error::SharedError;
use super::inner::{Inner, Known};
use super::link::{Link, Options, Wait};
use super::recovery::Recovery;
use super::set::SharedDedupSet;
use super::stats::Counters;
use tokio::runtime::Handle;

use crate::clock::Clock;
use crate::dedup::{Collection, DedupBuilder, DedupMap};
use crate::events;
use crate::limits::{self, BuildError};

/// The bound of the local tier by default.
const LOCAL_ENTRIES: usize = 100_000;

/// Builds a [`SharedDedup`] or a [`SharedDedupSet`].
///
/// An address, `namespace` and `ttl` are required. `build` validates all options and connects.
#[must_use = "a builder does nothing until `build` is called"]
pub struct SharedDedupBuilder<C> {
    server: Option<Server>,
    namespace: Option<String>,
    ttl: Option<Duration>,
    lease: Duration,
    /// Builds a map of unit values, so that its options do not depend on the type of the value.
    local: DedupBuilder<DedupMap<[u8], ()>>,
    unavailable: Unavailable,
    timeout: Duration,
    max_failures: u32,
    retry_after: Duration,
    wait: Option<Wait>,
    max_recovery: usize,
    clock: Clock,
    built: PhantomData<fn() -> C>,
}

enum Server {
    Address(Address),
    Connection(Arc<dyn Connection>),
}

impl<C> SharedDedupBuilder<C> {
    pub(super) fn new() -> Self {
        Self {
            server: None,
            namespace: None,
            ttl: None,
            lease: Duration::from_secs(60),
            local: DedupMap::builder().max_entries(LOCAL_ENTRIES),
            unavailable: Unavailable::default(),
            timeout: Duration::from_millis(250),
            max_failures: 3,
            retry_after: Duration::from_secs(1),
            wait: None,
            max_recovery: LOCAL_ENTRIES,
            clock: Clock::default(),
            built: PhantomData,
        }
    }

    /// Sets the server, as `redis://user:password@host:port/database`. A `rediss` address uses TLS,
    /// with the feature `redis-tls` and the certificates of the system.
    pub fn redis(mut self, url: impl Into<String>) -> Self {
        self.server = Some(Server::Address(Address::Single(url.into())));
        self
    }

    /// Sets the addresses of some nodes of a cluster, which know the others.
    pub fn cluster<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        let urls = urls.into_iter().map(Into::into).collect();
        self.server = Some(Server::Address(Address::Cluster(urls)));
        self
    }

    /// Sets the addresses of sentinels, and the name by which they know the server. They are asked
    /// again after a failover.
    ///
    /// `like` is an address whose credentials, database and scheme the servers share. Its host is
    /// not used. Defaults to no credentials, database 0 and no TLS.
    pub fn sentinel<U: Into<String>>(
        mut self,
        urls: impl IntoIterator<Item = U>,
        service: impl Into<String>,
        like: Option<&str>,
    ) -> Self {
        self.server = Some(Server::Address(Address::Sentinel {
            sentinels: urls.into_iter().map(Into::into).collect(),
            service: service.into(),
            like: like.map(str::to_owned),
        }));
        self
    }

    /// Sets a connection that you hold.
    pub fn connection(mut self, connection: impl Connection) -> Self {
        self.server = Some(Server::Connection(Arc::new(connection)));
        self
    }

    /// Sets the beginning of the keys on the server. The key of an id is `namespace:id`. Required:
    /// two services with one namespace would take each other's messages for duplicates.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets the time for which an id is remembered. Required, and equal in all instances.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the time after which a claim expires. Defaults to 60 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the options of the local tier: its bounds, shards and sweeps. Its ttl, lease and clock
    /// are those of this builder. It has no journal. Defaults to 100,000 ids.
    ///
    /// Its `max_in_flight` bounds the claims of this instance, and the ids of other instances'
    /// claims for which callers of this one wait. Its `max_waiting` bounds these callers.
    pub fn local<L: Collection<Key = [u8]>>(mut self, local: DedupBuilder<L>) -> Self {
        self.local = local.cast();
        self
    }

    /// Sets who decides about an id if the server is unavailable. Defaults to
    /// [`Unavailable::Degrade`].
    pub fn when_unavailable(mut self, unavailable: Unavailable) -> Self {
        self.unavailable = unavailable;
        self
    }

    /// Sets the longest time that a call takes. Defaults to 250 ms.
    ///
    /// After half of it without a reply, the same command is sent a second time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens the circuit breaker after this number of failed calls in a row, and admits one probe
    /// each time that `retry_after` has passed. Defaults to 3 failures and 1 s.
    ///
    /// While the breaker is open, calls do not wait for the server.
    pub fn circuit_breaker(mut self, failures: u32, retry_after: Duration) -> Self {
        self.max_failures = failures;
        self.retry_after = retry_after;
        self
    }

    /// Lets each write wait until this number of replicas has it, for at most `timeout`, which must
    /// be below half of the timeout of a call. If fewer have it, the call fails like one without a
    /// reply. Defaults to no wait.
    ///
    /// Without it, a failover can lose the last claims, and two instances can claim one id. With
    /// it, a failover must still promote a replica that has the write. All calls of an instance
    /// share one connection, so each waits for the replicas of the calls before it. Not available
    /// with a cluster.
    pub fn wait_replicas(mut self, replicas: u32, timeout: Duration) -> Self {
        self.wait = Some(Wait { replicas, timeout });
        self
    }

    /// Sets the largest number of ids that wait to be pushed to the server after it was
    /// unavailable. Defaults to 100,000. The oldest are dropped and counted.
    pub fn max_recovery(mut self, max: usize) -> Self {
        self.max_recovery = max;
        self
    }

    /// Sets the clock of the local tier and of the circuit breaker. Defaults to
    /// [`Clock::coarse`]. Leases and ttls on the server follow the server's clock.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    async fn inner<V: Value>(self) -> Result<Inner<V>, SharedError> {
        let missing = |limit| BuildError::Missing { limit };
        let namespace = self.namespace.ok_or_else(|| missing("namespace"))?;
        let ttl = self.ttl.ok_or_else(|| missing("ttl"))?;
        let durations = [
            ("ttl", ttl),
            ("lease", self.lease),
            ("timeout", self.timeout),
            ("retry_after", self.retry_after),
        ];
        for (option, value) in durations {
            limits::duration(option, Some(value))?;
        }
        if self
            .wait
            .is_some_and(|wait| wait.timeout >= self.timeout / 2)
        {
            let (lower, upper) = ("wait_replicas", "timeout / 2");
            return Err(BuildError::OutOfOrder { lower, upper }.into());
        }
        let failures = usize::try_from(self.max_failures).unwrap_or(usize::MAX);
        limits::count("circuit_breaker", Some(failures), usize::MAX)?;
        let connection: Arc<dyn Connection> = match self.server {
            None => return Err(missing("redis").into()),
            Some(Server::Connection(connection)) => connection,
            Some(Server::Address(Address::Cluster(_))) if self.wait.is_some() => {
                let reason = "`wait_replicas` is not available with a cluster".to_owned();
                return Err(SharedError::Address { reason });
            }
            Some(Server::Address(address)) => {
                let client = Client::new(&address);
                let client = client.map_err(|error| SharedError::Address {
                    reason: error.reason,
                })?;
                Arc::new(client)
            }
        };
        #[cfg(feature = "persist")]
        if self.local.has_journal() {
            let reason = "the local tier of a shared deduplicator has no journal".to_owned();
            return Err(BuildError::Journal { reason }.into());
        }
        let local = self
            .local
            .ttl(ttl)
            .lease(self.lease)
            .clock(self.clock.clone());
        let local = local.cast::<DedupMap<[u8], Known<V>>>().build()?;
        let link = Arc::new(Link::new(
            connection,
            Options {
                namespace: namespace.clone(),
                timeout: self.timeout,
                max_failures: self.max_failures,
                retry_after: self.retry_after,
                wait: self.wait,
                clock: self.clock.clone(),
            },
        ));
        let counters = Counters::default();
        let mut is_unavailable = false;
        let mut eviction_policy = None;
        let prefix = format!("{namespace}:").into_bytes();
        match link.connect(&prefix).await {
            Ok(()) => eviction_policy = link.eviction_policy().await,
            Err(failure) if failure.is_denied => {
                let reason = failure.reason;
                return Err(SharedError::Denied { reason });
            }
            Err(failure) if self.unavailable == Unavailable::Refuse => {
                return Err(failure.into_error());
            }
            Err(failure) => {
                is_unavailable = true;
                events::shared_changed(&namespace, "degraded", &failure.reason);
            }
        }
        if let Some(policy) = eviction_policy
            .as_deref()
            .filter(|&policy| policy != "noeviction")
        {
            events::shared_changed(&namespace, "eviction policy", policy);
        }
        Ok(Inner {
            recovery: Recovery::new(Arc::clone(&link), self.clock.clone(), self.max_recovery),
            link,
            local,
            counters,
            clock: self.clock,
            runtime: Handle::current(),
            prefix,
            namespace,
            ttl,
            lease: self.lease,
            unavailable: self.unavailable,
            eviction_policy,
            is_unavailable: AtomicBool::new(is_unavailable),
        })
    }
}

impl<V: Value> SharedDedupBuilder<SharedDedup<V>> {
    /// Connects, and builds the deduplicator.
    ///
    /// If the server is unavailable and [`Unavailable::Degrade`] is set, the local tier decides
    /// until the server answers.
    ///
    /// # Errors
    ///
    /// Returns [`SharedError::Build`] or [`SharedError::Address`] if an option is missing or
    /// invalid. Returns [`SharedError::Denied`] if the server rejects the credentials, or if they
    /// lack the permission for a script. Returns [`SharedError::Unavailable`] if the server is
    /// unavailable and [`Unavailable::Refuse`] is set.
    ///
    /// # Panics
    ///
    /// Panics if it is polled outside of a tokio runtime.
    pub async fn build(self) -> Result<SharedDedup<V>, SharedError> {
        self.inner().await.map(SharedDedup::from_inner)
    }
}

impl SharedDedupBuilder<SharedDedupSet> {
    /// Connects, and builds the deduplicator: see [`SharedDedup::builder`].
    ///
    /// # Errors
    ///
    /// Returns the same errors as the `build` of a [`SharedDedup`].
    ///
    /// # Panics
    ///
    /// Panics if it is polled outside of a tokio runtime.
    pub async fn build(self) -> Result<SharedDedupSet, SharedError> {
        let inner = self.inner().await?;
        Ok(SharedDedupSet(SharedDedup::from_inner(inner)))
    }
}

impl<C> fmt::Debug for SharedDedupBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may contain a password.
        f.debug_struct("SharedDedupBuilder")
            .field("namespace", &self.namespace)
            .field("ttl", &self.ttl)
            .field("lease", &self.lease)
            .field("local", &self.local)
            .field("unavailable", &self.unavailable)
            .field("timeout", &self.timeout)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}
