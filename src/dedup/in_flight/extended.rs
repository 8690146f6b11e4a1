//! `Extended`: claims whose leases end out of order.
//!
//! They are in a log that expires nothing by itself. A map orders the ends of their leases.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use super::super::log::{DeferredDrops, Log, Seq};
use super::is_live;
use crate::clock::Nanos;
use crate::dedup::Key;

pub(super) struct Extended<K: ?Sized + Key> {
    pub(super) log: Log<K, ExtendedClaim>,
    /// The hash of each claim, by the end of its lease and its number.
    ends: BTreeMap<(Nanos, u64), u64>,
}

#[derive(Clone, Copy)]
pub(super) struct ExtendedClaim {
    pub(super) number: u64,
    /// The number that the claim had when it was moved here. Callers that wait for the id know it
    /// by this number, which stays when the claim is renewed.
    pub(super) origin: u64,
    pub(super) since: Nanos,
    pub(super) until: Nanos,
}

impl<K: ?Sized + Key> Extended<K> {
    pub(super) fn boxed(max: usize) -> Box<Self> {
        Box::new(Self {
            log: Log::new(Nanos::MAX, max),
            ends: BTreeMap::new(),
        })
    }

    pub(super) fn find(&self, hash: u64, number: u64) -> Option<Seq> {
        self.log.find_by_value(hash, |claim| claim.number == number)
    }

    pub(super) fn push(&mut self, now: Nanos, hash: u64, key: &K, claim: ExtendedClaim) {
        self.log.push(now, hash, key, &mut Some(claim));
        self.ends.insert((claim.until, claim.number), hash);
    }

    /// Changes a claim, and the end of its lease with it.
    pub(super) fn change(&mut self, hash: u64, seq: Seq, change: impl FnOnce(&mut ExtendedClaim)) {
        let claim = self.log.value_mut(seq);
        self.ends.remove(&(claim.until, claim.number));
        change(claim);
        self.ends.insert((claim.until, claim.number), hash);
    }

    pub(super) fn remove(
        &mut self,
        hash: u64,
        seq: Seq,
        hasher: &impl BuildHasher,
        drops: &mut DeferredDrops<K, ExtendedClaim>,
    ) {
        let claim = *self.log.value(seq);
        self.ends.remove(&(claim.until, claim.number));
        self.log.remove(hash, seq, hasher, drops);
    }

    /// Returns the end of the lease that ends first.
    pub(super) fn first_end(&self) -> Option<Nanos> {
        let (&(until, _), _) = self.ends.first_key_value()?;
        Some(until)
    }

    /// Returns the number and hash of each claim whose lease has expired.
    pub(super) fn expired(&self, now: Nanos) -> impl Iterator<Item = (u64, u64)> {
        self.ends
            .iter()
            .take_while(move |&(&(until, _), _)| !is_live(until, now))
            .map(|(&(_, number), &hash)| (number, hash))
    }

    pub(super) fn is_due(&self, now: Nanos) -> bool {
        self.log.is_due(now) || self.expired(now).next().is_some()
    }

    pub(super) fn validate(&self, hasher: &impl BuildHasher) {
        self.log.validate(hasher);
        assert_eq!(self.log.len(), self.ends.len(), "the ends of leases");
        for (&(until, number), &hash) in &self.ends {
            let seq = self.find(hash, number).expect("the claim is present");
            assert_eq!(self.log.value(seq).until, until);
        }
    }
}
