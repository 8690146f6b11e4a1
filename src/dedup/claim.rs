//! Claims: an id that is being handled is neither new nor seen.
//!
//! Owns the answers of a claim, the ticket that stands for it, and the count of claims in flight. In-flight ids never
//! enter the window of recorded ones, so the bound cannot evict them; they stand in a window of their own, whose time to
//! live is the lease.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::DedupMap;
use crate::hash::DefaultHashBuilder;
use crate::key::Key;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// What [`record`](DedupMap::record) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded<V> {
    /// Not recorded within the ttl. It is now.
    New,
    /// Recorded before.
    Duplicate {
        /// How long ago.
        age: Duration,
        /// What was recorded with it.
        value: V,
    },
    /// Someone has claimed it and is still at work. Nothing was recorded.
    InFlight,
}

/// What a [`claim`](DedupMap::claim) got.
#[derive(Debug)]
#[must_use = "a claim that is dropped is released at once"]
pub enum Claim<T, V> {
    /// The id is the caller's to handle: commit the ticket when it is done.
    Fresh(T),
    /// Someone else is handling it.
    InFlight {
        /// For how long already.
        since: Duration,
    },
    /// It has been handled.
    Duplicate {
        /// How long ago.
        age: Duration,
        /// What was recorded with it.
        value: V,
    },
    /// As many ids as allowed are in flight, or their keys leave no room within `max_bytes`: shed load, or wait.
    Full,
}

impl<T, V> Claim<T, V> {
    /// The same answer with another kind of ticket.
    pub(super) fn map<U>(self, ticket: impl FnOnce(T) -> U) -> Claim<U, V> {
        match self {
            Self::Fresh(token) => Claim::Fresh(ticket(token)),
            Self::InFlight { since } => Claim::InFlight { since },
            Self::Duplicate { age, value } => Claim::Duplicate { age, value },
            Self::Full => Claim::Full,
        }
    }
}

/// The lease had run out when the ticket was committed. Nothing was recorded: another claimant may be handling the
/// id, or may have handled it.
///
/// It gives the value back. If the work was done all the same, [`record`](DedupMap::record) it: see
/// [`Ticket::commit`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LeaseExpired<V> {
    /// The value that was to be recorded.
    pub value: V,
}

impl<V> fmt::Debug for LeaseExpired<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseExpired").finish_non_exhaustive()
    }
}

impl<V> fmt::Display for LeaseExpired<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lease on the id had run out, so it was not recorded as handled")
    }
}

impl<V> Error for LeaseExpired<V> {}

/// A claim on an id in an [`unsync::DedupMap`](crate::unsync::DedupMap), to be handed back to its `commit` or
/// `release`. One that is not is void once its lease has run out.
///
/// It is for the map that it comes from: one with an equal hasher may take it for a claim of its own.
#[derive(Debug)]
#[must_use = "until it is committed or released, the id stays in flight for the whole lease"]
pub struct Token {
    pub(super) hash: u64,
    /// Which claim this is. `None`: the key was too long to be stored.
    pub(super) number: Option<u64>,
}

/// A claim on an id: commit it when the id has been handled.
///
/// Dropped uncommitted, by an early return, a panic or a cancelled future, it releases the id, so that the next
/// delivery is handled afresh. Once its lease has run out it is void, and the id free for another claimant.
#[must_use = "dropped uncommitted, a ticket releases its id at once"]
pub struct Ticket<'a, K: ?Sized + Key, V, S: std::hash::BuildHasher = DefaultHashBuilder> {
    map: Map<'a, K, V, S>,
    token: Option<Token>,
}

enum Map<'a, K: ?Sized + Key, V, S> {
    Borrowed(&'a DedupMap<K, V, S>),
    Owned(DedupMap<K, V, S>),
}

impl<'a, K: ?Sized + Key, V, S: std::hash::BuildHasher> Ticket<'a, K, V, S> {
    pub(super) fn borrowed(map: &'a DedupMap<K, V, S>, token: Token) -> Self {
        Self {
            map: Map::Borrowed(map),
            token: Some(token),
        }
    }

    pub(super) fn owned(map: DedupMap<K, V, S>, token: Token) -> Self {
        Self {
            map: Map::Owned(map),
            token: Some(token),
        }
    }

    /// Records the id as handled, with `value`; its ttl begins now. Of a key that alone exceeds `max_bytes` nothing is
    /// recorded, whenever that is.
    ///
    /// # Errors
    ///
    /// [`LeaseExpired`], with the value, where the lease had run out. Nothing is changed then.
    ///
    /// So the next delivery would be handled again. Where the work was done, record its value after all:
    ///
    /// ```
    /// use leakproof::{Claim, DedupMap, ManualClock, Recorded};
    /// use std::time::Duration;
    ///
    /// let time = ManualClock::new();
    /// let builder = DedupMap::<str, String>::builder().ttl(Duration::from_secs(24 * 3600)).max_entries(1_000_000);
    /// let seen = builder.lease(Duration::from_secs(60)).clock(&time).build()?;
    ///
    /// if let Claim::Fresh(ticket) = seen.claim("id") {
    ///     let reply = "the reply".to_string();
    ///     time.advance(Duration::from_secs(60)); // the work took longer than its lease
    ///     if let Err(lapsed) = ticket.commit(reply) {
    ///         match seen.record("id", lapsed.value) {
    ///             Recorded::New => {} // recorded, a little late: nobody else was at it
    ///             Recorded::Duplicate { .. } | Recorded::InFlight => eprintln!("another has it too: handled twice"),
    ///         }
    ///     }
    /// }
    /// assert_eq!(seen.get("id").as_deref(), Some("the reply"));
    /// # Ok::<(), leakproof::BuildError>(())
    /// ```
    pub fn commit(mut self, value: V) -> Result<(), LeaseExpired<V>> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        // Should this panic, the ticket is dropped with its token, and releases the id.
        let result = self.map().commit(token, value);
        self.token = None;
        result
    }

    /// Gives the id up unhandled: its next delivery is fresh. The same as dropping the ticket.
    pub fn release(self) {}

    fn map(&self) -> &DedupMap<K, V, S> {
        match &self.map {
            Map::Borrowed(map) => map,
            Map::Owned(map) => map,
        }
    }
}

impl<K: ?Sized + Key, V, S: std::hash::BuildHasher> Drop for Ticket<'_, K, V, S> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.map().release(&token);
        }
    }
}

impl<K: ?Sized + Key, V, S: std::hash::BuildHasher> fmt::Debug for Ticket<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// The count of claims in flight, shared by all shards so that the bound on them is exact.
#[derive(Debug)]
pub(super) struct Permits {
    max: usize,
    used: AtomicUsize,
}

impl Permits {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            used: AtomicUsize::new(0),
        })
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Takes one, if there is one. Relaxed: the count guards no other data.
    pub(super) fn take(&self) -> Option<Permit<'_>> {
        let more = |used| (used < self.max).then(|| used + 1);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()
            .map(|_| Permit { permits: self })
    }

    /// One that was taken and kept, to be given back when dropped.
    pub(super) fn taken(&self) -> Permit<'_> {
        Permit { permits: self }
    }

    pub(super) fn give_back(&self, count: usize) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }
}

/// A place in flight; given back when dropped, so that a panic does not lose it.
pub(super) struct Permit<'a> {
    permits: &'a Permits,
}

impl Permit<'_> {
    /// Keeps the place beyond this value's life.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.give_back(1);
    }
}
