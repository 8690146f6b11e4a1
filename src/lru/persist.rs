//! Snapshots of a cache: `save` and `restore`, for a warm start.

use std::hash::{BuildHasher, Hash};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use super::cache::LruCache;
use crate::clock::{Nanos, nanos};
use crate::codec::Codec;
use crate::persist::format::{Anchor, Kind, Record, decode, put_cached};
use crate::persist::snapshot::{self, SnapshotWriter};
use crate::persist::{PersistError, RestoreReport, SaveReport, file};

/// Entries examined under one lock.
const PIECE: usize = 64;

/// An entry that was read from a file.
struct Saved<K, V> {
    /// The time since the last access.
    idle: Nanos,
    remaining: Nanos,
    key: K,
    value: V,
}

impl<K, V, S> LruCache<K, V, S>
where
    K: Codec<Owned = K> + Clone + Hash + Eq,
    V: Codec<Owned = V> + Clone,
    S: BuildHasher,
{
    /// Saves the live entries to a file, with their remaining time to live and the time of their
    /// last access, while the cache is in use.
    ///
    /// The file is replaced as a whole or not at all. Locks a shard for 64 entries at a time, and
    /// takes bounded memory. An entry that stays in the cache during the call is saved.
    ///
    /// ```
    /// use leakproof::LruCache;
    /// use std::time::Duration;
    ///
    /// # let path = std::env::temp_dir().join(format!("leakproof-cache-{}", std::process::id()));
    /// let pages = LruCache::<String, String>::new(1_000, Duration::from_secs(1800));
    /// pages.insert("/".to_string(), "welcome".to_string());
    /// pages.save(&path)?;
    ///
    /// let after_restart = LruCache::<String, String>::new(1_000, Duration::from_secs(1800));
    /// println!("{}", after_restart.restore(&path)?);
    /// assert_eq!(after_restart.get("/").as_deref(), Some("welcome"));
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), leakproof::persist::PersistError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`PersistError`] if the file cannot be written or a key or value cannot be encoded.
    /// The previous file stays as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<SaveReport, PersistError> {
        file::replace(path.as_ref(), |writer| self.save_to(writer))
    }

    /// Saves a snapshot to any writer: see [`save`](Self::save). Writes pieces of about 64 KiB.
    ///
    /// # Errors
    ///
    /// Returns [`PersistError`] if the writer fails or a key or value cannot be encoded.
    pub fn save_to(&self, writer: impl Write) -> Result<SaveReport, PersistError> {
        let anchor = Anchor::now(self.clock(), 0);
        let mut snapshot = SnapshotWriter::new(writer, Kind::CacheSnapshot, anchor)?;
        let mut copied = Vec::new();
        for shard in 0..self.shard_count() {
            let mut from = Some(usize::MAX);
            while let Some(at) = from {
                from = self.with_shard(shard, |shard| {
                    shard
                        .core
                        .scan_with_times(anchor.clock, at, PIECE, |key, value, times| {
                            copied.push((key.clone(), value.clone(), times));
                        })
                });
                for (key, value, times) in copied.drain(..) {
                    snapshot.add(|out| {
                        put_cached(out, times, |out| key.encode(out), |out| value.encode(out))
                    })?;
                }
            }
        }
        snapshot.finish()
    }

    /// Restores a snapshot from a file. The cache must not contain any entries.
    ///
    /// Each entry is stored with what remains of its time to live, less the downtime by the wall
    /// clock, and in the order of the last accesses. Its idle timeout begins anew, unless it ended
    /// during the downtime. At a bound, the most recently used entries are kept. Reads all entries
    /// before it stores the first, because a file is not ordered.
    ///
    /// # Errors
    ///
    /// Returns [`PersistError::NotFound`] if the file does not exist, [`PersistError::Damaged`] if
    /// it is damaged, and [`PersistError::NotEmpty`] if the cache contains entries. Nothing is
    /// restored then.
    pub fn restore(&self, path: impl AsRef<Path>) -> Result<RestoreReport, PersistError> {
        let path = path.as_ref();
        self.restore_from(file::open(path)?)
            .map_err(|error| error.at(path))
    }

    /// Restores a snapshot from any reader: see [`restore`](Self::restore). Reads small pieces, so
    /// pass a buffered reader.
    ///
    /// # Errors
    ///
    /// Returns [`PersistError`] as [`restore`](Self::restore) does.
    pub fn restore_from(&self, reader: impl Read) -> Result<RestoreReport, PersistError> {
        if !self.is_empty() {
            return Err(PersistError::NotEmpty);
        }
        let now = Anchor::now(self.clock(), 0);
        let idle_timeout = self.idle_timeout().map_or(Nanos::MAX, nanos);
        let mut report = RestoreReport::default();
        let mut entries = Vec::new();
        snapshot::read(reader, Kind::CacheSnapshot, |anchor, record| {
            let Record::Cached {
                idle,
                remaining,
                key,
                value,
                ..
            } = record
            else {
                return Err("an unexpected record".to_owned());
            };
            let (key, value) = (decode::<K>("key", key)?, decode::<V>("value", value)?);
            let elapsed = report.set_downtime(anchor.elapsed(&now));
            let idle = idle.saturating_add(elapsed);
            let left = remaining.saturating_sub(elapsed);
            if left == 0 || (idle >= idle_timeout && idle_timeout < Nanos::MAX) {
                report.expired += 1;
                return Ok(());
            }
            let remaining = if remaining == Nanos::MAX {
                remaining
            } else {
                left
            };
            entries.push(Saved {
                idle,
                remaining,
                key,
                value,
            });
            Ok(())
        })?;
        // The least recently used first.
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.idle));
        // Not inserted and evicted again, because a removal callback would be notified of them.
        let surplus = entries.len().saturating_sub(self.max_entries());
        let kept = entries.len() - surplus;
        for entry in entries.into_iter().skip(surplus) {
            if entry.remaining == Nanos::MAX {
                self.insert(entry.key, entry.value);
            } else {
                let remaining = Duration::from_nanos(entry.remaining);
                self.insert_with_ttl(entry.key, entry.value, remaining);
            }
        }
        report.restored = self.len().min(kept) as u64;
        report.over_bound = (surplus + kept) as u64 - report.restored;
        Ok(report)
    }
}
