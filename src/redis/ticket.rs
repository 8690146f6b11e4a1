//! `SharedTicket`: a claim on an id, held in both tiers.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::command::Reply;
use super::dedup::{Inner, Known, Tier, Value};
use super::error::{CommitError, SharedError};
use super::link::{Failure, count};
use super::recovery::Committed;
use super::script::{self, Token};
use crate::dedup::Ticket;

/// A claim on an id in a [`SharedDedup`](crate::SharedDedup). Commit it when the id has been
/// handled.
///
/// It owns what it needs and can move to another task. A ticket that is dropped without a commit
/// releases the id, in a task that the drop spawns. If no tokio runtime is there, the id stays in
/// flight until its lease expires.
#[must_use = "a ticket releases its id when it is dropped"]
pub struct SharedTicket<V: Value> {
    inner: Arc<Inner<V>>,
    key: Vec<u8>,
    token: Token,
    tier: Tier,
    /// The claim in the local tier, which keeps other tasks of this instance from the id.
    local: Option<Ticket<'static, [u8], Known<V>>>,
    /// `true` if the server may have a claim with this token.
    is_shared: bool,
}

impl<V: Value> SharedTicket<V> {
    pub(super) fn new(
        inner: &Arc<Inner<V>>,
        id: &[u8],
        local: Option<Ticket<'static, [u8], Known<V>>>,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            key: inner.key(id),
            token: script::token(),
            tier: Tier::Shared,
            local,
            is_shared: false,
        }
    }

    /// Asks the server for the id. Until the answer is known, a drop releases the claim.
    pub(super) async fn ask(&mut self) -> Result<Reply, Failure> {
        let command = script::claim(&self.key, &self.token, self.inner.lease);
        self.is_shared = true;
        let reply = self.inner.link.write(&command).await;
        if let Err(failure) = &reply {
            self.is_shared = failure.was_sent;
            self.tier = Tier::Local;
        }
        reply
    }

    /// Gives up the claim that the server has refused, and returns the one in the local tier.
    pub(super) fn refused(mut self) -> Option<Ticket<'static, [u8], Known<V>>> {
        self.is_shared = false;
        self.local.take()
    }

    /// Returns the tier that granted the claim.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Records the id as handled, with `value`. Its ttl begins now. Takes one round trip, and
    /// returns the tier that recorded it.
    ///
    /// `value` is a `V` or a `&V`. With a `&V`, the error borrows it, so `?` cannot box it. A
    /// claim that the local tier granted is committed there, and is pushed to the server later.
    ///
    /// # Errors
    ///
    /// Returns [`CommitError::LeaseExpired`] if the lease has expired. Nothing is changed then: if
    /// the work was done, [`record`](crate::SharedDedup::record) its value. Returns
    /// [`CommitError::Failed`] if the server is unavailable and
    /// [`Unavailable::Refuse`](crate::Unavailable::Refuse) is set, or if the value cannot be
    /// encoded. The id is released then.
    pub async fn commit<B: Borrow<V>>(mut self, value: B) -> Result<Tier, CommitError<B>> {
        let mut encoded = Vec::new();
        if let Err(error) = value.borrow().encode(&mut encoded) {
            let error = SharedError::value(&error);
            return Err(CommitError::Failed { value, error });
        }
        let inner = Arc::clone(&self.inner);
        let known = inner.known(value.borrow().clone(), inner.ttl);
        if self.tier == Tier::Local {
            return self.commit_locally(value, known, encoded);
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
                self.is_shared = false;
                inner.answered();
                count(&inner.counters.late_commits);
                Err(CommitError::LeaseExpired { value })
            }
            Ok(_) => {
                let error = SharedError::ForeignKey;
                Err(CommitError::Failed { value, error })
            }
            Err(failure) => match inner.degrade(failure) {
                Ok(()) => self.commit_locally(value, known, encoded),
                Err(error) => Err(CommitError::Failed { value, error }),
            },
        }
    }

    fn commit_locally<B>(
        mut self,
        value: B,
        known: Known<V>,
        encoded: Vec<u8>,
    ) -> Result<Tier, CommitError<B>> {
        let until = known.until;
        let local = self.local.take();
        if local.is_some_and(|local| local.commit(known).is_err()) {
            count(&self.inner.counters.late_commits);
            return Err(CommitError::LeaseExpired { value });
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
    /// if the server is unavailable and [`Unavailable::Refuse`](crate::Unavailable::Refuse) is set.
    /// The ticket is still valid after a failure, until its lease ends.
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
            Err(failure) => match inner.degrade(failure) {
                Ok(()) if extended_locally => Ok(Tier::Local),
                Ok(()) => expired,
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
        if !self.is_shared {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let command = script::release(&self.key, &self.token);
            let link = Arc::clone(&self.inner.link);
            // A failure leaves the id in flight until its lease ends.
            runtime.spawn(async move { link.write(&command).await.map(drop) });
        }
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
