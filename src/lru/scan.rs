//! Walks over a shared cache, a bounded number of entries per lock.

use std::cmp::Reverse;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

use super::cache::LruCache;

/// Slots that a walk visits before it unlocks.
const PIECE: usize = 256;

/// The position of a [`scan`](LruCache::scan). The default is the start.
///
/// It can leave the process as text, as the token of the next page, and come back by `parse`. A
/// wrong token does no harm: the scan may return a part twice, or skip one.
///
/// ```
/// use leakproof::Cursor;
///
/// let cursor = Cursor::default();
/// assert_eq!(cursor.to_string().parse(), Ok(cursor));
/// assert!("page 2".parse::<Cursor>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    shard: usize,
    /// The slots of the shard below this are still to be visited.
    from: usize,
}

impl Cursor {
    /// Returns the start of a shard.
    fn start_of(shard: usize) -> Self {
        Self {
            shard,
            from: usize::MAX,
        }
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self::start_of(0)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, from } = self;
        if *from == usize::MAX {
            write!(f, "{shard}")
        } else {
            write!(f, "{shard}.{from}")
        }
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let number = |text: &str| text.parse().map_err(|_| InvalidCursor);
        match text.split_once('.') {
            Some((shard, from)) => Ok(Self {
                shard: number(shard)?,
                from: number(from)?,
            }),
            None => Ok(Self::start_of(number(text)?)),
        }
    }
}

/// A text is not one of a [`Cursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCursor;

impl fmt::Display for InvalidCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cursor must be a number, or two numbers separated by a point")
    }
}

impl Error for InvalidCursor {}

impl<K: Clone, V: Clone, S> LruCache<K, V, S> {
    /// Returns clones of up to `n` live entries, in no particular order, and where to continue, or
    /// `None` at the end.
    ///
    /// To visit everything, start with `Cursor::default()`, and continue until there is no cursor.
    /// A call examines at most `2 n + 256` entries and shards, and locks for at most 256 entries at
    /// a time. It returns fewer than `n` entries, and possibly none, if many of these are expired;
    /// then there is a cursor nevertheless.
    ///
    /// An entry that stays in the cache during the whole scan is returned. It may be returned twice
    /// if the scan runs while others are removed. Entries inserted during the scan may be missed.
    /// Refreshes nothing.
    ///
    /// ```
    /// use leakproof::{Cursor, LruCache};
    /// use std::time::Duration;
    ///
    /// let cache = LruCache::<u32, u32>::new(100_000, Duration::from_secs(60));
    /// (0..1_000).for_each(|n| drop(cache.insert(n, n)));
    ///
    /// let mut count = 0;
    /// let mut cursor = Some(Cursor::default());
    /// while let Some(from) = cursor {
    ///     let (entries, next) = cache.scan(from, 100);
    ///     count += entries.len();
    ///     cursor = next;
    /// }
    /// assert_eq!(count, 1_000);
    /// ```
    #[must_use]
    pub fn scan(&self, cursor: Cursor, n: usize) -> (Vec<(K, V)>, Option<Cursor>) {
        let now = self.now();
        let n = n.max(1);
        let mut budget = n.saturating_mul(2).saturating_add(PIECE);
        let mut entries = Vec::new();
        let mut next = cursor;
        while next.shard < self.shard_count() {
            if entries.len() == n || budget == 0 {
                return (entries, Some(next));
            }
            // A lock counts as an entry.
            budget -= 1;
            let piece = (n - entries.len()).min(budget).min(PIECE);
            next = self.with_shard(next.shard, |shard| {
                let (visited, from) = shard.core.scan(now, next.from, piece, |key, value| {
                    entries.push((key.clone(), value.clone()));
                });
                budget -= visited;
                match from {
                    Some(from) => Cursor { from, ..next },
                    None => Cursor::start_of(next.shard + 1),
                }
            });
        }
        (entries, None)
    }

    /// Returns clones of the `n` most recently used live entries, the most recently used first.
    /// Refreshes nothing.
    ///
    /// Locks each shard once, for `n` entries. In addition it takes a step for each expired entry
    /// that was accessed within the shortest of the limits before now, and not yet removed. To
    /// visit many entries, use [`scan`](Self::scan).
    ///
    /// With [`Policy::S3Fifo`](crate::Policy::S3Fifo) and without an idle timeout, it takes a step
    /// for every entry, and accesses within 8 ns of each other count as simultaneous.
    #[must_use]
    pub fn entries_by_recency(&self, n: usize) -> Vec<(K, V)> {
        let now = self.now();
        let mut entries = Vec::new();
        for shard in 0..self.shard_count() {
            self.with_shard(shard, |shard| {
                let recent = shard.core.most_recent(now, n);
                let cloned = |(time, key, value): (_, &K, &V)| (time, key.clone(), value.clone());
                entries.extend(recent.into_iter().map(cloned));
            });
        }
        entries.sort_by_key(|&(time, ..)| Reverse(time));
        entries.truncate(n);
        let without_time = |(_, key, value)| (key, value);
        entries.into_iter().map(without_time).collect()
    }
}

impl<K, V, S> LruCache<K, V, S> {
    /// Calls `visit` with every live entry, in no particular order, in time proportional to the
    /// number of entries. Refreshes nothing.
    ///
    /// `visit` is called while a shard is locked, for up to 256 entries at a time. It must not call
    /// back into the cache, which would deadlock. An entry that stays in the cache during the call
    /// is visited, and possibly twice if others are removed.
    #[doc(alias = "iter")]
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) {
        let now = self.now();
        for shard in 0..self.shard_count() {
            let mut from = Some(usize::MAX);
            while let Some(at) = from {
                from =
                    self.with_shard(shard, |shard| shard.core.scan(now, at, PIECE, &mut visit).1);
            }
        }
    }

    /// Removes the entries for which `keep` returns `false`, in time proportional to the number of
    /// entries.
    ///
    /// `keep` is called while a shard is locked, for up to 256 entries at a time. It must not call
    /// back into the cache, which would deadlock.
    #[doc(alias = "invalidate_entries_if")]
    #[doc(alias = "alter_all")]
    pub fn retain(&self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let now = self.now();
        for shard in 0..self.shard_count() {
            let mut from = Some(usize::MAX);
            while let Some(at) = from {
                from = self.write_shard(shard, |shard, removed| {
                    shard.core.retain(now, at, PIECE, &mut keep, removed)
                });
            }
        }
    }
}
