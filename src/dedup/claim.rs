//! The answers of `record` and `claim`, and the tickets of claims.

use std::error::Error;
use std::fmt;
use std::hash::BuildHasher;
use std::time::Duration;

use super::DedupMap;
use crate::dedup::Key;
use crate::hash::DefaultHashBuilder;

/// The result of [`DedupMap::record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded<V> {
    /// The id was new and is recorded now.
    New,
    /// The id was recorded before. Nothing was changed.
    Duplicate {
        /// The time since it was recorded.
        age: Duration,
        /// The value that was recorded with it.
        value: V,
    },
    /// The id is claimed. Nothing was recorded.
    InFlight,
    /// The id is new, but was not recorded. Its key is longer than its shard's share of
    /// `max_bytes`, or the keys in flight leave no room for it. Its next delivery is new again.
    Rejected {
        /// The value that was passed.
        value: V,
    },
}

/// The result of [`DedupMap::claim`].
#[derive(Debug)]
#[must_use = "a claim is released when it is dropped"]
pub enum Claim<T, V> {
    /// The id is claimed. Handle it, then commit the ticket.
    Fresh(T),
    /// The id is claimed by another caller.
    InFlight {
        /// The time since it was claimed.
        since: Duration,
    },
    /// The id was recorded before.
    Duplicate {
        /// The time since it was recorded.
        age: Duration,
        /// The value that was recorded with it.
        value: V,
    },
    /// `max_in_flight` ids are in flight, or their keys leave no room within `max_bytes`, or
    /// `max_waiting` callers wait for claims. Shed the load, or wait.
    Full,
}

impl<T, V> Claim<T, V> {
    /// Returns the same result with another kind of ticket.
    ///
    /// Code that holds either a local or a shared map can bring their tickets into one enum:
    /// `map.claim_owned(&id).map(Ticket::Local)`.
    pub fn map<U>(self, ticket: impl FnOnce(T) -> U) -> Claim<U, V> {
        match self {
            Self::Fresh(token) => Claim::Fresh(ticket(token)),
            Self::InFlight { since } => Claim::InFlight { since },
            Self::Duplicate { age, value } => Claim::Duplicate { age, value },
            Self::Full => Claim::Full,
        }
    }
}

/// The error of a commit or an extension after the lease has expired.
///
/// Nothing was changed: another caller may be handling the id, or may have handled it. The error
/// gives the value back. If the work was done, [`record`](DedupMap::record) the value, as the
/// example of [`Ticket::commit`] does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LeaseExpired<V = ()> {
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
        f.write_str("the lease on the id has expired; record the id instead if it was handled")
    }
}

impl<V> Error for LeaseExpired<V> {}

/// A claim on an id in a single-threaded map. Pass it to `commit` or `release`; otherwise the id
/// stays in flight until its lease expires.
///
/// Pass a token only to the map that issued it. Another map with the same hasher may mistake it for
/// one of its own.
#[derive(Debug)]
#[must_use = "the id stays in flight for the whole lease unless the token is committed or released"]
pub struct Token {
    pub(super) hash: u64,
    /// The number of the claim. `None` if the key is too long to be stored.
    pub(super) number: Option<u64>,
}

impl Token {
    /// Returns `false` if the key is longer than its shard's share of `max_bytes`: see
    /// [`Ticket::is_stored`].
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.number.is_some()
    }
}

/// A claim on an id in a [`DedupMap`]. Commit it when the id has been handled.
///
/// A ticket that is dropped without a commit, by an early return, a panic or a cancelled future,
/// releases the id, so that the next delivery is handled. When its lease expires, the ticket is
/// void and the id can be claimed again.
#[must_use = "a ticket releases its id when it is dropped"]
pub struct Ticket<'a, K: ?Sized + Key, V, S: BuildHasher = DefaultHashBuilder> {
    map: Map<'a, K, V, S>,
    token: Option<Token>,
}

enum Map<'a, K: ?Sized + Key, V, S> {
    Borrowed(&'a DedupMap<K, V, S>),
    Owned(DedupMap<K, V, S>),
}

impl<'a, K: ?Sized + Key, V, S: BuildHasher> Ticket<'a, K, V, S> {
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

