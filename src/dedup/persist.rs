//! Snapshots of a map: `save` and `restore`.

use std::borrow::Borrow;
use std::hash::BuildHasher;
use std::io::{Read, Write};
use std::path::Path;

use super::{DedupMap, DedupSet};
use crate::clock::{Nanos, nanos};
use crate::codec::Codec;
use crate::dedup::Key;
use crate::persist::format::{Anchor, Kind, Record, decode, put_insert};
use crate::persist::snapshot::{self, SnapshotWriter};
use crate::persist::{PersistError, RestoreReport, SaveReport, file};

impl<K, V, S> DedupMap<K, V, S>
where
    K: ?Sized + Key + Codec,
    V: Codec<Owned = V> + Clone,
    S: BuildHasher,
{
    /// Saves the live ids with their values and ages to a file, while the map is in use.
    ///
    /// The file is replaced as a whole or not at all, also if the process or the machine crashes:
    /// a temporary file in the same directory is written, synchronised and renamed. Ids that are
    /// in flight, and ids that are recorded after the call began, are not saved.
    ///
    /// Locks a shard for 64 entries at a time, and holds up to 64 copied entries per shard. An id
    /// that was recorded in the clock step in which the call began may be missed if many ids are
    /// removed during the call.
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
        let anchor = self.anchor();
        let mut snapshot = SnapshotWriter::new(writer, Kind::DedupSnapshot, anchor)?;
        self.try_for_each_since(anchor.clock, |key, value, time| {
            snapshot
                .add(|out| put_insert(out, time, |out| key.encode(out), |out| value.encode(out)))
        })?;
        snapshot.finish()
    }

    /// Restores a snapshot from a file. The map must not contain any ids.
    ///
    /// Each id expires when it would have expired without the restart: its age is kept, and the
    /// downtime by the wall clock is added. A wall clock that went back makes no id younger. If the
    /// map's bound is reached, the newest ids are kept. Bounds, hasher and number of shards may
    /// differ from those of the saved map. Ids that are recorded during the call by other threads
    /// make restored ids count as younger.
    ///
    /// # Errors
    ///
    /// Returns [`PersistError::NotFound`] if the file does not exist, and
    /// [`PersistError::Damaged`] if it is damaged. The ids before the damage are restored then.
    /// Returns [`PersistError::NotEmpty`] if the map contains ids.
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
        if self.has_journal() {
            return Err(PersistError::HasJournal);
        }
        let now = self.anchor();
        let empty = self
            .each_shard(|core, hasher| core.prepare_restore(now.clock, hasher))
            .fold(true, |all, empty| all & empty);
        if !empty {
            return Err(PersistError::NotEmpty);
        }
        let mut report = RestoreReport::default();
        snapshot::read(reader, Kind::DedupSnapshot, |anchor, record| {
            let Record::Insert { time, key, value } = record else {
                return Err("an unexpected record".to_owned());
            };
            let elapsed = report.set_downtime(anchor.elapsed(&now));
            let age = anchor.clock.saturating_sub(time).saturating_add(elapsed);
            let (key, value) = (decode::<K>("key", key)?, decode::<V>("value", value)?);
            self.restore_entry(now.clock, age, key.borrow(), value, &mut report);
            Ok(())
        })?;
        Ok(report)
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    /// Returns the present time by the map's clock, with its base, and by the wall clock.
    pub(crate) fn anchor(&self) -> Anchor {
        Anchor::now(self.clock(), self.base())
    }

    /// Records an id of this age, unless it has expired.
    pub(crate) fn restore_entry(
        &self,
        now: Nanos,
        age: Nanos,
        key: &K,
        value: V,
        report: &mut RestoreReport,
    ) {
        let ttl = nanos(self.ttl());
        if age >= ttl && ttl < Nanos::MAX {
            report.expired += 1;
            return;
        }
        let mut value = Some(value);
        let restored = self.with_key(key, |_, hash, core, hasher| {
            let time = now.saturating_sub(age);
            core.restore(now, (time, hash), key, &mut value, hasher)
        });
        let added = u64::from(!restored.replaced);
        report.restored = (report.restored + added).saturating_sub(restored.over_bound);
        report.over_bound += restored.over_bound;
    }
}

impl<K: ?Sized + Key + Codec, S: BuildHasher> DedupSet<K, S> {
    /// Saves the live ids with their ages to a file: see [`DedupMap::save`].
    ///
    /// # Errors
    ///
    /// Returns [`PersistError`] if the file cannot be written or a key cannot be encoded.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<SaveReport, PersistError> {
        self.0.save(path)
    }

    /// Saves a snapshot to any writer: see [`DedupMap::save_to`].
    ///
    /// # Errors
    ///
    /// Returns [`PersistError`] if the writer fails or a key cannot be encoded.
    pub fn save_to(&self, writer: impl Write) -> Result<SaveReport, PersistError> {
        self.0.save_to(writer)
    }

    /// Restores a snapshot from a file: see [`DedupMap::restore`].
    ///
    /// # Errors
    ///
    /// Returns [`PersistError`] as [`DedupMap::restore`] does.
    pub fn restore(&self, path: impl AsRef<Path>) -> Result<RestoreReport, PersistError> {
        self.0.restore(path)
    }

    /// Restores a snapshot from any reader: see [`DedupMap::restore_from`].
    ///
    /// # Errors
    ///
    /// Returns [`PersistError`] as [`DedupMap::restore`] does.
    pub fn restore_from(&self, reader: impl Read) -> Result<RestoreReport, PersistError> {
        self.0.restore_from(reader)
    }

    /// Returns the report of the replay at `build`, or `None` if the set has no journal.
    #[must_use]
    pub fn replayed(&self) -> Option<&RestoreReport> {
        self.0.replayed()
    }

    /// Writes all records to the journal and synchronises it: see [`DedupMap::flush`].
    ///
    /// # Errors
    ///
    /// Returns [`PersistError::Io`] if the journal cannot be written.
    pub fn flush(&self) -> Result<(), PersistError> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::steps;

    #[test]
    fn save_of_a_million_ids_under_load_works_in_pieces_of_64() {
        let builder = DedupSet::<u64>::builder().ttl(Duration::from_secs(3600));
        let builder = builder.max_entries(1_200_000).shards(16);
        let set = builder.build().expect("valid");
        let ids: Vec<u64> = (0..1_000_000).collect();
        set.insert_batch(&ids);
        let stop = AtomicBool::new(false);
        let (mut saved, mut largest) = (0, 0);
        thread::scope(|scope| {
            for thread in 0..3_u64 {
                let (set, stop) = (&set, &stop);
                scope.spawn(move || {
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        set.insert(&(1_000_000 + 3 * number + thread));
                        set.remove(&(2 * number));
                    }
                });
            }
            largest = steps::largest_piece_during(|| {
                saved = set.save_to(io::sink()).expect("written").saved;
            });
            stop.store(true, Ordering::Relaxed);
        });
        assert!(saved > 400_000, "{saved} saved");
        assert!(
            (1..=64).contains(&largest),
            "{largest} entries under a lock"
        );
    }
}
