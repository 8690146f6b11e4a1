//! `SharedDedup`: one window of ids for several instances.
//!
//! Each id passes the local tier first, a [`DedupMap`]. It answers known duplicates without a round
//! trip. For any other id it grants a claim, which is held while the server is asked. So within one
//! instance the local tier always has the last word, and an answer without the server is exact per
//! instance, whatever is on the way to the server at that moment.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::builder::SharedDedupBuilder;
use super::command::Reply;
use super::error::SharedError;
use super::link::{Failure, Link, count};
use super::recovery::{Committed, Recovery};
use super::script::{self, Held};
use super::stats::{Counters, SharedStats, read};
use super::ticket::SharedTicket;
use crate::clock::{Clock, Nanos, nanos};
use crate::codec::Codec;
use crate::dedup::{Claim, DedupMap, Recorded, Ticket};
use crate::events;
use crate::stats::Usage;
use crate::sweep::{Sweep, Swept, Watch};

/// Ids per write of a batch.
const BATCH: usize = 1_000;
/// The pauses of `claim_wait`.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// A value of a [`SharedDedup`]: every [`Codec`] that is `Clone + Send + Sync + 'static`.
pub trait Value: Codec<Owned = Self> + Clone + Send + Sync + 'static {}
impl<V: Codec<Owned = V> + Clone + Send + Sync + 'static> Value for V {}

/// The tier that decided an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The server decided, for all instances.
    Shared,
    /// This instance decided alone: it knew the answer, or the server was unavailable.
    Local,
}

/// An answer, and the tier that decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided<T> {
    /// The answer.
    pub answer: T,
    /// The tier that decided it.
    pub tier: Tier,
}

impl<T> Decided<T> {
    fn shared(answer: T) -> Self {
        let tier = Tier::Shared;
        Self { answer, tier }
    }

    fn local(answer: T) -> Self {
        let tier = Tier::Local;
        Self { answer, tier }
    }
}

/// The decision about an id if the server is unavailable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unavailable {
    /// The local tier decides: exactly for each instance, so each of several instances may handle
    /// the id. No message is lost.
    #[default]
    Degrade,
    /// The call fails with [`SharedError::Unavailable`].
    Refuse,
}

/// Remembers ids for a time, for all instances of a service, with a value for each.
///
/// The ids are in Redis 6.2 or later, or in Valkey, one key per id. A bounded [`DedupMap`] in
/// front of it knows the ids that this instance has seen. Handles are clones of one another.
///
/// Ids are bytes: pass a `&str`, a `&[u8]`, or a [`CompoundKey`](crate::CompoundKey).
///
/// # Promises
///
/// Exactly one of any number of instances claims an id within a lease. A late commit or drop
/// changes nothing. A server that does not answer is never reported as a duplicate. Every answer
/// states the tier that decided it.
///
/// A failover of the server can lose the last writes, and then an id can be claimed twice. See
/// [`SharedDedupBuilder::wait_replicas`] and the [guide](crate::docs::more_than_one_instance).
///
/// # Cost
///
/// `claim`, `record`, `commit`, `extend` and `release` take one round trip, and an id that is known
/// to be recorded takes none. A call takes at most [`SharedDedupBuilder::timeout`].
///
/// # Example
///
/// ```no_run
/// use leakproof::{Claim, SharedDedup};
/// use std::time::Duration;
///
/// # async fn handle() -> String { String::new() }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let seen = SharedDedup::<String>::builder()
///     .redis("redis://127.0.0.1:6379")
///     .namespace("wa:dedup")
///     .ttl(Duration::from_secs(24 * 3600))
///     .lease(Duration::from_secs(60))
///     .build()
///     .await?;
///
/// match seen.claim("3EB0C767D26A").await?.answer {
///     Claim::Fresh(ticket) => {
///         let reply = handle().await;
///         ticket.commit(reply.clone()).await?;
///     }
///     Claim::Duplicate { value, .. } => println!("answered before: {value}"),
///     Claim::InFlight { since } => println!("in progress for {since:?}"),
///     Claim::Full => println!("too many messages in progress"),
/// }
/// # Ok(())
/// # }
/// ```
pub struct SharedDedup<V: Value> {
    inner: Arc<Inner<V>>,
}

