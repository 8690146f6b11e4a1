//! The ends of leases, and the callers that wait for them.

use std::hash::BuildHasher;

use super::super::claim::Token;
use super::super::in_flight::{Claimed, is_live};
use super::super::wait::ClaimWaiter;
use super::Core;
use crate::clock::Nanos;
use crate::dedup::Key;

/// Extended leases that one call ends. The rest is treated as expired, and ended by the next calls,
/// or when its id is looked up. So if more are left, there are at least as many free permits.
const ENDED: usize = 32;

impl<K: ?Sized + Key, V> Core<K, V> {
    /// Ends the leases that have expired, and counts them.
    pub(super) fn expire_leases(&mut self, hasher: &impl BuildHasher) {
        self.counts.leases_expired += self.in_flight.expire(self.latest) as u64;
        for _ in 0..ENDED {
            let Some(token) = self.in_flight.next_expired(self.latest) else {
                break;
            };
            self.end_lease(&token, hasher);
        }
    }

    /// Ends an extended lease that has expired. The claim passes to the first caller that waits for
    /// it.
    fn end_lease(&mut self, token: &Token, hasher: &impl BuildHasher) {
        self.counts.leases_expired += 1;
        if !self.hand_over(token) {
            self.in_flight
                .remove_expired(token, hasher, &mut self.drops.in_flight);
        }
    }

    /// Gives a claim that ends without a commit to the first caller that waits for it. Returns
    /// `false` if there is none.
    pub(super) fn hand_over(&mut self, token: &Token) -> bool {
        let next = Token {
            hash: token.hash,
            number: Some(self.in_flight.next_number()),
        };
        let Some(origin) = self.in_flight.origin(token) else {
            return false;
        };
        let is_given = self.flights.hand_over(origin, next, &mut self.drops.wakers);
        if is_given {
            self.in_flight.renew(self.latest, token);
        }
        is_given
    }

    /// Returns the live claim on an id.
    #[inline]
    pub(super) fn find_claim(
        &mut self,
        hash: u64,
        key: &K,
        hasher: &impl BuildHasher,
    ) -> Option<Claimed> {
        let claim = self.in_flight.find(hash, key)?;
        if is_live(claim.until, self.latest) {
            return Some(claim);
        }
        // More leases expired at once than one call ends. This one is ended now: a new claim of the
        // id could not be found behind it.
        let token = Token {
            hash,
            number: Some(claim.number),
        };
        self.end_lease(&token, hasher);
        self.in_flight.find(hash, key)
    }

    /// Adds the caller to those that wait for the claim on an id. Also returns the end of the
    /// lease. Returns `None` if the id is not in flight.
    pub(crate) fn join(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &K,
        clone: fn(&V) -> V,
        hasher: &impl BuildHasher,
    ) -> Option<(ClaimWaiter<V>, Nanos)> {
        let now = self.prepare_write(now, hasher);
        let claim = self.find_claim(hash, key, hasher)?;
        let token = Token {
            hash,
            number: Some(claim.number),
        };
        // Moves the claim to the log of extended leases, and changes no time.
        self.in_flight
            .extend(now, &token, claim.until, hasher, &mut self.drops.in_flight);
        let origin = self.in_flight.origin(&token)?;
        Some((self.flights.join(origin, clone), claim.until))
    }

    /// Forgets a caller that is no longer in the list of the claim with this origin. Passes on the
    /// claim that it was given and did not take. The alarm is set for the lease of that one, which
    /// does not end later than the new lease.
    pub(crate) fn leave(
        &mut self,
        now: Nanos,
        origin: u64,
        turn: Option<Token>,
        hasher: &impl BuildHasher,
    ) {
        if let Some(token) = turn {
            self.release(now, &token, hasher);
        }
        self.flights.remove_if_unattended(origin);
    }

    /// Ends every lease that has expired. Returns the time at which the next lease ends that a
    /// caller may wait for.
    pub(crate) fn end_leases(&mut self, now: Nanos, hasher: &impl BuildHasher) -> Option<Nanos> {
        let now = self.expire(now, hasher);
        while let Some(token) = self.in_flight.next_expired(now) {
            self.end_lease(&token, hasher);
        }
        let next = self.in_flight.first_end();
        next.filter(|_| !self.flights.is_empty())
    }
}
