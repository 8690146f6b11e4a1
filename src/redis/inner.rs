//! `Inner`: the state that all handles and tickets share, and what both tiers know of an id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::answer::Unavailable;
use super::dedup::Value;
use super::error::SharedError;
use super::link::{Failure, Link, count};
use super::recovery::Recovery;
use super::stats::{Counters, SharedStats, read};
use crate::clock::{Clock, Nanos, nanos};
use crate::dedup::{Claim, DedupMap, Recorded, Ticket};
use crate::events;
use crate::stats::{DedupStats, Usage};
use crate::sweep::{Sweep, Swept, Watch};

/// The state that all handles and tickets share.
pub(super) struct Inner<V: Value> {
    pub(super) link: Arc<Link>,
    pub(super) local: DedupMap<[u8], Known<V>>,
    pub(super) recovery: Arc<Recovery>,
    pub(super) counters: Counters,
    pub(super) clock: Clock,
    /// The runtime on which `build` was called, for a ticket that is dropped outside of a runtime.
    pub(super) runtime: Handle,
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
    pub(super) value: V,
    pub(super) until: Nanos,
}

/// The local tier's part of a claim.
pub(super) type LocalTicket<V> = Ticket<'static, [u8], Known<V>>;
/// The answer of the local tier.
type LocalClaim<V> = Claim<LocalTicket<V>, V>;

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

    /// Claims an id in the local tier.
    pub(super) fn claim_locally(&self, id: &[u8]) -> LocalClaim<V> {
        loop {
            let claim = self.local.claim_owned(id);
            if let Some(claim) = self.unless_forgotten(id, claim) {
                return claim;
            }
        }
    }

    /// Claims an id in the local tier, and waits while it is in flight there.
    pub(super) async fn wait_locally(&self, id: &[u8]) -> LocalClaim<V> {
        loop {
            let claim = self.local.claim_wait_owned(id).await;
            if let Some(claim) = self.unless_forgotten(id, claim) {
                return claim;
            }
        }
    }

    /// Returns an answer of the local tier, or `None` if the server has forgotten the id since.
    fn unless_forgotten(
        &self,
        id: &[u8],
        claim: Claim<LocalTicket<V>, Known<V>>,
    ) -> Option<LocalClaim<V>> {
        Some(match claim {
            Claim::Fresh(ticket) => Claim::Fresh(ticket),
            Claim::Full => Claim::Full,
            Claim::InFlight { since } => {
                count(&self.counters.local_hits);
                Claim::InFlight { since }
            }
            Claim::Duplicate { value: known, .. } => {
                let now = self.clock.nanos();
                if known.until <= now {
                    // Another task may do the same here, or may have recorded it anew, which only
                    // costs a round trip.
                    self.local.remove(id);
                    return None;
                }
                count(&self.counters.local_hits);
                let remaining = Duration::from_nanos(known.until - now);
                let (age, value) = (self.age(remaining), known.value);
                Claim::Duplicate { age, value }
            }
        })
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

    /// Returns a runtime for work that outlives a call.
    pub(super) fn runtime(&self) -> Handle {
        Handle::try_current().unwrap_or_else(|_| self.runtime.clone())
    }

    /// Lets the local tier decide a number of answers, or returns the error of the call.
    pub(super) fn degrade(&self, failure: Failure, answers: u64) -> Result<Failure, SharedError> {
        let degrades = self.unavailable == Unavailable::Degrade;
        if !self.is_unavailable.swap(true, Ordering::Relaxed) {
            let change = if degrades { "degraded" } else { "refused" };
            events::shared_changed(&self.namespace, change, &failure.reason);
        }
        if degrades {
            // Relaxed: a counter guards no other data.
            self.counters.degraded.fetch_add(answers, Ordering::Relaxed);
            Ok(failure)
        } else {
            count(&self.counters.refused);
            Err(failure.into_error())
        }
    }

    /// Records an id in the local tier alone, because the server does not answer.
    ///
    /// `local` is `None` if the local tier had no room for the claim.
    pub(super) fn record_locally(
        &self,
        local: Option<LocalTicket<V>>,
        id: &[u8],
        known: Known<V>,
    ) -> Recorded<V> {
        if let Some(local) = local {
            // An error means that the attempt to ask took longer than the lease.
            let _ = local.commit(known);
            return Recorded::New;
        }
        match self.local.record(id, known) {
            Recorded::New => Recorded::New,
            Recorded::InFlight => Recorded::InFlight,
            Recorded::Rejected { value } => Recorded::Rejected { value: value.value },
            Recorded::Duplicate { age, value } => Recorded::Duplicate {
                age,
                value: value.value,
            },
        }
    }

    /// Remembers an id that the server reports as recorded, and returns the answer.
    ///
    /// `local` is `None` if the local tier has no room for the claim.
    pub(super) fn remember(
        &self,
        local: Option<LocalTicket<V>>,
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

    pub(super) fn stats(&self) -> SharedStats {
        let counters = &self.counters;
        let link = &self.link.counters;
        let local = DedupStats {
            // The local tier also releases the claims that the server does not grant.
            released: read(&counters.released),
            ..self.local.stats()
        };
        SharedStats {
            local,
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
