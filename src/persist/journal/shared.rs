//! `Shared`: the buffers of all shards, and the drain that empties them.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::super::PersistError;
use super::super::format::{Anchor, MAX_BLOCK, put_clear};
use super::writer::{Writer, empty_block};
use super::{OnError, Sync};
use crate::clock::{Clock, Nanos, nanos};
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
/// The interval at which records are handed to the operating system with [`Sync::Never`].
const NEVER_SYNCED: Duration = Duration::from_millis(100);
/// The longest time between two searches for expired segments.
const MAINTENANCE: Duration = Duration::from_secs(60);

/// A number of a drain. Zero means that there is nothing to wait for.
pub(crate) type Drain = u64;

/// The records of one shard that no drain has taken.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    records: u64,
    newest: Nanos,
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

/// The state of the background thread.
#[derive(Default)]
struct Wake {
    stopped: bool,
}

pub(crate) struct Shared {
    buffers: Box<[CachePadded<Mutex<Buffer>>]>,
    /// The bytes at which a caller writes the buffers itself.
    max_buffered: usize,
    sync: Sync,
    on_error: OnError,
    clock: Clock,
    /// Added to readings of the clock, as in the map.
    base: Nanos,
    ttl: Nanos,
    state: Mutex<State>,
    drained: Condvar,
    /// Locked by the thread for which `State::running` is set.
    writer: Mutex<Writer>,
    /// The numbers of the last drain that has begun, and of the last that wrote everything, read
    /// without the lock.
    begun: AtomicU64,
    written: AtomicU64,
    /// `true` if the last drain failed.
    failing: AtomicBool,
    /// `true` if a record was buffered since the background thread last drained.
    dirty: AtomicBool,
    wake: Mutex<Wake>,
    woken: Condvar,
    /// `false` if writing began to fail, and `true` if it succeeds again, until it is reported.
    changed: Mutex<Option<bool>>,
    last_error: Mutex<String>,
    path: PathBuf,
    errors: AtomicU64,
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
            wake: Mutex::default(),
            woken: Condvar::new(),
            changed: Mutex::default(),
            last_error: Mutex::default(),
            path,
            errors: AtomicU64::new(0),
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

    /// Buffers a record of an id with this hash, which `put` appends. The caller holds the lock of
    /// the id's shard, so that records of one id are in order.
    #[inline]
    pub(crate) fn append(
        &self,
        hash: u64,
        time: Nanos,
        put: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Buffered {
        let always = self.sync == Sync::Always;
        // With `Always`, every call tries to write, so the disk is probed all the time.
        if !always && self.refuses() {
            return Buffered::Refused;
        }
        let mut buffer = self.buffers[choose(hash, self.buffers.len())].lock();
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
        buffer.newest = buffer.newest.max(time);
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
            // The lock orders this after the thread's check.
            drop(self.wake.lock());
            self.woken.notify_one();
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
        let mut block = empty_block();
        for buffer in &self.buffers {
            let mut buffer = buffer.lock();
            if buffer.records == 0 {
                continue;
            }
            if block.bytes.len() + buffer.bytes.len() > MAX_BLOCK {
                writer.push(std::mem::replace(&mut block, empty_block()));
            }
            block.bytes.append(&mut buffer.bytes);
            block.records += buffer.records;
            block.newest = block.newest.max(buffer.newest);
            buffer.records = 0;
        }
        if block.records > 0 {
            writer.push(block);
        }
        self.write(&mut writer)
    }

    fn write(&self, writer: &mut Writer) -> bool {
        let result = writer.write(self.anchor());
        self.dropped.store(writer.dropped, Ordering::Relaxed);
        let written = self.note(result);
        if written {
            let cutoff = self.now().checked_sub(self.ttl);
            if let Some(cutoff) = cutoff.filter(|_| self.ttl < Nanos::MAX) {
                self.note(writer.delete_until(cutoff));
            }
        }
        self.bytes.store(writer.bytes(), Ordering::Relaxed);
        if self.failing.swap(!written, Ordering::Relaxed) == written {
            *self.changed.lock() = Some(written);
        }
        written
    }

    /// Counts an error. Returns `true` if there is none.
    fn note(&self, result: io::Result<()>) -> bool {
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
    fn report(&self) {
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

    fn now(&self) -> Nanos {
        self.clock.nanos().saturating_add(self.base)
    }

    fn anchor(&self) -> Anchor {
        Anchor {
            clock: self.now(),
            wall: nanos(self.clock.wall()),
        }
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

    /// Deletes segments whose ids have all expired, were evicted or removed.
    /// `oldest` returns the age of the oldest live id.
    pub(crate) fn maintain(&self, oldest: impl FnOnce() -> Option<Duration>) {
        if !self.writer.lock().has_closed() {
            return;
        }
        // Read before the map: an entry that is recorded in between is not in a closed segment.
        let now = self.now();
        let oldest = oldest();
        let oldest = now.saturating_sub(oldest.map_or(0, nanos));
        let Some(cutoff) = oldest.checked_sub(1) else {
            return;
        };
        let mut writer = self.writer.lock();
        self.note(writer.delete_until(cutoff));
        self.bytes.store(writer.bytes(), Ordering::Relaxed);
        drop(writer);
        self.report();
    }

    /// Runs the background thread until it is stopped.
    fn run(&self, map: &Weak<dyn Sweep>, every: Duration) {
        // Real time, as in the sweeper.
        let clock = Clock::coarse();
        let maintenance = MAINTENANCE
            .min(Duration::from_nanos(self.ttl / 16))
            .max(every);
        let mut maintained = clock.now();
        let mut wake = self.wake.lock();
        loop {
            while !wake.stopped && !self.dirty.load(Ordering::Relaxed) {
                let idle = clock.now() - maintained;
                if idle >= maintenance {
                    break;
                }
                self.woken.wait_for(&mut wake, maintenance - idle);
            }
            if wake.stopped {
                return;
            }
            drop(wake);
            // Cleared before the drain: a record that follows wakes the thread again.
            let begun = clock.now();
            if self.dirty.swap(false, Ordering::Relaxed) && !self.flush() {
                self.dirty.store(true, Ordering::Relaxed);
            }
            if begun - maintained >= maintenance {
                maintained = begun;
                if let Some(map) = map.upgrade() {
                    self.maintain(|| map.usage().oldest_entry_age);
                }
            }
            wake = self.wake.lock();
            // A record waits for at most this interval and one synchronisation.
            while !wake.stopped {
                let passed = clock.now() - begun;
                if passed >= every {
                    break;
                }
                self.woken.wait_for(&mut wake, every - passed);
            }
        }
    }
}

/// Owns the background thread, if there is one. Dropping it writes everything.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
            thread: Mutex::default(),
        }
    }

    /// Starts the background thread, which holds the map weakly.
    pub(crate) fn start(&self, map: Weak<dyn Sweep>) -> io::Result<()> {
        let every = match self.shared.sync {
            Sync::Always => return Ok(()),
            Sync::Never => NEVER_SYNCED,
            Sync::Every(every) => every.max(Duration::from_millis(1)),
        };
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("leakproof-journal".into())
            .spawn(move || shared.run(&map, every))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.wake.lock().stopped = true;
        self.shared.woken.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // The thread may hold the last handle on the map, and cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                drop(thread.join());
            }
        }
        self.shared.flush();
    }
}
