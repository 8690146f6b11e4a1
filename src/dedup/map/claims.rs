//! Claims on a shared map, and what its tickets call.

use std::hash::BuildHasher;
use std::time::Duration;

use super::super::claim::{Claim, LeaseExpired, Ticket, Token};
use super::super::core::{Core, Outcome};
use super::DedupMap;
use super::journal::Pending;
use crate::clock::{Nanos, nanos};
use crate::dedup::Key;

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    /// Claims an id before it is handled. Until the [`Ticket`] is committed or dropped, or its
    /// lease expires, every `claim`, `insert` and `record` of this id returns that it is in flight.
    ///
    /// A ticket that is dropped without a commit makes the next delivery fresh, so a handler that
    /// fails loses nothing.
    ///
    /// A key that alone exceeds `max_bytes` is always fresh: see [`Ticket::is_stored`].
    ///
    /// The ticket borrows the map. For a ticket that moves to a thread or a task, use
    /// [`claim_owned`](Self::claim_owned).
    pub fn claim(&self, key: &K) -> Claim<Ticket<'_, K, V, S>, V>
    where
        V: Clone,
    {
        self.claim_with(key, |token| Ticket::borrowed(self, token))
    }

    /// Like [`claim`](Self::claim), but the ticket owns a handle on the map.
    ///
    /// ```
    /// use leakproof::{Claim, DedupMap};
    /// use std::time::Duration;
    ///
    /// let seen = DedupMap::<str, u32>::new(1_000, Duration::from_secs(3600));
    /// if let Claim::Fresh(ticket) = seen.claim_owned("id") {
    ///     std::thread::spawn(move || ticket.commit(7)).join().unwrap()?;
    /// }
    /// assert_eq!(seen.get("id"), Some(7));
    /// # Ok::<(), leakproof::LeaseExpired<u32>>(())
    /// ```
    pub fn claim_owned(&self, key: &K) -> Claim<Ticket<'static, K, V, S>, V>
    where
        V: Clone,
    {
        self.claim_with(key, |token| Ticket::owned(self.clone(), token))
    }

    fn claim_with<T>(&self, key: &K, ticket: impl Fn(Token) -> T) -> Claim<T, V>
    where
        V: Clone,
    {
        let claim = self.try_claim(key, &ticket);
        if !matches!(claim, Claim::Full) {
            return claim;
        }
        // Leases that have expired in other shards may still take places.
        let now = self.now();
        self.each_shard(|core, hasher| core.expire(now, hasher))
            .for_each(drop);
        let claim = self.try_claim(key, &ticket);
        if matches!(claim, Claim::Full) {
            self.with_key(key, |_, _, core, _| core.count_claim_rejected());
        }
        claim
    }

    fn try_claim<T>(&self, key: &K, ticket: &impl Fn(Token) -> T) -> Claim<T, V>
    where
        V: Clone,
    {
        let journal = &self.inner.journal;
        journal.probe();
        let (claim, pending) = self.with_key(key, |now, hash, core, hasher| {
            let mut outcome = core.claim(now, hash, key, hasher);
            let mut pending = Pending::default();
            match &outcome {
                Outcome::Duplicate(_) => pending = journal.found(hash),
                Outcome::Fresh(token) if journal.refuses() => {
                    core.release(now, token, hasher);
                    outcome = Outcome::Full;
                }
                _ => {}
            }
            (core.claim_result(outcome).map(ticket), pending)
        });
        if self.settle(key, pending, &mut None) {
            claim
        } else {
            Claim::Full
        }
    }

    /// Calls `work` with the time, the shard of a claim and the hasher.
    fn with_token<R>(
        &self,
        token: &Token,
        work: impl FnOnce(Nanos, &mut Core<K, V>, &S) -> R,
    ) -> R {
        self.with_hash(token.hash, work)
    }

    /// Calls `work` with the time, the shard of a hash and the hasher.
    pub(crate) fn with_hash<R>(
        &self,
        hash: u64,
        work: impl FnOnce(Nanos, &mut Core<K, V>, &S) -> R,
    ) -> R {
        let now = self.now();
        self.with_shard(self.inner.shards.shard_of(hash), |core, hasher| {
            work(now, core, hasher)
        })
    }

    pub(crate) fn commit(&self, token: &Token, value: V) -> Result<(), LeaseExpired<V>> {
        let (mut value, mut copy, mut landed) = (Some(value), None, None);
        let journal = &self.inner.journal;
        let (in_time, pending) = self.with_token(token, |now, core, hasher| {
            let in_time = core.commit(now, token, &mut value, &mut copy, &mut landed, hasher);
            let pending = if in_time && token.is_stored() {
                journal.committed(token.hash, core)
            } else {
                Pending::default()
            };
            (in_time, pending)
        });
        journal.wait(pending);
        // The callers that wait for the claim get the value.
        drop(landed);
        match value {
            Some(value) if !in_time => Err(LeaseExpired { value }),
            _ => Ok(()),
        }
    }

    pub(crate) fn release(&self, token: &Token) {
        let end = self.with_token(token, |now, core, hasher| core.release(now, token, hasher));
        if let Some(end) = end {
            self.set_alarm(end);
        }
    }

    pub(crate) fn extend(&self, token: &Token, duration: Duration) -> Result<(), LeaseExpired> {
        let extended = self.with_token(token, |now, core, hasher| {
            core.extend(now, token, nanos(duration), hasher)
        });
        if extended {
            Ok(())
        } else {
            Err(LeaseExpired { value: () })
        }
    }

    pub(crate) fn is_claimed(&self, token: &Token) -> bool {
        self.with_token(token, |now, core, _| core.is_claimed(now, token))
    }

    pub(crate) fn claimed_key(&self, token: &Token) -> Option<K::Owned>
    where
        K: ToOwned,
    {
        self.with_token(token, |now, core, _| {
            core.claimed_key(now, token).map(ToOwned::to_owned)
        })
    }
}
