//! Going through a cache, a bounded piece per lock.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use super::LruCache;

/// Places looked at under one lock.
const PIECE: usize = 256;

/// How far a [`scan`](LruCache::scan) has come; by `default`, nowhere yet.
///
/// It may leave the process as text, as the token of the next page, and come back by `parse`. Whatever token comes back does
/// no harm: at worst, a part is seen twice, or not at all.
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
    /// The places of the shard that are still to be looked at are those below.
    from: usize,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            shard: 0,
            from: usize::MAX,
        }
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
            None => Ok(Self {
                shard: number(text)?,
                from: usize::MAX,
            }),
        }
    }
}

/// A text is not that of a [`Cursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCursor;

impl fmt::Display for InvalidCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a cursor; it is a number, or two with a point between them")
    }
}

impl Error for InvalidCursor {}

impl<K: Clone, V: Clone, S> LruCache<K, V, S> {
    /// Clones of up to `n` live entries, in no particular order, and where to go on; `None` at the end. An `n` of 0
    /// counts as 1.
    ///
    /// To go through everything, begin with `Cursor::default()`, and go on until there is no cursor, also where a piece is
    /// empty. An entry that is there all the time is seen; it may be seen twice where others are removed meanwhile, and
    /// those that come meanwhile may be missed. Refreshes nothing. No lock is held for more than 256 entries.
    ///
    /// ```
    /// use leakproof::{Cursor, LruCache};
    /// use std::time::Duration;
    ///
    /// let cache = LruCache::<u32, u32>::new(100_000, Duration::from_secs(60));
    /// (0..1_000).for_each(|n| drop(cache.insert(n, n)));
    ///
    /// let mut seen = 0;
    /// let mut cursor = Some(Cursor::default());
    /// while let Some(from) = cursor {
    ///     let (entries, next) = cache.scan(from, 100);
    ///     seen += entries.len();
    ///     cursor = next;
    /// }
    /// assert_eq!(seen, 1_000);
    /// ```
    #[must_use]
    pub fn scan(&self, cursor: Cursor, n: usize) -> (Vec<(K, V)>, Option<Cursor>) {
        let now = self.now();
        let n = n.max(1);
        let mut entries = Vec::new();
        let Cursor {
            mut shard,
            mut from,
        } = cursor;
        while entries.len() < n && shard < self.inner.shards.len() {
            let piece = (n - entries.len()).min(PIECE);
            let next = self.inner.with(shard, |shard, _| {
                shard.core.scan_at(now, from, piece, |key, value| {
                    entries.push((key.clone(), value.clone()));
                })
            });
            (shard, from) = next.map_or((shard + 1, usize::MAX), |next| (shard, next));
        }
        let next = (shard < self.inner.shards.len()).then_some(Cursor { shard, from });
        (entries, next)
    }

    /// Clones of the `n` most recently used live entries, the most recently used first. Refreshes nothing.
    ///
    /// Locks each shard once, for `n` entries: to go through many, [`scan`](Self::scan).
    #[must_use]
    pub fn entries_by_recency(&self, n: usize) -> Vec<(K, V)> {
        let now = self.now();
        let mut entries = Vec::new();
        for shard in 0..self.inner.shards.len() {
            self.inner.with(shard, |shard, _| {
                let recent = shard.core.by_recency(now).take(n);
                entries.extend(recent.map(|(key, value, used)| (used, key.clone(), value.clone())));
            });
        }
        entries.sort_by_key(|&(used, ..)| std::cmp::Reverse(used));
        entries.truncate(n);
        entries
            .into_iter()
            .map(|(_, key, value)| (key, value))
            .collect()
    }
}

impl<K, V, S> LruCache<K, V, S> {
    /// Removes every entry that `keep` does not want. In time proportional to the number of entries.
    ///
    /// `keep` is called while a shard is locked, for up to 256 entries at a time: it must not call back into the
    /// cache, which would wait for itself for ever.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        let now = self.now();
        for shard in 0..self.inner.shards.len() {
            let mut from = Some(usize::MAX);
            while let Some(at) = from {
                from = self.inner.with(shard, |shard, left| {
                    shard.core.retain_at(now, at, PIECE, &mut keep, left)
                });
            }
        }
    }
}
