//! `SharedDedupSet`: a [`SharedDedup`] without values.

use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use super::answer::{Decided, Tier};
use super::builder::SharedDedupBuilder;
use super::dedup::SharedDedup;
use super::error::{CommitError, SharedError};
use super::stats::SharedStats;
use super::ticket::SharedTicket;
use crate::dedup::{Claim, Recorded};
use crate::sweep::{Sweep, Watch};

/// Remembers ids for a time, for all instances of a service: a [`SharedDedup`] without values.
///
/// ```no_run
/// use leakproof::redis::SharedDedupSet;
/// use std::time::Duration;
///
/// # async fn example() -> Result<(), leakproof::redis::SharedError> {
/// let seen = SharedDedupSet::builder()
///     .redis("redis://127.0.0.1:6379")
///     .namespace("bot:dedup")
///     .ttl(Duration::from_secs(24 * 3600))
///     .build()
///     .await?;
/// if seen.insert("3EB0C767D26A").await?.answer {
///     // The id is new in every instance: handle the message.
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedDedupSet(pub(super) SharedDedup<()>);

/// A claim on an id in a [`SharedDedupSet`]: a [`SharedTicket`] whose commit takes no value.
#[must_use = "a ticket releases its id when it is dropped"]
#[derive(Debug)]
pub struct SharedSetTicket(SharedTicket<()>);

impl SharedDedupSet {
    /// Returns a builder with every option at its default.
    pub fn builder() -> SharedDedupBuilder<Self> {
        SharedDedupBuilder::new()
    }

    /// Records an id. Returns `true` if it is new, and `false` if it was recorded within the ttl or
    /// is in flight.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedDedup::record`]. See there for what is unknown then.
    pub async fn insert(&self, id: impl AsRef<[u8]>) -> Result<Decided<bool>, SharedError> {
        let Decided { answer, tier } = self.0.record(id, ()).await?;
        // An id for which the local tier has no room is new.
        let answer = matches!(answer, Recorded::New | Recorded::Rejected { .. });
        Ok(Decided { answer, tier })
    }

    /// Records an id, and returns the age of a duplicate: see [`SharedDedup::record`].
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedDedup::record`].
    pub async fn record(&self, id: impl AsRef<[u8]>) -> Result<Decided<Recorded<()>>, SharedError> {
        self.0.record(id, ()).await
    }

    /// [`insert`](Self::insert)s many ids, 1,000 per round trip. Returns one answer for each. The
    /// first of equal ids is new.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedDedup::record`]. It is unknown then which of the ids were
    /// recorded.
    pub async fn insert_batch<Q: AsRef<[u8]>>(
        &self,
        ids: impl IntoIterator<Item = Q>,
    ) -> Result<Vec<Decided<bool>>, SharedError> {
        self.0.insert_batch(ids).await
    }

    /// Claims an id before it is handled: see [`SharedDedup::claim`].
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedDedup::claim`].
    pub async fn claim(
        &self,
        id: impl AsRef<[u8]>,
    ) -> Result<Decided<Claim<SharedSetTicket, ()>>, SharedError> {
        self.0.claim(id).await.map(with_set_ticket)
    }

    /// Claims an id, and waits while it is in flight: see [`SharedDedup::claim_wait`].
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedDedup::claim`].
    pub async fn claim_wait(
        &self,
        id: impl AsRef<[u8]>,
    ) -> Result<Decided<Claim<SharedSetTicket, ()>>, SharedError> {
        self.0.claim_wait(id).await.map(with_set_ticket)
    }

    /// Returns `true` if the id is recorded. Refreshes nothing.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedDedup::claim`].
    pub async fn contains(&self, id: impl AsRef<[u8]>) -> Result<Decided<bool>, SharedError> {
        self.0.contains_key(id).await
    }

    /// Removes a recorded id, and returns `true` if it was there: see [`SharedDedup::remove`].
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedDedup::remove`].
    pub async fn remove(&self, id: impl AsRef<[u8]>) -> Result<bool, SharedError> {
        self.0.remove(id).await.map(|removed| removed.is_some())
    }

    /// Returns the counters of this instance, and the size of its local tier.
    #[must_use]
    pub fn stats(&self) -> SharedStats {
        self.0.stats()
    }

    /// Returns the time for which an id is remembered.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.0.ttl()
    }

    /// Returns the time after which a claim expires.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.0.lease()
    }
}

fn with_set_ticket(
    decided: Decided<Claim<SharedTicket<()>, ()>>,
) -> Decided<Claim<SharedSetTicket, ()>> {
    Decided {
        answer: decided.answer.map(SharedSetTicket),
        tier: decided.tier,
    }
}

impl SharedSetTicket {
    /// Returns the tier that granted the claim.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.0.tier()
    }

    /// Records the id as handled: see [`SharedTicket::commit`].
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedTicket::commit`].
    pub async fn commit(self) -> Result<Tier, CommitError<()>> {
        self.0.commit(()).await
    }

    /// Lets the lease end later: see [`SharedTicket::extend`].
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`SharedTicket::extend`].
    pub async fn extend(&self, duration: Duration) -> Result<Tier, CommitError<()>> {
        self.0.extend(duration).await
    }

    /// Releases the id and waits for the server: see [`SharedTicket::release`].
    ///
    /// # Errors
    ///
    /// Returns [`SharedError::Unavailable`] if the server is unavailable.
    pub async fn release(self) -> Result<(), SharedError> {
        self.0.release().await
    }
}

impl Watch for SharedDedupSet {
    fn downgrade_to_sweep(&self) -> Weak<dyn Sweep> {
        self.0.downgrade_to_sweep()
    }
}

impl fmt::Debug for SharedDedupSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