/// The state that all handles and tickets share.
pub(super) struct Inner<V: Value> {
    pub(super) link: Arc<Link>,
    pub(super) local: DedupMap<[u8], Known<V>>,
    pub(super) recovery: Arc<Recovery>,
    pub(super) counters: Counters,
    pub(super) clock: Clock,
    /// The beginning of each key, with its colon.
    pub(super) prefix: Vec<u8>,
    pub(super) namespace: String,
    pub(super) ttl: Duration,
    pub(super) lease: Duration,
    pub(super) unavailable: Unavailable,
    pub(super) eviction_policy: Option<String>,
    /// `true` since the first call that the server did not answer, until it answers one.
    pub(super) is_unavailable: AtomicBool,
}

/// A value in the local tier, with the time until which the server remembers it.
///
/// The local tier has one ttl for all ids. An id that another instance recorded has less time left.
#[derive(Clone)]
pub(super) struct Known<V> {
    value: V,
    pub(super) until: Nanos,
}

/// The local tier's part of a claim. `None` if it has no room for the claim.
type LocalTicket<V> = Option<Ticket<'static, [u8], Known<V>>>;

impl<V: Value> Clone for SharedDedup<V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<V: Value> Inner<V> {
    pub(super) fn key(&self, id: &[u8]) -> Vec<u8> {
        [&self.prefix, id].concat()
    }

    /// Returns a value with the time until which it is remembered, counted from now.
    pub(super) fn known(&self, value: V, remaining: Duration) -> Known<V> {
        let until = self.clock.nanos().saturating_add(nanos(remaining));
        Known { value, until }
    }

    fn age(&self, remaining: Duration) -> Duration {
        self.ttl.saturating_sub(remaining)
    }

    /// Claims an id in the local tier. Returns an answer if the local tier knows one.
    fn claim_locally(&self, id: &[u8]) -> Claim<Ticket<'static, [u8], Known<V>>, V> {
        loop {
            match self.local.claim_owned(id) {
                Claim::Duplicate { value: known, .. } => {
                    let now = self.clock.nanos();
                    if known.until > now {
                        count(&self.counters.local_hits);
                        let remaining = Duration::from_nanos(known.until - now);
                        let (age, value) = (self.age(remaining), known.value);
                        return Claim::Duplicate { age, value };
                    }
                    // The server has forgotten it. Another task may do the same here, or may have
                    // recorded it anew, which only costs a round trip.
                    self.local.remove(id);
                }
                Claim::InFlight { since } => {
                    count(&self.counters.local_hits);
                    return Claim::InFlight { since };
                }
                Claim::Fresh(ticket) => return Claim::Fresh(ticket),
                Claim::Full => return Claim::Full,
            }
        }
    }

    /// Counts an answer of the server.
    pub(super) fn answered(&self) {
        count(&self.counters.shared);
        // Relaxed: the flag guards no data. A plain load first keeps the cache line shared.
        if self.is_unavailable.load(Ordering::Relaxed)
            && self.is_unavailable.swap(false, Ordering::Relaxed)
        {
            events::shared_changed(&self.namespace, "recovered", "");
            self.recovery.start();
        }
    }

    /// Lets the local tier decide, or returns the error of the call.
    pub(super) fn degrade(&self, failure: Failure) -> Result<(), SharedError> {
        let degrades = self.unavailable == Unavailable::Degrade;
        if !self.is_unavailable.swap(true, Ordering::Relaxed) {
            let change = if degrades { "degraded" } else { "refused" };
            events::shared_changed(&self.namespace, change, &failure.reason);
        }
        if degrades {
            count(&self.counters.degraded);
            Ok(())
        } else {
            count(&self.counters.refused);
            Err(failure.into_error())
        }
    }

    /// Remembers an id that the server reports as recorded, and returns the answer.
    fn remember(
        &self,
        local: LocalTicket<V>,
        remaining: Option<Duration>,
        encoded: &[u8],
        asked_at: Nanos,
    ) -> Result<(Duration, V), SharedError> {
        let value = V::decode(encoded).map_err(|error| SharedError::value(&error))?;
        let remaining = remaining.unwrap_or(self.ttl);
        if let Some(local) = local {
            // The time on the way counts as passed, so that the local tier forgets first.
            let until = asked_at.saturating_add(nanos(remaining.min(self.ttl)));
            let value = value.clone();
            // An error means that the round trip took longer than the lease.
            let _ = local.commit(Known { value, until });
        }
        Ok((self.age(remaining), value))
    }

    fn stats(&self) -> SharedStats {
        let counters = &self.counters;
        let link = &self.link.counters;
        SharedStats {
            local: self.local.stats(),
            shared: read(&counters.shared),
            local_hits: read(&counters.local_hits),
            degraded: read(&counters.degraded),
            refused: read(&counters.refused),
            late_commits: read(&counters.late_commits),
            round_trips: read(&link.round_trips),
            repeated: read(&link.repeated),
            timeouts: read(&link.timeouts),
            reconnects: read(&link.reconnects),
            breaker_opened: read(&link.breaker_opened),
            breaker_open: self.link.is_open(),
            recovery_len: self.recovery.len(),
            recovered: read(&self.recovery.recovered),
            recovery_dropped: read(&self.recovery.dropped),
            conflicts: read(&self.recovery.conflicts),
            eviction_policy: self.eviction_policy.clone(),
        }
    }
}

