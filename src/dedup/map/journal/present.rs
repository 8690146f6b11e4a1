//! The hooks with the feature `persist`: a call buffers a record under the lock of the shard, and
//! waits for the drain after it has released the lock.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::codecs::Codecs;
use crate::clock::Nanos;
use crate::dedup::Key;
use crate::dedup::core::{Core, Outcome};
use crate::dedup::map::DedupMap;
use crate::persist::RestoreReport;
use crate::persist::journal::{Buffered, Drain, Handle, Shared};
use crate::stats::DedupStats;

pub(crate) struct Hook<K: ?Sized, V> {
    pub(super) attached: Option<Attached<K, V>>,
}

pub(super) struct Attached<K: ?Sized, V> {
    pub(super) shared: Arc<Shared>,
    pub(super) codecs: Codecs<K, V>,
    pub(super) replayed: RestoreReport,
}

/// The part of a journal that the handles on a map own: the last one that is dropped closes the
/// journal.
///
/// The state that the handles share has no such part, because a sweeper, a monitor or the journal's
/// thread may hold that state for a moment when the last handle is dropped.
pub(crate) type Owner = Option<Arc<Handle>>;

/// The work that is left for a call after it has released the shard's lock.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pending {
    drain: Drain,
    /// The time of the recorded id.
    time: Nanos,
    /// `true` if another call recorded the id.
    is_duplicate: bool,
}

impl Pending {
    fn until(drain: Drain, time: Nanos) -> Self {
        Self {
            drain,
            time,
            is_duplicate: false,
        }
    }
}

impl<K: ?Sized + Key, V> Hook<K, V> {
    pub(crate) fn none() -> Self {
        Self { attached: None }
    }

    pub(super) fn shared(&self) -> Option<&Shared> {
        self.attached.as_ref().map(|it| &*it.shared)
    }

    /// Buffers the id that a call has just recorded. If the journal refuses it, takes it out of
    /// the map again and turns the outcome into that of a rejected id.
    ///
    /// For a duplicate, returns the drain after which the id is on disk.
    #[inline]
    pub(crate) fn recorded(
        &self,
        (hash, key): (u64, &K),
        outcome: &mut Outcome<()>,
        core: &mut Core<K, V>,
        value: &mut Option<V>,
    ) -> Pending
    where
        V: Clone,
    {
        let Some(attached) = &self.attached else {
            return Pending::default();
        };
        match outcome {
            Outcome::Fresh(()) => {}
            Outcome::Duplicate(_) => return self.found(hash),
            Outcome::InFlight { .. } | Outcome::Full => return Pending::default(),
        }
        match attached.append(hash, key, core.newest_value()) {
            Some(pending) => pending,
            None => {
                *value = core.take_back_newest(hash);
                *outcome = Outcome::Full;
                Pending::default()
            }
        }
    }

    /// Buffers the id that a call has just committed. Its message was handled, so it is never
    /// refused.
    #[inline]
    pub(crate) fn committed(&self, hash: u64, core: &Core<K, V>) -> Pending {
        let attached = self.attached.as_ref();
        let pending = attached.and_then(|attached| {
            let (key, value) = (core.newest_key(), core.newest_value());
            let pending = attached.append(hash, key, value);
            if pending.is_none() {
                attached.shared.count_unsaved();
            }
            pending
        });
        pending.unwrap_or_default()
    }

    /// Buffers the removal of an id by the latest write.
    #[inline]
    pub(crate) fn removed(&self, hash: u64, core: &Core<K, V>, key: &K) -> Pending {
        self.removed_at(hash, core.latest(), key)
    }

    /// Buffers a removal at `time`.
    fn removed_at(&self, hash: u64, time: Nanos, key: &K) -> Pending {
        let Some(attached) = &self.attached else {
            return Pending::default();
        };
        let remove = attached.codecs.remove;
        let shared = &attached.shared;
        match shared.append(hash, None, |out| remove(out, time, key)) {
            Buffered::Wait(drain) => Pending::until(drain, time),
            Buffered::Refused => {
                shared.count_unsaved();
                Pending::default()
            }
        }
    }

