//! `SharedTicket`: a claim on an id, held in both tiers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Decided, Tier};
use super::command::Reply;
use super::dedup::{AsValue, Value};
use super::error::{CommitError, SharedError};
use super::inner::{Inner, Known, LocalTicket};
use super::link::{Failure, count};
use super::recovery::Committed;
use super::script::{self, Held, Token};
use crate::dedup::{Claim, Ticket};

/// A claim on an id in a [`SharedDedup`](crate::redis::SharedDedup). Commit it when the id has been
/// handled.
///
/// It owns what it needs and can move to another task. A ticket that is dropped without a commit
/// releases the id, in a task that the drop spawns: on the runtime of the caller or, outside of a
/// runtime, on the one on which the deduplicator was built. If that one has ended, the id stays in
/// flight until its lease expires.
#[must_use = "a ticket releases its id when it is dropped"]
pub struct SharedTicket<V: Value> {
    inner: Arc<Inner<V>>,
    key: Vec<u8>,
    token: Token,
    tier: Tier,
    /// The claim in the local tier, which keeps other tasks of this instance from the id.
    local: Option<LocalTicket<V>>,
    /// `true` if the server may have a claim with this token.
    is_shared: bool,
    /// `true` if a caller has the claim, so that its drop counts as a release.
    is_granted: bool,
    /// `true` if a drop leaves the claim on the server until its lease ends.
    is_kept: bool,
}

/// The answer to a claim that the local tier has granted.
pub(super) enum Asked<V: Value> {
    Decided(Decided<Claim<SharedTicket<V>, V>>),
    /// Another instance holds the claim. The ticket holds the one of the local tier.
    Elsewhere {
        ticket: SharedTicket<V>,
        since: Duration,
        /// The rest of the lease.
        remaining: Duration,
    },
}

impl<V: Value> SharedTicket<V> {
    pub(super) fn new(inner: &Arc<Inner<V>>, id: &[u8], local: LocalTicket<V>) -> Self {
        Self {
            inner: Arc::clone(inner),
            key: inner.key(id),
            token: script::token(),
            tier: Tier::Shared,
            local: Some(local),
            is_shared: false,
            is_granted: false,
            is_kept: false,
        }
    }

    /// Asks the server for the id. Until the answer is known, a drop releases the claim.
    pub(super) async fn ask(mut self) -> Result<Asked<V>, SharedError> {
        let inner = Arc::clone(&self.inner);
        let asked_at = inner.clock.nanos();
        let command = script::claim(&self.key, &self.token, inner.lease);
        self.is_shared = true;
        let reply = match inner.link.write(&command).await {
            Ok(reply) => reply,
            Err(failure) => {
                self.is_shared = failure.was_sent;
                self.tier = Tier::Local;
                inner.degrade(failure, 1)?;
                self.is_granted = true;
                return Ok(Asked::Decided(Decided::local(Claim::Fresh(self))));
            }
        };
        inner.answered();
        let answer = match Held::read(reply) {
            Some(Held::Mine) => {
                self.is_granted = true;
                Claim::Fresh(self)
            }
            Some(Held::InFlight { since, remaining }) => {
                self.is_shared = false;
                let ticket = self;
                return Ok(Asked::Elsewhere {
                    ticket,
                    since,
                    remaining,
                });
            }
            Some(Held::Done { remaining, value }) => {
                self.is_shared = false;
                let local = self.local.take();
                let (age, value) = inner.remember(local, remaining, &value, asked_at)?;
                Claim::Duplicate { age, value }
            }
            None => return Err(SharedError::ForeignKey),
        };
        Ok(Asked::Decided(Decided::shared(answer)))
    }

    /// Lets the lease in the local tier begin anew. Returns `false` if it has expired.
    pub(super) fn renew(&self) -> bool {
        let local = self.local.as_ref();
        local.is_some_and(|local| local.extend(self.inner.lease).is_ok())
    }