impl Failure {
    pub(super) fn into_error(self) -> SharedError {
        SharedError::Unavailable {
            reason: self.reason,
        }
    }
}

impl<V: Value> SharedDedup<V> {
    /// Returns a builder with every option at its default.
    pub fn builder() -> SharedDedupBuilder<Self> {
        SharedDedupBuilder::new()
    }

    pub(super) fn from_inner(inner: Inner<V>) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Claims an id before it is handled. Until the [`SharedTicket`] is committed or dropped, or
    /// its lease expires, every claim of this id in any instance returns that it is in flight.
    ///
    /// # Errors
    ///
    /// Returns [`SharedError::Unavailable`] if the server is unavailable and
    /// [`Unavailable::Refuse`] is set. Returns [`SharedError::Value`] if the recorded value cannot
    /// be decoded, and [`SharedError::ForeignKey`] if other software wrote the key.
    pub async fn claim(
        &self,
        id: impl AsRef<[u8]>,
    ) -> Result<Decided<Claim<SharedTicket<V>, V>>, SharedError> {
        let (inner, id) = (&self.inner, id.as_ref());
        let local = match inner.claim_locally(id) {
            Claim::Fresh(ticket) => ticket,
            Claim::InFlight { since } => return Ok(Decided::local(Claim::InFlight { since })),
            Claim::Duplicate { age, value } => {
                return Ok(Decided::local(Claim::Duplicate { age, value }));
            }
            Claim::Full => return Ok(Decided::local(Claim::Full)),
        };
        let mut ticket = SharedTicket::new(inner, id, Some(local));
        let asked_at = inner.clock.nanos();
        let reply = match ticket.ask().await {
            Ok(reply) => reply,
            Err(failure) => {
                inner.degrade(failure)?;
                return Ok(Decided::local(Claim::Fresh(ticket)));
            }
        };
        inner.answered();
        let answer = match Held::read(reply) {
            Some(Held::Mine) => Claim::Fresh(ticket),
            Some(Held::InFlight { since }) => {
                drop(ticket.refused());
                Claim::InFlight { since }
            }
            Some(Held::Done { remaining, value }) => {
                let local = ticket.refused();
                let (age, value) = inner.remember(local, remaining, &value, asked_at)?;
                Claim::Duplicate { age, value }
            }
            None => return Err(SharedError::ForeignKey),
        };
        Ok(Decided::shared(answer))
    }

    /// Claims an id, and waits while it is in flight: until it is committed or released, or its
    /// lease expires. Never returns [`Claim::InFlight`].
    ///
    /// Asks again after pauses of 5 ms, doubled up to 250 ms, because a server does not report that
    /// a key has expired. For a bound on the time, use `tokio::time::timeout`.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`claim`](Self::claim).
    pub async fn claim_wait(
        &self,
        id: impl AsRef<[u8]>,
    ) -> Result<Decided<Claim<SharedTicket<V>, V>>, SharedError> {
        let id = id.as_ref();
        let mut pause = FIRST_PAUSE;
        loop {
            let decided = self.claim(id).await?;
            if !matches!(decided.answer, Claim::InFlight { .. }) {
                return Ok(decided);
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LAST_PAUSE);
        }
    }