    /// Returns the drain after which a duplicate is on disk.
    #[inline]
    pub(crate) fn found(&self, hash: u64) -> Pending {
        let drain = self.shared().map_or(0, |shared| shared.pending(hash));
        Pending {
            drain,
            time: 0,
            is_duplicate: true,
        }
    }

    /// Returns `true` if no new id may be claimed, because the journal cannot be written.
    #[inline]
    pub(crate) fn refuses(&self) -> bool {
        self.shared().is_some_and(Shared::refuses)
    }

    /// Tries to write if the journal refuses ids and no other thread tries.
    #[inline]
    pub(crate) fn probe(&self) {
        if let Some(shared) = self.shared() {
            shared.probe();
        }
    }

    /// Waits until a record is on disk, if the options require it. Returns `false` if it
    /// cannot be written.
    #[inline]
    pub(crate) fn wait(&self, pending: Pending) -> bool {
        let drain = pending.drain;
        drain == 0 || self.shared().is_none_or(|shared| shared.wait(drain))
    }

    fn is_written(&self, pending: Pending) -> bool {
        let drain = pending.drain;
        self.shared().is_none_or(|shared| shared.is_written(drain))
    }

    fn fails_calls(&self) -> bool {
        self.shared().is_some_and(Shared::fails_calls)
    }

    /// Calls `clear` with each shard, and a function that it calls under the shard's lock.
    pub(crate) fn clear(&self, shards: usize, mut clear: impl FnMut(usize, &mut dyn FnMut())) {
        match self.shared() {
            Some(shared) => shared.clear(clear),
            None => (0..shards).for_each(|shard| clear(shard, &mut || ())),
        }
    }

    pub(crate) fn add_to(&self, stats: &mut DedupStats) {
        if let Some(shared) = self.shared() {
            shared.add_to(stats);
        }
    }
}

impl<K: ?Sized + Key, V> Attached<K, V> {
    fn append(&self, hash: u64, key: &K, (value, time): (&V, Nanos)) -> Option<Pending> {
        let insert = self.codecs.insert;
        let shared = &self.shared;
        match shared.append(hash, Some(time), |out| insert(out, time, key, value)) {
            Buffered::Wait(drain) => Some(Pending::until(drain, time)),
            Buffered::Refused => None,
        }
    }
}

impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
    /// Waits until the id that a call recorded or found is on disk, if the options require it.
    /// Returns `false` if the id is refused because it cannot be written.
    ///
    /// A recorded id is taken out of the map then, and its value is put back into `value`.
    #[inline]
    pub(crate) fn settle(&self, key: &K, pending: Pending, value: &mut Option<V>) -> bool
    where
        V: Clone,
    {
        pending.drain == 0 || self.settle_slowly(key, pending, value)
    }

    fn settle_slowly(&self, key: &K, pending: Pending, value: &mut Option<V>) -> bool
    where
        V: Clone,
    {
        let journal = &self.inner.journal;
        let written = journal.wait(pending);
        if !journal.fails_calls() {
            return true;
        }
        if pending.is_duplicate {
            // The call that recorded the id may have taken it out again: then both are refused,
            // because otherwise neither would handle the message.
            let is_written = written && self.contains_key(key);
            if !is_written {
                // The next call may succeed.
                journal.probe();
            }
            return is_written;
        }
        if written {
            return true;
        }
        let taken = self.with_key(key, |_, hash, core, _| {
            // A later drain may have written it, and another call answered with a duplicate.
            // That call looks the id up under this lock as well.
            if journal.is_written(pending) {
                return None;
            }
            let taken = core.take_back(hash, key, pending.time)?;
            // The record may still be written later.
            journal.removed_at(hash, pending.time, key);
            Some(taken)
        });
        let is_refused = taken.is_some();
        *value = taken.or(value.take());
        !is_refused
    }
}
