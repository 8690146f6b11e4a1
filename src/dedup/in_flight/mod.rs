//! `InFlight`: claimed ids.
//!
//! Claims are kept apart from the recorded ids, so no bound evicts them. Most are in a log whose
//! time to live is the lease. A claim whose lease was extended ends out of order, so it moves to
//! [`extended`].
//!
//! A claim that callers wait for moves there as well. Its lease is renewed for the next claimant
//! without another copy of the key, and its end is found without a search.

mod extended;
mod permits;

use std::hash::BuildHasher;
use std::sync::Arc;

use super::claim::Token;
use super::log::{DeferredDrops, Log, Seq};
use crate::clock::Nanos;
use crate::dedup::Key;
use extended::{Extended, ExtendedClaim};
pub(crate) use permits::Permits;

#[repr(C)]
pub(super) struct InFlight<K: ?Sized + Key> {
    leased: Log<K, u64>,
    /// `None` until a lease is extended.
    extended: Option<Box<Extended<K>>>,
    next_number: u64,
    lease: Nanos,
    permits: Arc<Permits>,
}

/// A claim as its key finds it. Its lease may have ended.
pub(super) struct Claimed {
    pub(super) number: u64,
    pub(super) since: Nanos,
    pub(super) until: Nanos,
}

/// The place of a claim.
enum Place {
    Leased(Seq),
    Extended(Seq),
}

/// Removed keys, to be dropped after the lock is released.
pub(super) struct Drops<K: ?Sized + Key> {
    leased: DeferredDrops<K, u64>,
    extended: DeferredDrops<K, ExtendedClaim>,
}

impl<K: ?Sized + Key> Drops<K> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.leased.is_empty() && self.extended.is_empty()
    }
}

impl<K: ?Sized + Key> Default for Drops<K> {
    fn default() -> Self {
        Self {
            leased: DeferredDrops::default(),
            extended: DeferredDrops::default(),
        }
    }
}

impl<K: ?Sized + Key> InFlight<K> {
    pub(super) fn new(lease: Nanos, permits: Arc<Permits>) -> Self {
        Self {
            leased: Log::new(lease, permits.max),
            extended: None,
            next_number: 0,
            lease,
            permits,
        }
    }

    pub(super) fn permits(&self) -> &Arc<Permits> {
        &self.permits
    }

    /// Returns the bound on claims in all shards.
    pub(super) fn max(&self) -> usize {
        self.permits.max
    }

    /// Returns the number of claims, some of which may have expired.
    pub(super) fn len(&self) -> usize {
        self.leased.len()
            + self
                .extended
                .as_ref()
                .map_or(0, |extended| extended.log.len())
    }

    /// Returns the bytes of these claims' keys.
    pub(super) fn bytes(&self) -> u64 {
        self.leased.bytes()
            + self
                .extended
                .as_ref()
                .map_or(0, |extended| extended.log.bytes())
    }

    /// Returns the same: see [`Log::settled_bytes`].
    pub(super) fn settled_bytes(&mut self) -> u64 {
        let extended = self.extended.as_mut();
        self.leased.settled_bytes() + extended.map_or(0, |extended| extended.log.settled_bytes())
    }

    /// Returns the number of claims that are live at `now`, and the bytes of their keys. Takes a
    /// step for each extended lease that has expired since the last write.
    pub(super) fn live_at(&self, now: Nanos) -> (usize, u64) {
        let (live, bytes, _) = self.leased.live_at(now);
        let Some(extended) = &self.extended else {
            return (live, bytes);
        };
        let log = &extended.log;
        extended.expired(now).fold(
            (live + log.len(), bytes + log.bytes()),
            |(live, bytes), (number, hash)| {
                let seq = extended.find(hash, number);
                let weight = seq.map_or(0, |seq| log.weight(seq));
                (live - 1, bytes - weight)
            },
        )
    }

