//! `Journal`: the log of a dedup map on disk, which survives a crash.
//!
//! # Design
//!
//! Ids expire in the order in which they were recorded, so the log is a sequence of segment files.
//! Records are appended to the newest segment, and a segment is deleted as a whole when its last id
//! has expired. Two designs were considered for the way from a call to the file:
//!
//! * *A queue for all shards*, filled after the shard is unlocked. It needs a sequence number per
//!   record, taken under the shard's lock, and a sort, because an insert and a removal of one id
//!   may reach the queue in the wrong order.
//! * *A buffer per shard* (in use), filled while the shard is locked. So the records of one id are
//!   in order, because an id always belongs to the same shard. The cost under the lock is the copy
//!   of some 60 bytes. All input and output happens without a shard's lock.
//!
//! A *drain* takes the buffers of all shards, writes them as one block, and synchronises the file.
//! One thread at a time drains: the background thread, or with [`Sync::Always`] the first caller
//! that waits. All callers that wait during a drain are served by the next one, so concurrent
//! callers share one synchronisation.
//!
//! # The crash protocol
//!
//! | step | after a crash before the next step |
//! | --- | --- |
//! | record in the map and in the shard's buffer | the id is new: the caller had no answer yet |
//! | block appended to the segment | a torn block is cut off, a whole one counts |
//! | segment synchronised, then the caller returns | the id is a duplicate |
//!
//! A new segment is synchronised with its header, and the directory with its name, before a block
//! is appended to it. A segment is synchronised before the next one is created. So only the last
//! segment can end in a torn block, and damage elsewhere is an error.
//!
//! If a write or a synchronisation fails, the block stays in memory, the segment is cut back to the
//! last block that is known to be on disk, and the block is written again. A synchronisation is
//! never just repeated, because after a failure the system may report success although it has
//! dropped the data.
//!
//! # Times
//!
//! Records have times of the monotonic clock of the process that wrote them. Each block has a
//! reading of both clocks. So ages within one process are exact, whatever the wall clock does, and
//! the wall clock only bridges the time between two processes: see `replay`.

mod background;
mod compact;
mod disk;
mod replay;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use background::Handle;
use disk::Folder;
pub(crate) use replay::{Scan, replay};
pub(crate) use shared::{Buffered, Drain, Shared};
pub(crate) use writer::Writer;

use super::PersistError;

/// The smallest size of segments.
const MIN_SEGMENT: u64 = 4 << 10;

/// The time at which records are synchronised with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sync {
    /// Records are handed to the operating system every 100 ms, which writes them when it likes.
    /// A crash of the process loses ids of the last 100 ms, and a crash of the machine those of
    /// about half a minute.
    Never,
    /// Records are written and synchronised at this interval, by a background thread. A crash
    /// loses the ids that were recorded since: those of this interval and one synchronisation.
    Every(Duration),
    /// A call that records or removes an id returns when the record is on disk. A crash loses no
    /// id. A call takes as long as the disk needs, about 1 ms, and concurrent calls share one
    /// synchronisation. So does a call that finds a duplicate that is not on disk yet.
    Always,
}

/// The reaction to a journal that cannot be written, because the disk is full or broken.
///
/// In both cases the failed write is repeated, [`DedupStats`](crate::DedupStats) counts it
/// (`journal_errors`), and an [event](crate::events) reports the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// Goes on in memory. If the process crashes before a later write succeeds, the ids since are
    /// new after the restart. Suits services for which availability comes first.
    #[default]
    Continue,
    /// Refuses new ids until a write succeeds: `record` returns
    /// [`Recorded::Rejected`](crate::Recorded::Rejected), and `claim` returns
    /// [`Claim::Full`](crate::Claim::Full). The id is not remembered, so that its redelivery is
    /// new. `DedupSet::insert` has no other answer than `true`, as for every id that is new but
    /// not stored, so use `DedupSet::record`. A `commit` succeeds, because its message was handled.
    Refuse,
}

/// The directory in which a dedup map keeps its ids, for
/// [`DedupBuilder::journal`](crate::DedupBuilder::journal).
///
/// ```
/// use leakproof::DedupSet;
/// use leakproof::persist::{Journal, Sync};
/// use std::time::Duration;
///
/// # let folder = std::env::temp_dir().join(format!("leakproof-journal-{}", std::process::id()));
/// let start = || {
///     let journal = Journal::open(&folder)?.sync(Sync::Every(Duration::from_millis(100)));
///     let builder = DedupSet::<str>::builder().max_entries(1_000_000).ttl(Duration::from_secs(86_400));
///     Ok::<_, Box<dyn std::error::Error>>(builder.journal(journal).build()?)
/// };
/// let seen = start()?;
/// assert!(seen.insert("3EB0C767D26A"));
/// drop(seen); // or a crash, 100 ms later
///
/// let seen = start()?;
/// assert!(!seen.insert("3EB0C767D26A"));
/// println!("{}", seen.replayed().unwrap());
/// # drop(seen);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a journal does nothing until it is passed to a builder"]
pub struct Journal {
    pub(crate) folder: Folder,
    pub(crate) sync: Sync,
    pub(crate) on_error: OnError,
    pub(crate) segment_bytes: u64,
}

impl Journal {
    /// Opens the directory, creates it if necessary, and locks it for this journal.
    ///
    /// The lock ends with the process, so nothing is to be cleaned up after a crash. The builder's
    /// `build` reads the contents.
    ///
    /// # Errors
    ///
    /// Returns [`PersistError::InUse`] if another process or another journal uses the directory,
    /// and [`PersistError::Io`] if it cannot be created.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PersistError> {
        Ok(Self {
            folder: Folder::open(path.as_ref())?,
            sync: Sync::Every(Duration::from_millis(100)),
            on_error: OnError::default(),
            segment_bytes: 16 << 20,
        })
    }

    /// Sets the time at which records are synchronised with the disk. Defaults to every 100 ms.
    pub fn sync(mut self, sync: Sync) -> Self {
        self.sync = sync;
        self
    }

    /// Sets the reaction to a disk that is full or broken. Defaults to [`OnError::Continue`].
    pub fn on_error(mut self, reaction: OnError) -> Self {
        self.on_error = reaction;
        self
    }

    /// Sets the size at which a segment file is complete, at least 4 KiB. Defaults to 16 MiB.
    ///
    /// A segment is deleted when all of its ids have expired. The journal takes at most twice the
    /// bytes of its live ids, and two segments. The builder's `build` reads one segment at a time
    /// into memory.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes.max(MIN_SEGMENT);
        self
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("path", &PathBuf::from(self.path()))
            .field("sync", &self.sync)
            .field("on_error", &self.on_error)
            .field("segment_bytes", &self.segment_bytes)
            .finish()
    }
}
