//! Claims: ids in flight, from `claim` to `commit` or `release`.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::super::claim::{Claim, Token};
use super::super::log::columns::KeyColumn;
use super::super::wait::Landed;
use super::{Core, Outcome};
use crate::clock::Nanos;
use crate::dedup::Key;

impl<K: ?Sized + Key, V> Core<K, V> {
    /// Claims an id, unless it is recorded or in flight.
    ///
    /// Does not count a claim that finds no room, because leases that expired in other shards may
    /// make some.
    pub(crate) fn claim(
        &mut self,
        now: Nanos,
        hash: u64,
        key: &K,
        hasher: &impl BuildHasher,
    ) -> Outcome<Token> {
        let now = self.prepare_write(now, hasher);
        if let Some(found) = self.look_up(hash, key, hasher) {
            return found;
        }
        let bytes = K::Column::weigh(key);
        if self.limits.max_bytes.is_some_and(|max| bytes > max as u64) {
            self.counts.rejected += 1;
            return Outcome::Fresh(Token { hash, number: None });
        }
        let permits = Arc::clone(self.in_flight.permits());
        // Taken before any id is evicted, and given back if the key's `Clone` panics.
        let Some(permit) = permits.take().filter(|_| self.make_room(now, 0, bytes)) else {
            return Outcome::Full;
        };
        let number = self.in_flight.push(now, hash, key);
        permit.keep();
        Outcome::Fresh(Token {
            hash,
            number: Some(number),
        })
    }

    /// Records a claimed id. Returns `false` if its lease has expired. Takes the value if it is
    /// stored.
    ///
    /// `copy` is for the clone that waiting callers get, and `landed` for their flight. The caller
    /// owns them, so that a panic drops them without a lock.
    pub(crate) fn commit(
        &mut self,
        now: Nanos,
        token: &Token,
        value: &mut Option<V>,
        copy: &mut Option<V>,
        landed: &mut Option<Landed<V>>,
        hasher: &impl BuildHasher,
    ) -> bool {
        if token.number.is_none() {
            return true;
        }
        let now = self.prepare_write(now, hasher);
        if self.in_flight.key(now, token).is_none() {
            return false;
        }
        let mut awaited = None;
        if !self.flights.is_empty() {
            awaited = self.in_flight.origin(token);
            if let (Some(origin), Some(value)) = (awaited, &*value) {
                *copy = self.flights.copy(origin, value);
            }
        }
        self.make_room(now, 1, 0);
        // The key is looked up once more, because `make_room` needs the whole core.
        let Some(key) = self.in_flight.key(now, token) else {
            return false;
        };
        self.recorded.push(now, token.hash, key, value);
        self.newest = now;
        self.count_inserted();
        if let (Some(origin), Some(copy)) = (awaited, copy.take()) {
            *landed = self.flights.land(origin, (copy, now));
        }
        self.in_flight
            .remove(now, token, hasher, &mut self.drops.in_flight);
        true
    }

    /// Releases a claimed id. If the claim passes to a caller that waits for it, returns the end of
    /// the new lease, which may be earlier than that of the old one.
    pub(crate) fn release(
        &mut self,
        now: Nanos,
        token: &Token,
        hasher: &impl BuildHasher,
    ) -> Option<Nanos> {
        let now = self.expire(now, hasher);
        if !self.flights.is_empty() && self.is_claimed(now, token) && self.hand_over(token) {
            self.counts.released += 1;
            return Some(now.saturating_add(self.limits.lease));
        }
        let released = self
            .in_flight
            .remove(now, token, hasher, &mut self.drops.in_flight);
        self.counts.released += u64::from(released);
        // After the removal: a panic in the hash of another key must not keep the id in flight.
        self.in_flight.maintain(hasher, &mut self.drops.in_flight);
        None
    }

    /// Lets a lease end `duration` from now, or when it would end anyway if that is later. Returns
    /// `false` if it has expired.
    pub(crate) fn extend(
        &mut self,
        now: Nanos,
        token: &Token,
        duration: Nanos,
        hasher: &impl BuildHasher,
    ) -> bool {
        let now = self.prepare_write(now, hasher);
        let until = now.saturating_add(duration);
        token.number.is_none()
            || self
                .in_flight
                .extend(now, token, until, hasher, &mut self.drops.in_flight)
    }

    /// Converts what [`claim`](Self::claim) returned.
    pub(crate) fn claim_result(&self, outcome: Outcome<Token>) -> Claim<Token, V>
    where
        V: Clone,
    {
        match outcome {
            Outcome::Fresh(token) => Claim::Fresh(token),
            Outcome::InFlight { since } => Claim::InFlight { since },
            Outcome::Duplicate(seq) => Claim::Duplicate {
                age: self.age_of(seq),
                value: self.value(seq).clone(),
            },
            Outcome::Full => Claim::Full,
        }
    }

    /// Counts a claim that was answered with `Full`.
    pub(crate) fn count_claim_rejected(&mut self) {
        self.counts.claims_rejected += 1;
    }

    /// Returns `true` if the lease of a claim has not expired.
    pub(crate) fn is_claimed(&self, now: Nanos, token: &Token) -> bool {
        self.claimed_key(now, token).is_some()
    }

    /// Returns the key of a claim whose lease has not expired.
    pub(crate) fn claimed_key(&self, now: Nanos, token: &Token) -> Option<&K> {
        self.in_flight.key(self.latest.max(now), token)
    }
}