    /// Returns the claim on the id with this key.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<Claimed> {
        if self.leased.len() > 0 {
            if let Some(seq) = self.leased.find(hash, key) {
                let since = self.leased.time(seq);
                return Some(Claimed {
                    number: *self.leased.value(seq),
                    since,
                    until: since.saturating_add(self.lease),
                });
            }
        }
        let extended = self.extended.as_ref()?;
        let claim = extended.log.value(extended.log.find(hash, key)?);
        Some(Claimed {
            number: claim.number,
            since: claim.since,
            until: claim.until,
        })
    }

    /// Returns the number by which waiting callers know a claim, if its lease was extended.
    pub(super) fn origin(&self, token: &Token) -> Option<u64> {
        let extended = self.extended.as_ref()?;
        let seq = extended.find(token.hash, token.number?)?;
        Some(extended.log.value(seq).origin)
    }

    /// Returns the number that the next claim will have.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Gives an extended claim to another claimant: it gets the next number, and its lease begins
    /// now. Its permit stays.
    pub(super) fn renew(&mut self, now: Nanos, token: &Token) {
        let until = now.saturating_add(self.lease);
        let Some((extended, number)) = self.extended.as_mut().zip(token.number) else {
            return;
        };
        let Some(seq) = extended.find(token.hash, number) else {
            return;
        };
        let number = self.next_number;
        extended.change(token.hash, seq, |claim| {
            (claim.number, claim.since, claim.until) = (number, now, until);
        });
        self.next_number += 1;
    }

    /// Returns the end of the extended lease that ends first.
    pub(super) fn first_end(&self) -> Option<Nanos> {
        self.extended.as_ref()?.first_end()
    }

    /// Returns the place of a claim whose lease has not expired.
    fn place(&self, now: Nanos, token: &Token) -> Option<Place> {
        let number = token.number?;
        let leased = self
            .leased
            .find_by_value(token.hash, |&claimed| claimed == number)
            .filter(|&seq| self.leased.is_live(now, seq));
        if let Some(seq) = leased {
            return Some(Place::Leased(seq));
        }
        let extended = self.extended.as_ref()?;
        let seq = extended.find(token.hash, number)?;
        is_live(extended.log.value(seq).until, now).then_some(Place::Extended(seq))
    }

    /// Returns the key of a claim whose lease has not expired.
    pub(super) fn key(&self, now: Nanos, token: &Token) -> Option<&K> {
        match self.place(now, token)? {
            Place::Leased(seq) => Some(self.leased.key(seq)),
            Place::Extended(seq) => self.extended.as_ref().map(|extended| extended.log.key(seq)),
        }
    }

    /// Adds a claim and returns its number. The caller holds a permit for it.
    pub(super) fn push(&mut self, now: Nanos, hash: u64, key: &K) -> u64 {
        let number = self.next_number;
        self.leased.push(now, hash, key, &mut Some(number));
        self.next_number += 1;
        number
    }

    /// Removes a claim. Returns `false` if its lease has expired.
    pub(super) fn remove(
        &mut self,
        now: Nanos,
        token: &Token,
        hasher: &impl BuildHasher,
        drops: &mut Drops<K>,
    ) -> bool {
        let Some(place) = self.place(now, token) else {
            return false;
        };
        // Given back even if the hash of another key panics.
        let _permit = self.permits.taken();
        match (place, &mut self.extended) {
            (Place::Extended(seq), Some(extended)) => {
                extended.remove(token.hash, seq, hasher, &mut drops.extended);
            }
            (Place::Leased(seq), _) => {
                self.leased
                    .remove(token.hash, seq, hasher, &mut drops.leased);
            }
            (Place::Extended(_), None) => {}
        }
        true
    }

    /// Lets a lease end at `until`, or when it would end anyway if that is later. Returns `false`
    /// if it has expired.
    pub(super) fn extend(
        &mut self,
        now: Nanos,
        token: &Token,
        until: Nanos,
        hasher: &impl BuildHasher,
        drops: &mut Drops<K>,
    ) -> bool {
        let (Some(place), Some(number)) = (self.place(now, token), token.number) else {
            return false;
        };
        let max = self.permits.max;
        let extended = self.extended.get_or_insert_with(|| Extended::boxed(max));
        match place {
            Place::Leased(seq) => {
                let since = self.leased.time(seq);
                let claim = ExtendedClaim {
                    number,
                    origin: number,
                    since,
                    until: until.max(since.saturating_add(self.lease)),
                };
                extended.push(now, token.hash, self.leased.key(seq), claim);
                self.leased
                    .remove(token.hash, seq, hasher, &mut drops.leased);
            }
            Place::Extended(seq) => {
                let lengthen = |claim: &mut ExtendedClaim| claim.until = claim.until.max(until);
                extended.change(token.hash, seq, lengthen);
            }
        }
        true
    }

    #[inline]
    pub(super) fn is_due(&self, now: Nanos) -> bool {
        self.leased.is_due(now)
            || self
                .extended
                .as_ref()
                .is_some_and(|extended| extended.is_due(now))
    }

    /// Removes the claims whose lease has expired and was never extended, and returns their number.
    pub(super) fn expire(&mut self, now: Nanos) -> usize {
        let expired = self.leased.expire(now);
        self.permits.give_back(expired);
        expired
    }

    /// Returns the extended claim whose lease expired first.
    pub(super) fn next_expired(&self, now: Nanos) -> Option<Token> {
        let (number, hash) = self.extended.as_ref()?.expired(now).next()?;
        Some(Token {
            hash,
            number: Some(number),
        })
    }

    /// Removes an extended claim whose lease has expired.
    pub(super) fn remove_expired(
        &mut self,
        token: &Token,
        hasher: &impl BuildHasher,
        drops: &mut Drops<K>,
    ) {
        let Some((extended, number)) = self.extended.as_mut().zip(token.number) else {
            return;
        };
        if let Some(seq) = extended.find(token.hash, number) {
            let _permit = self.permits.taken();
            extended.remove(token.hash, seq, hasher, &mut drops.extended);
        }
    }

    pub(super) fn maintain(&mut self, hasher: &impl BuildHasher, drops: &mut Drops<K>) {
        self.leased.maintain(hasher, &mut drops.leased);
        if let Some(extended) = &mut self.extended {
            extended.log.maintain(hasher, &mut drops.extended);
        }
    }

    /// Frees up to `budget` expired claims. Returns `true` if work is left.
    pub(super) fn sweep(
        &mut self,
        budget: usize,
        hasher: &impl BuildHasher,
        drops: &mut Drops<K>,
    ) -> bool {
        let (_, mut more) = self.leased.sweep(budget, hasher, &mut drops.leased);
        if let Some(extended) = &mut self.extended {
            more |= extended.log.sweep(budget, hasher, &mut drops.extended).1;
        }
        more
    }

    pub(super) fn validate(&self, hasher: &impl BuildHasher) {
        self.leased.validate(hasher);
        if let Some(extended) = &self.extended {
            extended.validate(hasher);
        }
    }
}

/// Returns `true` if a lease that ends at `until` has not expired. A lease until `Nanos::MAX` never
/// does.
pub(super) fn is_live(until: Nanos, now: Nanos) -> bool {
    until > now || until == Nanos::MAX
}
