//! Replays a journal into a new map, and attaches the journal to it.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::codecs::{Attachment, Codecs};
use super::present::{Attached, Hook};
use crate::clock::Nanos;
use crate::dedup::Key;
use crate::dedup::map::DedupMap;
use crate::events;
use crate::limits::BuildError;
use crate::panic::catch_user_panic;
use crate::persist::format::Record;
use crate::persist::journal::{Handle, Scan, Shared, Sync, Writer, replay};
use crate::persist::{Journal, PersistError, RestoreReport};
use crate::sweep::Watch;

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    /// Replays a journal into a new map, and journals every call from there on.
    pub(crate) fn attach(mut self, attachment: Attachment) -> Result<Self, BuildError>
    where
        K: Send + 'static,
        V: Send + 'static,
        S: Send + std::marker::Sync + 'static,
    {
        let failed = |error: PersistError| BuildError::Journal {
            reason: error.to_string(),
        };
        let Attachment { journal, codecs } = attachment;
        let Ok(codecs) = codecs.downcast::<Codecs<K, V>>() else {
            unreachable!("the setter stores the codecs of this map");
        };
        let path = journal.path().to_owned();
        let (shared, replayed) = self
            .replay(journal, &codecs)
            .map_err(|error| failed(error.at(&path)))?;
        catch_user_panic(|| events::journal_replayed(&path.display(), &replayed));
        let mut handle = Handle::new(shared);
        let attached = Attached {
            shared: Arc::clone(&handle.shared),
            codecs: *codecs,
            replayed,
        };
        let inner = Arc::get_mut(&mut self.inner).expect("the map is new");
        inner.journal = Hook {
            attached: Some(attached),
        };
        let started = handle.start(self.downgrade_to_sweep());
        started.map_err(|error| failed(error.into()))?;
        self.owner = Some(Arc::new(handle));
        Ok(self)
    }

    fn replay(
        &self,
        journal: Journal,
        codecs: &Codecs<K, V>,
    ) -> Result<(Shared, RestoreReport), PersistError> {
        let Journal {
            mut folder,
            sync,
            on_error,
            segment_bytes,
        } = journal;
        let path = folder.path().to_owned();
        let now = self.anchor();
        let mut report = RestoreReport::default();
        let scan = Scan::new(&mut folder, now, &mut report)?;
        let closed = replay(&folder, &scan, now.clock, |replayed| {
            self.apply(
                now.clock,
                replayed.age,
                replayed.record,
                codecs,
                &mut report,
            )
        })?;
        let writer = Writer::new(
            Box::new(folder),
            sync != Sync::Never,
            segment_bytes,
            now,
            closed,
            scan.next_number,
        );
        let shards = self.inner.shards.len();
        let clock = (self.clock().clone(), self.inner.base, self.inner.limits.ttl);
        let shared = Shared::new(shards, (sync, on_error), clock, path, writer);
        Ok((shared, report))
    }

    fn apply(
        &self,
        now: Nanos,
        age: Nanos,
        record: Record<'_>,
        codecs: &Codecs<K, V>,
        report: &mut RestoreReport,
    ) -> Result<(), String> {
        match record {
            Record::Insert { key, value, .. } => {
                (codecs.with_entry)(key, value, &mut |key, value| {
                    self.restore_entry(now, age, key, value, report);
                })
            }
            Record::Remove { key, .. } => (codecs.with_key)(key, &mut |key| {
                let removed = self.with_key(key, |_, hash, core, hasher| {
                    core.remove_restored(hash, key, hasher)
                });
                report.restored = report.restored.saturating_sub(u64::from(removed));
            }),
            Record::Clear => {
                self.each_shard(|core, _| core.clear_restored())
                    .for_each(drop);
                report.restored = 0;
                Ok(())
            }
            Record::End { .. } | Record::Cached { .. } => Err("an unexpected record".to_owned()),
        }
    }

    /// Returns the report of the replay at `build`, or `None` if the map has no journal.
    #[must_use]
    pub fn replayed(&self) -> Option<&RestoreReport> {
        let attached = self.inner.journal.attached.as_ref()?;
        Some(&attached.replayed)
    }

    /// Writes all records to the journal and synchronises it, whatever its options are. Does
    /// nothing if the map has no journal.
    ///
    /// Call it before a planned `std::process::exit`, which drops nothing. Dropping the last
    /// handle on the map writes everything as well.
    ///
    /// # Errors
    ///
    /// Returns [`PersistError::Io`] if the journal cannot be written.
    pub fn flush(&self) -> Result<(), PersistError> {
        self.inner
            .journal
            .shared()
            .map_or(Ok(()), Shared::flush_and_sync)
    }

    pub(crate) fn has_journal(&self) -> bool {
        self.inner.journal.attached.is_some()
    }
}