    /// Returns the tier that granted the claim.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Records the id as handled, with `value`. Its ttl begins now. Takes one round trip, and
    /// returns the tier that recorded it.
    ///
    /// `value` is a `V`, which an error gives back, or a `&V`. A claim that the local tier granted
    /// is committed there, and is pushed to the server later.
    ///
    /// ```no_run
    /// use leakproof::Claim;
    /// use leakproof::redis::SharedDedup;
    /// use std::error::Error;
    ///
    /// # async fn handle(_: &str) -> Result<String, std::io::Error> { Ok(String::new()) }
    /// async fn deliver(
    ///     seen: &SharedDedup<String>,
    ///     id: &str,
    /// ) -> Result<Option<String>, Box<dyn Error + Send + Sync>> {
    ///     let Claim::Fresh(ticket) = seen.claim(id).await?.answer else {
    ///         return Ok(None);
    ///     };
    ///     let reply = handle(id).await?;
    ///     if let Err(error) = ticket.commit(&reply).await {
    ///         eprintln!("handled, but perhaps not recorded: {error}");
    ///     }
    ///     Ok(Some(reply))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`CommitError::LeaseExpired`] if the lease has expired. Nothing is changed then: if
    /// the work was done, [`record`](crate::redis::SharedDedup::record) its value. Returns
    /// [`CommitError::Failed`] if the value cannot be encoded, or if the server is unavailable and
    /// [`Unavailable::Refuse`](crate::redis::Unavailable::Refuse) is set. With
    /// [`Unavailable::Degrade`](crate::redis::Unavailable::Degrade), it returns that error only if
    /// the lease has expired as well, because the server may have recorded the id before.
    pub async fn commit<B: AsValue<V>>(
        mut self,
        value: B,
    ) -> Result<Tier, CommitError<B::Returned>> {
        let mut encoded = Vec::new();
        if let Err(error) = value.as_value().encode(&mut encoded) {
            let (value, error) = (value.into_returned(), SharedError::value(&error));
            return Err(CommitError::Failed { value, error });
        }
        let inner = Arc::clone(&self.inner);
        let known = inner.known(value.as_value().clone(), inner.ttl);
        let value = value.into_returned();
        if self.tier == Tier::Local {
            return self.commit_locally(value, known, encoded, None);
        }
        let command = script::commit(&self.key, &self.token, inner.ttl, &encoded);
        match inner.link.write(&command).await {
            Ok(Reply::Integer(1)) => {
                self.is_shared = false;
                inner.answered();
                if let Some(local) = self.local.take() {
                    // The local lease may have ended first. The id is asked for again then.
                    let _ = local.commit(known);
                }
                Ok(Tier::Shared)
            }
            Ok(Reply::Integer(0)) => {
                (self.is_shared, self.is_granted) = (false, false);
                inner.answered();
                count(&inner.counters.late_commits);
                Err(CommitError::LeaseExpired { value })
            }
            Ok(_) => {
                let error = SharedError::ForeignKey;
                Err(CommitError::Failed { value, error })
            }
            Err(failure) => match inner.degrade(failure, 1) {
                Ok(failure) => self.commit_locally(value, known, encoded, Some(failure)),
                Err(error) => Err(CommitError::Failed { value, error }),
            },
        }
    }

    /// Records the id like [`commit`](Self::commit). If that fails, the id stays in flight until
    /// its lease ends: its work was done, and a release would let the next delivery do it again.
    #[cfg(feature = "http")]
    pub(crate) async fn commit_or_keep(mut self, value: V) -> Result<Tier, CommitError<V>> {
        self.is_kept = true;
        self.commit(value).await
    }

