//! Claims on the single-threaded map: between the two windows, of what is in flight and of what is recorded.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::{DedupMap, Found};
use crate::clock::Nanos;
use crate::dedup::claim::{Claim, LeaseExpired, Token};
use crate::dedup::log::Seq;
use crate::dedup::log::columns::KeyColumn;
use crate::key::Key;

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    /// Claims an id: it is in flight until the token is committed or released, or the lease runs out. A key that alone
    /// exceeds `max_bytes` is always fresh, and never in flight.
    pub fn claim(&mut self, key: &K) -> Claim<Token, V>
    where
        V: Clone,
    {
        let found = self.claim_at(self.now(), self.hash(key), key);
        if matches!(found, Found::Full) {
            self.count_shed();
        }
        let claim = self.claimed(found);
        drop(self.take_garbage());
        claim
    }

    /// What a caller of `claim` is told of what was found.
    pub(in crate::dedup) fn claimed(&self, found: Found<Token>) -> Claim<Token, V>
    where
        V: Clone,
    {
        match found {
            Found::Fresh(token) => Claim::Fresh(token),
            Found::InFlight { since } => Claim::InFlight { since },
            Found::Duplicate(seq) => Claim::Duplicate {
                age: self.age_of(seq),
                value: self.recorded.value(seq).clone(),
            },
            Found::Full => Claim::Full,
        }
    }

    /// Counts a claim that was turned away for good.
    pub(in crate::dedup) fn count_shed(&mut self) {
        self.counts.shed += 1;
    }

    /// Does not count a claim that finds no place: leases that ran out elsewhere may still give one back.
    pub(in crate::dedup) fn claim_at(&mut self, now: Nanos, hash: u64, key: &K) -> Found<Token> {
        let now = self.catch_up(now);
        if let Some(found) = self.look_up(hash, key) {
            return found;
        }
        let bytes = K::Column::weigh(key);
        if self.is_too_long(bytes) {
            self.counts.rejected += 1;
            return Found::Fresh(Token { hash, number: None });
        }
        let permits = Arc::clone(&self.permits);
        let Some(permit) = permits.take().filter(|_| self.make_room(now, 0, bytes)) else {
            return Found::Full;
        };
        self.in_flight
            .push(now, hash, key, &mut Some(self.next_number));
        permit.keep();
        self.next_number += 1;
        Found::Fresh(Token {
            hash,
            number: Some(self.next_number - 1),
        })
    }

    /// Records a claimed id as handled; its ttl begins now. Of a key that alone exceeds `max_bytes` nothing is recorded.
    ///
    /// # Errors
    ///
    /// [`LeaseExpired`], with the value, where the lease had run out. Nothing is changed then.
    pub fn commit(&mut self, token: Token, value: V) -> Result<(), LeaseExpired<V>> {
        let result = self.commit_at(self.now(), &token, &mut Some(value));
        drop(self.take_garbage());
        result
    }

    /// Takes the value if it is stored or given back. One that is not stays with the caller, to be dropped where no lock
    /// is held.
    pub(in crate::dedup) fn commit_at(
        &mut self,
        now: Nanos,
        token: &Token,
        value: &mut Option<V>,
    ) -> Result<(), LeaseExpired<V>> {
        let Some(number) = token.number else {
            return Ok(());
        };
        let now = self.catch_up(now);
        let Some(seq) = self
            .in_flight
            .find_by_value(token.hash, |&claimed| claimed == number)
        else {
            return Err(LeaseExpired {
                value: value.take().expect("a commit has a value"),
            });
        };
        self.make_room(now, 1, 0);
        self.recorded
            .push(now, token.hash, self.in_flight.key(seq), value);
        self.count_inserted();
        self.leave_flight(token.hash, seq);
        Ok(())
    }

    /// Gives a claimed id up unhandled: its next delivery is fresh.
    pub fn release(&mut self, token: Token) {
        self.release_at(self.now(), &token);
        drop(self.take_garbage());
    }

    pub(in crate::dedup) fn release_at(&mut self, now: Nanos, token: &Token) {
        let Some(number) = token.number else { return };
        self.expire(now);
        if let Some(seq) = self
            .in_flight
            .find_by_value(token.hash, |&claimed| claimed == number)
        {
            self.counts.released += 1;
            self.leave_flight(token.hash, seq);
        }
    }

    fn leave_flight(&mut self, hash: u64, seq: Seq) {
        let Self {
            in_flight,
            hasher,
            garbage,
            permits,
            ..
        } = self;
        let _permit = permits.taken();
        in_flight.remove(hash, seq, hasher, &mut garbage.in_flight);
    }

    /// Gives back the places of claims whose lease ran out.
    pub(in crate::dedup) fn lapse_at(&mut self, now: Nanos) {
        self.expire(now);
    }
}
