//! `claim_wait`: waiting for an id that is in flight, in this instance or in another one.
//!
//! All callers of one instance that wait for one id form one line, that of the local tier. The
//! first of them holds the claim of the local tier and asks the server. The others have no timer:
//! the commit of that claim wakes all of them with the value, and its release, or the end of its
//! lease, lets one of them ask next. A cancelled caller passes its place on in the same manner. So
//! an instance has at most one caller that asks the server about an id, and an id whose claim is
//! held by this instance is not asked for at all.
//!
//! The caller that asks repeats its claim, with the same token, after pauses. Two designs without
//! pauses were rejected:
//!
//! * `PUBLISH` in the scripts, and a subscription per waited id. It wakes a remote waiter about one
//!   pause earlier. It costs one command more in every commit and release, also if no caller waits.
//!   A cluster before version 7 sends each message to all of its nodes. A subscription needs a
//!   second connection, with a repair of its own, and a fourth call of `Connection`. Messages are
//!   lost while a subscription is repaired, and a key that expires sends none in time. So the
//!   pauses would remain, and only their length would change.
//! * A list that a waiter reads with `BLPOP`, and that the owner of the claim pushes to. A blocked
//!   connection serves no other call, so each waiter would need one. The owner would have to know
//!   the number of waiters, and a list without a waiter would be left behind.
//!
//! The reply of a claim has the remaining lease, so a pause never outlasts the lease of a crashed
//! owner. The server gets at most 4 commands per second, waited id and instance.

use std::time::Duration;

use super::answer::Decided;
use super::dedup::SharedDedup;
use super::dedup::Value;
use super::error::SharedError;
use super::ticket::{Asked, SharedTicket};
use crate::dedup::Claim;

/// Pauses are doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(250);
/// The resolution of `PX`.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

impl<V: Value> SharedDedup<V> {
    /// Claims an id, and waits while it is in flight: until it is committed or released, or its
    /// lease expires. Never returns [`Claim::InFlight`].
    ///
    /// A commit or release in this instance wakes the callers that wait for the id. If another
    /// instance has claimed it, one of these callers asks the server after 5 ms, then after pauses
    /// that double up to 250 ms, and at the end of the lease. The others wait for that caller.
    ///
    /// Returns [`Claim::Full`] also if the local tier's
    /// [`max_waiting`](crate::DedupBuilder::max_waiting) callers wait already. A dropped future
    /// leaves nothing behind. For a bound on the time, use `tokio::time::timeout`.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`claim`](Self::claim).
    pub async fn claim_wait(
        &self,
        id: impl AsRef<[u8]>,
    ) -> Result<Decided<Claim<SharedTicket<V>, V>>, SharedError> {
        let (inner, id) = (&self.inner, id.as_ref());
        loop {
            let local = match inner.wait_locally(id).await {
                Claim::Fresh(ticket) => ticket,
                Claim::InFlight { since } => return Ok(Decided::local(Claim::InFlight { since })),
                Claim::Duplicate { age, value } => {
                    return Ok(Decided::local(Claim::Duplicate { age, value }));
                }
                Claim::Full => return Ok(Decided::local(Claim::Full)),
            };
            let mut ticket = SharedTicket::new(inner, id, local);
            let mut pause = FIRST_PAUSE;
            // Taken at the first pause. Dropped before the caller joins the line again.
            let mut place = None;
            loop {
                let remaining = match ticket.ask().await? {
                    Asked::Decided(decided) => return Ok(decided),
                    Asked::Elsewhere {
                        ticket: refused,
                        remaining,
                        ..
                    } => {
                        ticket = refused;
                        remaining
                    }
                };
                if place.is_none() {
                    place = inner.local.room().enter();
                }
                if place.is_none() {
                    return Ok(Decided::local(Claim::Full));
                }
                // The claim of the local tier must outlast the pause.
                let longest = remaining.min(inner.lease / 2).max(SHORTEST_PAUSE);
                tokio::time::sleep(pause.min(longest)).await;
                pause = (2 * pause).min(LAST_PAUSE);
                if !ticket.renew() {
                    // The process was suspended, and another caller of the line asks now.
                    break;
                }
            }
        }
    }
}