    /// Commits in the local tier. `failure` is that of the server, if it was asked.
    fn commit_locally<R>(
        mut self,
        value: R,
        known: Known<V>,
        encoded: Vec<u8>,
        failure: Option<Failure>,
    ) -> Result<Tier, CommitError<R>> {
        let until = known.until;
        let local = self.local.take();
        if local.is_some_and(|local| local.commit(known).is_err()) {
            return Err(match failure.filter(|failure| failure.was_sent) {
                // The server may have recorded the id, so the claim is not void for certain.
                Some(failure) => {
                    let error = failure.into_error();
                    CommitError::Failed { value, error }
                }
                None => {
                    count(&self.inner.counters.late_commits);
                    CommitError::LeaseExpired { value }
                }
            });
        }
        self.is_shared = false;
        self.inner.recovery.add(Committed {
            key: std::mem::take(&mut self.key),
            token: self.token,
            value: encoded,
            until,
        });
        Ok(Tier::Local)
    }

    /// Lets the lease end `duration` from now, or when it would end anyway if that is later. Takes
    /// one round trip, and returns the tier that extended it.
    ///
    /// # Errors
    ///
    /// Returns [`CommitError::LeaseExpired`] if the lease has expired, and [`CommitError::Failed`]
    /// if the server is unavailable and
    /// [`Unavailable::Refuse`](crate::redis::Unavailable::Refuse) is set. The ticket is still valid
    /// after a failure, until its lease ends.
    pub async fn extend(&self, duration: Duration) -> Result<Tier, CommitError<()>> {
        let inner = &self.inner;
        let expired = Err(CommitError::LeaseExpired { value: () });
        let extended_locally = match &self.local {
            Some(local) => local.extend(duration).is_ok(),
            None => true,
        };
        if self.tier == Tier::Local {
            return if extended_locally {
                Ok(Tier::Local)
            } else {
                expired
            };
        }
        let command = script::extend(&self.key, &self.token, duration);
        match inner.link.write(&command).await {
            Ok(Reply::Integer(1)) => {
                inner.answered();
                Ok(Tier::Shared)
            }
            Ok(_) => {
                inner.answered();
                expired
            }
            Err(failure) => match inner.degrade(failure, 1) {
                Ok(_) if extended_locally => Ok(Tier::Local),
                Ok(_) => expired,
                Err(error) => Err(CommitError::Failed { value: (), error }),
            },
        }
    }

    /// Releases the id, like dropping the ticket, and waits for the server. The next delivery of
    /// the id is fresh.
    ///
    /// # Errors
    ///
    /// Returns [`SharedError::Unavailable`] if the server is unavailable. The id is in flight until
    /// its lease ends then.
    pub async fn release(mut self) -> Result<(), SharedError> {
        if self.is_shared {
            let command = script::release(&self.key, &self.token);
            let released = self.inner.link.write(&command).await;
            released.map_err(Failure::into_error)?;
            self.is_shared = false;
        }
        Ok(())
    }
}

impl<V: Value> Drop for SharedTicket<V> {
    fn drop(&mut self) {
        // A commit takes the local ticket. Only a granted claim pays for the lock of `is_live`.
        let is_live = || self.local.as_ref().is_some_and(Ticket::is_live);
        if self.is_granted && !self.is_kept && is_live() {
            count(&self.inner.counters.released);
        }
        if !self.is_shared || self.is_kept {
            return;
        }
        let command = script::release(&self.key, &self.token);
        let link = Arc::clone(&self.inner.link);
        // Kept until the server has answered, so that the next caller in the local tier finds the
        // id free there. Not if the server is unavailable: nothing would be gained by the wait.
        let local = self.local.take().filter(|_| self.tier == Tier::Shared);
        self.inner.runtime().spawn(async move {
            // A failure leaves the id in flight until its lease ends.
            let _ = link.write(&command).await;
            drop(local);
        });
    }
}

impl<V: Value> fmt::Debug for SharedTicket<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTicket")
            .field("key", &self.key.escape_ascii().to_string())
            .field("tier", &self.tier)
            .finish_non_exhaustive()
    }
}
