//! `SharedDedup`: one window of ids for several instances.
//!
//! Each id passes the local tier first, a [`DedupMap`]. It answers known duplicates without a round
//! trip. For any other id it grants a claim, which is held while the server is asked. So within one
//! instance the local tier always has the last word, and an answer without the server is exact per
//! instance, whatever is on the way to the server at that moment.
//!
//! [`DedupMap`]: crate::DedupMap

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::answer::Decided;
#[cfg(doc)]
use super::answer::Unavailable;
use super::builder::SharedDedupBuilder;
use super::command::Reply;
use super::error::SharedError;
use super::inner::Inner;
use super::link::{Failure, count};
use super::recovery::Committed;
use super::script::{self, Held};
use super::stats::SharedStats;
use super::ticket::{Asked, SharedTicket};
use crate::codec::Codec;
use crate::dedup::{Claim, Recorded};
use crate::sweep::{Sweep, Watch};

/// A value of a [`SharedDedup`]: every [`Codec`] that is `Clone + Send + Sync + 'static`.
pub trait Value: Codec<Owned = Self> + Clone + Send + Sync + 'static {}
impl<V: Codec<Owned = V> + Clone + Send + Sync + 'static> Value for V {}

/// A `V` or a `&V`, for [`SharedTicket::commit`]. An error gives a `V` back, and no reference, so
/// `?` can box it.
pub trait AsValue<V> {
    /// The type that an error gives back.
    type Returned;

    /// Returns the value.
    fn as_value(&self) -> &V;

    /// Returns the part that an error gives back.
    fn into_returned(self) -> Self::Returned;
}

impl<V> AsValue<V> for V {
    type Returned = V;

    fn as_value(&self) -> &V {
        self
    }

    fn into_returned(self) -> V {
        self
    }
}

impl<V> AsValue<V> for &V {
    type Returned = ();

    fn as_value(&self) -> &V {
        self
    }

    fn into_returned(self) {}
}

/// Remembers ids for a time, for all instances of a service, with a value for each.
///
/// The ids are in Redis 6.2 or later, or in Valkey, one key per id. A bounded
/// [`DedupMap`](crate::DedupMap) in front of it knows the ids that this instance has seen. Handles
/// are clones of one another.
///
/// Ids are bytes: pass a `&str`, a `&[u8]`, or a [`CompoundKey`](crate::CompoundKey).
///
/// # Promises
///
/// While the server answers and keeps its data, at most one of any number of instances claims an id
/// within a lease. A late commit or drop changes nothing. A server that does not answer is never
/// reported as a duplicate. Every answer states the tier that decided it.
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
/// use leakproof::Claim;
/// use leakproof::redis::SharedDedup;
/// use std::time::Duration;
///
/// # async fn handle() -> String { String::new() }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let seen = SharedDedup::<String>::builder()
///     .redis("redis://127.0.0.1:6379")
///     .namespace("bot:dedup")
///     .ttl(Duration::from_secs(24 * 3600))
///     .lease(Duration::from_secs(60))
///     .build()
///     .await?;
///
/// match seen.claim("3EB0C767D26A").await?.answer {
///     Claim::Fresh(ticket) => {
///         let reply = handle().await;
///         if let Err(error) = ticket.commit(&reply).await {
///             eprintln!("handled, but perhaps not recorded: {error}");
///         }
///     }
///     Claim::Duplicate { value, .. } => println!("answered before: {value}"),
///     Claim::InFlight { since } => println!("in progress for {since:?}"),
///     Claim::Full => println!("too many messages in progress"),
/// }
/// # Ok(())
/// # }
/// ```
pub struct SharedDedup<V: Value> {
    pub(super) inner: Arc<Inner<V>>,
}

impl<V: Value> Clone for SharedDedup<V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
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
        match SharedTicket::new(inner, id, local).ask().await? {
            Asked::Decided(decided) => Ok(decided),
            Asked::Elsewhere { since, .. } => Ok(Decided::shared(Claim::InFlight { since })),
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
    /// Returns the same errors as [`claim`](Self::claim), and [`SharedError::Value`] if the id is
    /// not known and `value` cannot be encoded.
    pub async fn record(
        &self,
        id: impl AsRef<[u8]>,
        value: V,
    ) -> Result<Decided<Recorded<V>>, SharedError> {
        let (inner, id) = (&self.inner, id.as_ref());
        let local = match inner.claim_locally(id) {
            Claim::Fresh(ticket) => Some(ticket),
            // The server decides without the local tier's help.
            Claim::Full => None,
            Claim::InFlight { .. } => return Ok(Decided::local(Recorded::InFlight)),
            Claim::Duplicate { age, value } => {
                return Ok(Decided::local(Recorded::Duplicate { age, value }));
            }
        };
        let mut encoded = Vec::new();
        let encode = value.encode(&mut encoded);
        encode.map_err(|error| SharedError::value(&error))?;
        let (key, token) = (inner.key(id), script::token());
        let known = inner.known(value, inner.ttl);
        let asked_at = inner.clock.nanos();
        let command = script::record(&key, &token, inner.ttl, &encoded);
        let held = match inner.link.write(&command).await {
            Ok(reply) => Held::read(reply).ok_or(SharedError::ForeignKey)?,
            Err(failure) => {
                inner.degrade(failure, 1)?;
                let until = known.until;
                let answer = inner.record_locally(local, id, known);
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
    pub async fn contains_key(&self, id: impl AsRef<[u8]>) -> Result<Decided<bool>, SharedError> {
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
            Err(failure) => inner.degrade(failure, 1).map(|_| Decided::local(false)),
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