    /// Returns a ticket of the same claim that owns a handle on the map.
    pub(super) fn into_owned(mut self) -> Ticket<'static, K, V, S> {
        let map = match &self.map {
            Map::Borrowed(map) => DedupMap::clone(map),
            Map::Owned(map) => map.clone(),
        };
        Ticket {
            map: Map::Owned(map),
            token: self.token.take(),
        }
    }

    /// Returns `true` if the lease has not expired.
    pub(crate) fn is_live(&self) -> bool {
        let token = self.token.as_ref();
        token.is_some_and(|token| self.map().is_claimed(token))
    }

    /// Records the id as handled, with `value`. Its ttl begins now.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseExpired`] with the value if the lease has expired. Nothing is changed then,
    /// and the next delivery is handled again. If the work was done, record its value:
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
    ///     if let Err(expired) = ticket.commit(reply) {
    ///         match seen.record("id", expired.value) {
    ///             Recorded::New | Recorded::Rejected { .. } => {} // no other claim is in flight or committed
    ///             Recorded::Duplicate { .. } | Recorded::InFlight => eprintln!("handled twice"),
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
        // If this panics, the ticket is dropped with its token, and releases the id.
        let result = self.map().commit(token, value);
        self.token = None;
        result
    }

    /// Releases the id, like dropping the ticket. Its next delivery is fresh.
    pub fn release(self) {}

    /// Extends the lease to `duration` from now. A lease never becomes shorter.
    ///
    /// Call it from time to time during work that takes longer than the lease. An extended claim
    /// takes about 100 bytes more.
    ///
    /// ```
    /// use leakproof::{Claim, DedupSet, ManualClock};
    /// use std::time::Duration;
    ///
    /// let (time, minute) = (ManualClock::new(), Duration::from_secs(60));
    /// let builder = DedupSet::<str>::builder().ttl(60 * minute).max_entries(1_000).lease(minute);
    /// let seen = builder.clock(&time).build()?;
    /// if let Claim::Fresh(ticket) = seen.claim("slow") {
    ///     for _part in 0..10 {
    ///         time.advance(minute / 2);
    ///         ticket.extend(minute)?;
    ///     }
    ///     ticket.commit()?;
    /// }
    /// assert!(seen.contains("slow"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`LeaseExpired`] if the lease has expired.
    pub fn extend(&self, duration: Duration) -> Result<(), LeaseExpired> {
        match &self.token {
            Some(token) => self.map().extend(token, duration),
            None => Ok(()),
        }
    }

    /// Returns the claimed key, or `None` if the lease has expired or the key is not stored.
    #[must_use]
    pub fn key(&self) -> Option<K::Owned>
    where
        K: ToOwned,
    {
        self.map().claimed_key(self.token.as_ref()?)
    }

    /// Returns `false` if the key is longer than its shard's share of `max_bytes`. Such an id is
    /// not in flight: every claim on it is fresh, its lease never expires, and `commit` records
    /// nothing.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.token.as_ref().is_some_and(Token::is_stored)
    }

    fn map(&self) -> &DedupMap<K, V, S> {
        match &self.map {
            Map::Borrowed(map) => map,
            Map::Owned(map) => map,
        }
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> Drop for Ticket<'_, K, V, S> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.map().release(&token);
        }
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> fmt::Debug for Ticket<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// A claim on an id in a [`DedupSet`](crate::DedupSet): a [`Ticket`] whose commit takes no value.
#[must_use = "a ticket releases its id when it is dropped"]
pub struct SetTicket<'a, K: ?Sized + Key, S: BuildHasher = DefaultHashBuilder>(
    pub(super) Ticket<'a, K, (), S>,
);

impl<K: ?Sized + Key, S: BuildHasher> SetTicket<'_, K, S> {
    /// Records the id as handled. Its ttl begins now.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseExpired`] if the lease has expired. Nothing is changed then. If the work was
    /// done, `insert` the id.
    pub fn commit(self) -> Result<(), LeaseExpired> {
        self.0.commit(())
    }

    /// Releases the id, like dropping the ticket. Its next delivery is fresh.
    pub fn release(self) {}

    /// Extends the lease to `duration` from now: see [`Ticket::extend`].
    ///
    /// # Errors
    ///
    /// Returns [`LeaseExpired`] if the lease has expired.
    pub fn extend(&self, duration: Duration) -> Result<(), LeaseExpired> {
        self.0.extend(duration)
    }

    /// Returns the claimed key, or `None` if the lease has expired or the key is not stored.
    #[must_use]
    pub fn key(&self) -> Option<K::Owned>
    where
        K: ToOwned,
    {
        self.0.key()
    }

    /// Returns `false` if the key is longer than its shard's share of `max_bytes`: see
    /// [`Ticket::is_stored`].
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.0.is_stored()
    }
}

impl<K: ?Sized + Key, S: BuildHasher> fmt::Debug for SetTicket<'_, K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
