//! `Shared`: the buffers of all shards, and the drain that empties them.

use std::io;
use std::mem::{replace, take};
use std::path::PathBuf;
use std::sync::{OnceLock, Weak};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::super::PersistError;
use super::super::format::{Anchor, MAX_BLOCK, put_clear};
use super::writer::{Inserts, Writer, empty_block};
use super::{OnError, Sync};
use crate::clock::{Clock, Nanos};
use crate::events;
use crate::hash::choose;
use crate::panic::catch_user_panic;
use crate::stats::DedupStats;
use crate::sweep::Sweep;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

/// All buffers together hold about this many bytes before a caller writes them itself.
const MAX_BUFFERED: usize = 16 << 20;
/// A single buffer may always hold this many.
const MIN_BUFFERED: usize = 64 << 10;

/// A number of a drain. Zero means that there is nothing to wait for.
pub(crate) type Drain = u64;

/// The records of one shard that no drain has taken.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    records: u64,
    inserts: Inserts,
    /// The drain after which all records of this shard are on disk.
    durable_after: Drain,
}

#[derive(Default)]
struct State {
    /// A thread is draining.
    running: bool,
    /// The number of drains that have begun, and ended.
    begun: Drain,
    ended: Drain,
    /// The last drain that wrote everything.
    written: Drain,
}

pub(crate) struct Shared {
    buffers: Box<[CachePadded<Mutex<Buffer>>]>,
    /// The bytes at which a caller writes the buffers itself.
    max_buffered: usize,
    pub(super) sync: Sync,
    on_error: OnError,
    clock: Clock,
    /// Added to readings of the clock, as in the map.
    base: Nanos,
    pub(super) ttl: Nanos,
    state: Mutex<State>,
    drained: Condvar,
    /// Locked by the thread for which `State::running` is set.
    pub(super) writer: Mutex<Writer>,
    /// The numbers of the last drain that has begun, and of the last that wrote everything, read
    /// without the lock.
    begun: AtomicU64,
    written: AtomicU64,
    /// `true` if the last drain failed.
    failing: AtomicBool,
    /// `true` if a record was buffered since the background thread last drained.
    pub(super) dirty: AtomicBool,
    /// `true` if there may be something to compact.
    pub(super) untidy: AtomicBool,
    /// The map, for the compaction.
    pub(super) map: OnceLock<Weak<dyn Sweep>>,
    /// The background thread, if there is one.
    pub(super) thread: OnceLock<Thread>,
    /// `true` if the background thread is to end.
    pub(super) stopped: AtomicBool,
    /// `false` if writing began to fail, and `true` if it succeeds again, until it is reported.
    changed: Mutex<Option<bool>>,
    last_error: Mutex<String>,
    path: PathBuf,
    errors: AtomicU64,
    /// Measures writes, which take real time with every clock.
    real_time: Clock,
    /// The start of the write in progress, or zero.
    write_began: AtomicU64,
    longest_write: AtomicU64,
    /// Records that could not be encoded.
    unsaved: AtomicU64,
    /// The size of all segments.
    bytes: AtomicU64,
    /// Records that were dropped because the disk failed for too long.
    dropped: AtomicU64,
}

/// The result of buffering a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffered {
    /// The caller waits for this drain, or for nothing if it is zero.
    Wait(Drain),
    /// The record is not buffered, and the id must not be remembered.
    Refused,
}

impl Shared {
    pub(crate) fn new(
        shards: usize,
        (sync, on_error): (Sync, OnError),
        (clock, base, ttl): (Clock, Nanos, Nanos),
        path: PathBuf,
        writer: Writer,
    ) -> Self {
        Self {
            buffers: (0..shards).map(|_| CachePadded::default()).collect(),
            max_buffered: (MAX_BUFFERED / shards).max(MIN_BUFFERED),
            sync,
            on_error,
            clock,
            base,
            ttl,
            state: Mutex::default(),
            drained: Condvar::new(),
            begun: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            untidy: AtomicBool::new(false),
            map: OnceLock::new(),
            thread: OnceLock::new(),
            stopped: AtomicBool::new(false),
            changed: Mutex::default(),
            last_error: Mutex::default(),
            path,
            errors: AtomicU64::new(0),
            real_time: Clock::precise(),
            write_began: AtomicU64::new(0),
            longest_write: AtomicU64::new(0),
            unsaved: AtomicU64::new(0),
            bytes: AtomicU64::new(writer.bytes()),
            dropped: AtomicU64::new(0),
            writer: Mutex::new(writer),
        }
    }