    /// Records an id with a value, unless it was recorded within the ttl or is in flight.
    ///
    /// If the server does not answer and [`Unavailable::Refuse`] is set, it is unknown whether the
    /// id was recorded, and its next delivery may be a duplicate. Claim the id if a failed call
    /// must not lose the message.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`claim`](Self::claim), and [`SharedError::Value`] if `value`
    /// cannot be encoded.
    pub async fn record(
        &self,
        id: impl AsRef<[u8]>,
        value: V,
    ) -> Result<Decided<Recorded<V>>, SharedError> {
        let (inner, id) = (&self.inner, id.as_ref());
        let mut encoded = Vec::new();
        let encode = value.encode(&mut encoded);
        encode.map_err(|error| SharedError::value(&error))?;
        let local = match inner.claim_locally(id) {
            Claim::Fresh(ticket) => Some(ticket),
            // The server decides without the local tier's help.
            Claim::Full => None,
            Claim::InFlight { .. } => return Ok(Decided::local(Recorded::InFlight)),
            Claim::Duplicate { age, value } => {
                return Ok(Decided::local(Recorded::Duplicate { age, value }));
            }
        };
        let (key, token) = (inner.key(id), script::token());
        let known = inner.known(value, inner.ttl);
        let asked_at = inner.clock.nanos();
        let command = script::record(&key, &token, inner.ttl, &encoded);
        let held = match inner.link.write(&command).await {
            Ok(reply) => Held::read(reply).ok_or(SharedError::ForeignKey)?,
            Err(failure) => {
                inner.degrade(failure)?;
                let until = known.until;
                let answer = match local {
                    Some(local) => {
                        let _ = local.commit(known);
                        Recorded::New
                    }
                    None => match inner.local.record(id, known) {
                        Recorded::New => Recorded::New,
                        Recorded::InFlight => Recorded::InFlight,
                        Recorded::Rejected { value } => Recorded::Rejected { value: value.value },
                        Recorded::Duplicate { age, value } => {
                            let value = value.value;
                            Recorded::Duplicate { age, value }
                        }
                    },
                };
                if matches!(answer, Recorded::New) {
                    inner.recovery.add(Committed {
                        key,
                        token,
                        value: encoded,
                        until,
                    });
                }
                return Ok(Decided::local(answer));
            }
        };
        inner.answered();
        Ok(Decided::shared(match held {
            Held::Mine => {
                if let Some(local) = local {
                    let _ = local.commit(known);
                }
                Recorded::New
            }
            Held::InFlight { .. } => Recorded::InFlight,
            Held::Done { remaining, value } => {
                let (age, value) = inner.remember(local, remaining, &value, asked_at)?;
                Recorded::Duplicate { age, value }
            }
        }))
    }

    /// Returns `true` if the id is recorded. Refreshes nothing.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`claim`](Self::claim).
    pub async fn contains(&self, id: impl AsRef<[u8]>) -> Result<Decided<bool>, SharedError> {
        let (inner, id) = (&self.inner, id.as_ref());
        let now = inner.clock.nanos();
        if inner.local.get(id).is_some_and(|known| known.until > now) {
            count(&inner.counters.local_hits);
            return Ok(Decided::local(true));
        }
        match inner.link.read(&script::state(&inner.key(id))).await {
            Ok(reply) => {
                inner.answered();
                Ok(Decided::shared(reply == Reply::Bytes(b"D".to_vec())))
            }
            Err(failure) => inner.degrade(failure).map(|()| Decided::local(false)),
        }
    }

    /// Removes a recorded id and returns its value. An id in flight stays with its ticket.
    ///
    /// Other instances may know the id in their local tiers, and report it as a duplicate until its
    /// ttl ends.
    ///
    /// # Errors
    ///
    /// Returns [`SharedError::Unavailable`] if the server is unavailable, with both values of
    /// [`Unavailable`], because the local tier cannot remove the id. Returns
    /// [`SharedError::Value`] if the value cannot be decoded. It is removed then.
    pub async fn remove(&self, id: impl AsRef<[u8]>) -> Result<Option<V>, SharedError> {
        let (inner, id) = (&self.inner, id.as_ref());
        let reply = inner.link.write(&script::remove(&inner.key(id))).await;
        let reply = reply.map_err(Failure::into_error)?;
        inner.answered();
        inner.local.remove(id);
        match reply {
            Reply::Bytes(encoded) => {
                let value = V::decode(&encoded);
                Ok(Some(value.map_err(|error| SharedError::value(&error))?))
            }
            _ => Ok(None),
        }
    }