    /// Adds the journal's figures to those of the map.
    pub(crate) fn add_to(&self, stats: &mut DedupStats) {
        // Relaxed: the figures guard no other data.
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        stats.journal_bytes = Some(load(&self.bytes));
        let began = load(&self.write_began);
        let in_progress = match began {
            0 => 0,
            began => self.real_time.nanos().saturating_sub(began),
        };
        let longest = load(&self.longest_write).max(in_progress);
        stats.journal_longest_write = Some(Duration::from_nanos(longest));
        stats.journal_errors = load(&self.errors);
        stats.unsaved = load(&self.unsaved) + load(&self.dropped);
    }

    pub(crate) fn count_unsaved(&self) {
        self.unsaved.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns `true` if a call fails whose record cannot be written.
    pub(crate) fn fails_calls(&self) -> bool {
        self.on_error == OnError::Refuse
    }

    /// Returns `true` if new ids are refused at present.
    #[inline]
    pub(crate) fn refuses(&self) -> bool {
        self.fails_calls() && self.failing.load(Ordering::Relaxed)
    }

    /// Tries to write if new ids are refused and no background thread tries.
    pub(crate) fn probe(&self) {
        if self.sync == Sync::Always && self.refuses() {
            self.flush();
        }
    }

    /// Buffers a record of an id with this hash, which `put` appends. `inserted` is the time of an
    /// insert record. The caller holds the lock of the id's shard, so that records of one id are in
    /// order.
    #[inline]
    pub(crate) fn append(
        &self,
        hash: u64,
        inserted: Option<Nanos>,
        put: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Buffered {
        let always = self.sync == Sync::Always;
        // With `Always`, every call tries to write, so the disk is probed all the time.
        if !always && self.refuses() {
            return Buffered::Refused;
        }
        let mut buffer = self.buffers[choose(hash, self.buffers.len())].lock();
        let before = buffer.bytes.len();
        if put(&mut buffer.bytes).is_err() {
            drop(buffer);
            self.count_error();
            if self.fails_calls() {
                return Buffered::Refused;
            }
            self.count_unsaved();
            return Buffered::Wait(0);
        }
        buffer.records += 1;
        if let Some(time) = inserted {
            let bytes = buffer.bytes.len() - before;
            buffer.inserts.add(time, bytes);
        }
        // A drain that has begun may have taken this buffer already. The next one takes it. It
        // counts itself before it locks the first buffer, so either the count that is read here is
        // up to date, or the drain finds the record.
        let next = self.begun.load(Ordering::Relaxed) + 1;
        buffer.durable_after = next;
        let is_full = buffer.bytes.len() >= self.max_buffered;
        drop(buffer);
        if always || is_full {
            return Buffered::Wait(next);
        }
        if !self.dirty.load(Ordering::Relaxed) && !self.dirty.swap(true, Ordering::Relaxed) {
            self.wake();
        }
        Buffered::Wait(0)
    }

    /// Returns the drain after which the records of this id's shard are on disk, if the caller has
    /// to wait for it. A duplicate must not be acknowledged before the first delivery is on disk:
    /// after a crash, neither would be handled.
    pub(crate) fn pending(&self, hash: u64) -> Drain {
        if self.sync != Sync::Always {
            return 0;
        }
        let buffer = self.buffers[choose(hash, self.buffers.len())].lock();
        let after = buffer.durable_after;
        drop(buffer);
        if self.is_written(after) { 0 } else { after }
    }

    /// Returns `true` if all records are on disk that the drain of this number was to write.
    pub(crate) fn is_written(&self, drain: Drain) -> bool {
        // Acquire: see `finish`.
        self.written.load(Ordering::Acquire) >= drain
    }

    /// Waits until a drain has ended, and runs it if no other thread does. Returns `true` if all
    /// records up to there are written.
    pub(crate) fn wait(&self, drain: Drain) -> bool {
        if drain == 0 {
            return true;
        }
        let mut state = self.state.lock();
        loop {
            if state.ended >= drain {
                return state.written >= drain;
            }
            if state.running {
                self.drained.wait(&mut state);
                continue;
            }
            self.begin(&mut state);
            drop(state);
            let written = self.drain();
            self.finish(written);
            self.compact_piece();
            self.report();
            state = self.state.lock();
        }
    }

    fn begin(&self, state: &mut State) {
        state.running = true;
        state.begun += 1;
        // Relaxed: the locks of the buffers order it. See `append`.
        self.begun.store(state.begun, Ordering::Relaxed);
    }

    fn finish(&self, written: bool) {
        let mut state = self.state.lock();
        state.running = false;
        state.ended = state.begun;
        if written {
            state.written = state.begun;
            // Release: a caller that reads it may answer without the lock.
            self.written.store(state.written, Ordering::Release);
        }
        self.drained.notify_all();
    }

    /// Writes everything that was buffered before the call. Returns `true` if it is written.
    pub(crate) fn flush(&self) -> bool {
        let next = self.state.lock().begun + 1;
        self.wait(next)
    }

    /// Like [`flush`](Self::flush), and synchronises the file whatever the option says.
    pub(crate) fn flush_and_sync(&self) -> Result<(), PersistError> {
        let mut written = self.flush();
        if written && self.sync == Sync::Never {
            let synced = self.writer.lock().sync();
            written = self.note(synced);
            self.report();
        }
        if written {
            return Ok(());
        }
        let source = io::Error::other(self.last_error.lock().clone());
        Err(PersistError::io(&self.path, source))
    }

    /// Takes all buffers and writes them. Only one thread at a time calls it.
    fn drain(&self) -> bool {
        let mut writer = self.writer.lock();
        let mut block = writer.new_block();
        for buffer in &self.buffers {
            let mut buffer = buffer.lock();
            if buffer.records == 0 {
                continue;
            }
            if block.bytes.len() + buffer.bytes.len() > MAX_BLOCK {
                writer.push(replace(&mut block, empty_block()));
            }
            block.bytes.append(&mut buffer.bytes);
            block.records += take(&mut buffer.records);
            block.inserts.merge(take(&mut buffer.inserts));
        }
        if block.records > 0 {
            writer.push(block);
        }
        self.write(&mut writer)
    }

    fn write(&self, writer: &mut Writer) -> bool {
        let began = self.real_time.nanos().max(1);
        self.write_began.store(began, Ordering::Relaxed);
        let result = writer.write(self.anchor());
        let took = self.real_time.nanos().saturating_sub(began);
        self.write_began.store(0, Ordering::Relaxed);
        self.longest_write.fetch_max(took, Ordering::Relaxed);
        self.dropped.store(writer.dropped, Ordering::Relaxed);
        let written = self.note(result);
        if written {
            let cutoff = self.now().checked_sub(self.ttl);
            if let Some(cutoff) = cutoff.filter(|_| self.ttl < Nanos::MAX) {
                self.note(writer.delete_until(cutoff));
            }
        }
        self.store_figures(writer);
        if self.failing.swap(!written, Ordering::Relaxed) == written {
            *self.changed.lock() = Some(written);
        }
        written
    }

    pub(super) fn store_figures(&self, writer: &Writer) {
        self.bytes.store(writer.bytes(), Ordering::Relaxed);
        self.untidy.store(writer.is_untidy(), Ordering::Relaxed);
    }

    /// Counts an error. Returns `true` if there is none.
    pub(super) fn note(&self, result: io::Result<()>) -> bool {
        if let Err(error) = &result {
            self.count_error();
            *self.last_error.lock() = error.to_string();
        }
        result.is_ok()
    }

    fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Emits an event if writing began to fail or to succeed. The caller holds no lock.
    pub(super) fn report(&self) {
        let Some(written) = self.changed.lock().take() else {
            return;
        };
        let path = self.path.display();
        let error = self.last_error.lock().clone();
        catch_user_panic(|| {
            if written {
                events::journal_recovered(&path);
            } else {
                events::journal_failed(&path, &error);
            }
        });
    }

    pub(super) fn now(&self) -> Nanos {
        self.clock.nanos().saturating_add(self.base)
    }

    fn anchor(&self) -> Anchor {
        Anchor::now(&self.clock, self.base)
    }

    /// Removes everything. `clear` clears the map's shard of a number, whose buffer is emptied
    /// under the lock that `clear` holds.
    pub(crate) fn clear(&self, mut clear: impl FnMut(usize, &mut dyn FnMut())) {
        let mut state = self.state.lock();
        while state.running {
            self.drained.wait(&mut state);
        }
        self.begin(&mut state);
        drop(state);
        let mut writer = self.writer.lock();
        for (shard, buffer) in self.buffers.iter().enumerate() {
            clear(shard, &mut || {
                let mut buffer = buffer.lock();
                buffer.bytes.clear();
                buffer.records = 0;
                buffer.inserts = Inserts::default();
            });
        }
        writer.drop_pending();
        let mut block = empty_block();
        put_clear(&mut block.bytes);
        block.records = 1;
        writer.push(block);
        let written = self.write(&mut writer);
        if written {
            self.note(writer.delete_until(Nanos::MAX));
        }
        drop(writer);
        self.finish(written);
        self.report();
    }
}