    /// Returns the counters of this instance, and the size of its local tier.
    #[must_use]
    pub fn stats(&self) -> SharedStats {
        self.inner.stats()
    }

    /// Returns the time for which an id is remembered.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.inner.ttl
    }

    /// Returns the time after which a claim expires.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.inner.lease
    }
}

impl SharedDedup<()> {
    pub(super) async fn insert_batch<Q: AsRef<[u8]>>(
        &self,
        ids: impl IntoIterator<Item = Q>,
    ) -> Result<Vec<Decided<bool>>, SharedError> {
        let mut answers = Vec::new();
        let mut ids = ids.into_iter();
        loop {
            let batch: Vec<Q> = ids.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(answers);
            }
            self.insert_some(&batch, &mut answers).await?;
        }
    }

    /// Inserts ids with one write. Each id is claimed in the local tier first, so the second of
    /// equal ids is in flight.
    async fn insert_some<Q: AsRef<[u8]>>(
        &self,
        ids: &[Q],
        answers: &mut Vec<Decided<bool>>,
    ) -> Result<(), SharedError> {
        let inner = &self.inner;
        let first_answer = answers.len();
        let (mut asked, mut first, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for (at, id) in ids.iter().enumerate() {
            answers.push(Decided::local(false));
            let local = match inner.claim_locally(id.as_ref()) {
                Claim::Fresh(ticket) => Some(ticket),
                Claim::Full => None,
                Claim::InFlight { .. } | Claim::Duplicate { .. } => continue,
            };
            let (key, token) = (inner.key(id.as_ref()), script::token());
            first.push(script::record_if_absent(&key, &token, inner.ttl));
            again.push(script::record(&key, &token, inner.ttl, b""));
            asked.push((first_answer + at, local, key, token));
        }
        if asked.is_empty() {
            return Ok(());
        }
        let known = inner.known((), inner.ttl);
        let replies = inner.link.write_all(first, again).await;
        if let Err(failure) = replies {
            inner.degrade(failure)?;
            for (at, local, key, token) in asked {
                let id = ids[at - first_answer].as_ref();
                let is_new = match local {
                    Some(local) => local.commit(known.clone()).is_ok(),
                    None => inner.local.record(id, known.clone()) == Recorded::New,
                };
                answers[at] = Decided::local(is_new);
                if is_new {
                    inner.recovery.add(Committed {
                        key,
                        token,
                        value: Vec::new(),
                        until: known.until,
                    });
                }
            }
            return Ok(());
        }
        for ((at, local, ..), reply) in asked.into_iter().zip(replies.unwrap_or_default()) {
            let is_new = match reply {
                // The reply of a first attempt.
                Reply::Bytes(_) => true,
                Reply::Nil => false,
                reply => Held::read(reply).ok_or(SharedError::ForeignKey)? == Held::Mine,
            };
            inner.answered();
            answers[at] = Decided::shared(is_new);
            if let (true, Some(local)) = (is_new, local) {
                let _ = local.commit(known.clone());
            }
        }
        Ok(())
    }
}

impl<V: PartialEq> PartialEq for Known<V> {
    fn eq(&self, other: &Self) -> bool {
        self.until == other.until && self.value == other.value
    }
}

impl<V: Value> Sweep for Inner<V> {
    fn sweep_some(&self, budget: usize) -> Swept {
        match self.local.downgrade_to_sweep().upgrade() {
            Some(local) => local.sweep_some(budget),
            None => Swept::default(),
        }
    }

    fn usage(&self) -> Usage {
        self.stats().usage()
    }
}

impl<V: Value> Watch for SharedDedup<V> {
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep> {
        let weak: Weak<Inner<V>> = Arc::downgrade(&self.inner);
        weak
    }
}

impl<V: Value> fmt::Debug for SharedDedup<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedDedup")
            .field("namespace", &self.inner.namespace)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Asserts at compile time that a future can be spawned.
#[allow(dead_code, reason = "only compiled")]
fn assert_futures_are_send(seen: &SharedDedup<String>) {
    fn is_send<T: Send>(_: impl Future<Output = T> + Send) {}
    is_send(seen.claim("id"));
    is_send(seen.record("id", String::new()));
}
