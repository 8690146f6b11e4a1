//! The hooks of a map's journal. Without the feature `persist`, they compile to nothing.

#[cfg(not(feature = "persist"))]
pub(crate) use absent::{Hook, Pending};
#[cfg(feature = "persist")]
pub(crate) use present::{Attachment, Hook, Pending};

#[cfg(not(feature = "persist"))]
mod absent {
    use std::hash::BuildHasher;
    use std::marker::PhantomData;
    use std::time::Duration;

    use crate::clock::Nanos;
    use crate::dedup::core::{Core, Outcome};
    use crate::dedup::map::DedupMap;
    use crate::key::Key;
    use crate::stats::DedupStats;

    pub(crate) struct Hook<K: ?Sized, V>(PhantomData<fn(&K) -> V>);

    #[derive(Clone, Copy, Default)]
    pub(crate) struct Pending;

    impl<K: ?Sized + Key, V> Hook<K, V> {
        pub(crate) fn none() -> Self {
            Self(PhantomData)
        }

        #[inline]
        pub(crate) fn recorded(
            &self,
            _: u64,
            _: &mut Outcome<()>,
            _: &mut Core<K, V>,
            _: &mut Option<V>,
            _: &impl BuildHasher,
        ) -> Pending
        where
            V: Clone,
        {
            Pending
        }

        #[inline]
        pub(crate) fn committed(&self, _: u64, _: &Core<K, V>) -> Pending {
            Pending
        }

        #[inline]
        pub(crate) fn removed(&self, _: u64, _: Nanos, _: &K) -> Pending {
            Pending
        }

        #[inline]
        pub(crate) fn found(&self, _: u64) -> Pending {
            Pending
        }

        #[inline]
        pub(crate) fn refuses(&self) -> bool {
            false
        }

        #[inline]
        pub(crate) fn probe(&self) {}

        #[inline]
        pub(crate) fn wait(&self, _: Pending) -> bool {
            true
        }

        pub(crate) fn clear(&self, shards: usize, mut clear: impl FnMut(usize, &mut dyn FnMut())) {
            (0..shards).for_each(|shard| clear(shard, &mut || ()));
        }

        pub(crate) fn maintain(&self, _: impl FnOnce() -> Option<Duration>) {}

        pub(crate) fn add_to(&self, _: &mut DedupStats) {}
    }

    impl<K: ?Sized + Key, V, S: BuildHasher> DedupMap<K, V, S> {
        #[inline]
        pub(crate) fn settle(&self, _: &K, _: Pending, _: &mut Option<V>) -> bool
        where
            V: Clone,
        {
            true
        }
    }
}

#[cfg(feature = "persist")]
mod present {
    use std::any::Any;
    use std::borrow::Borrow;
    use std::fmt;
    use std::hash::BuildHasher;
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::clock::Nanos;
    use crate::dedup::core::{Core, Outcome};
    use crate::dedup::map::DedupMap;
    use crate::events;
    use crate::key::Key;
    use crate::limits::BuildError;
    use crate::panic::catch_user_panic;
    use crate::persist::format::{Record, put_insert, put_remove};
    use crate::persist::journal::{Buffered, Drain, Handle, Scan, Shared, Sync, Writer, replay};
    use crate::persist::{Codec, Journal, PersistError, RestoreReport};
    use crate::stats::DedupStats;
    use crate::sweep::Watch;

    /// A journal, and the codecs of the map that it is for.
    pub(crate) struct Attachment {
        journal: Journal,
        /// `Codecs<K, V>`. The builder's setter has the bounds that `Codecs` needs, and `build` has
        /// not.
        codecs: Box<dyn Any + Send + std::marker::Sync>,
    }

    /// The functions of the codecs of a map's keys and values.
    struct Codecs<K: ?Sized, V> {
        insert: fn(&mut Vec<u8>, Nanos, &K, &V) -> io::Result<()>,
        remove: fn(&mut Vec<u8>, Nanos, &K) -> io::Result<()>,
        with_entry: WithEntry<K, V>,
        with_key: WithKey<K>,
    }

    /// Decodes a key and a value. The error is the reason for which that is impossible.
    type WithEntry<K, V> = fn(&[u8], &[u8], &mut dyn FnMut(&K, V)) -> Result<(), String>;
    type WithKey<K> = fn(&[u8], &mut dyn FnMut(&K)) -> Result<(), String>;

    impl<K: ?Sized, V> Clone for Codecs<K, V> {
        fn clone(&self) -> Self {
            *self
        }
    }

    impl<K: ?Sized, V> Copy for Codecs<K, V> {}

    impl Attachment {
        pub(crate) fn new<K, V>(journal: Journal) -> Self
        where
            K: ?Sized + Key + Codec + 'static,
            V: Codec<Owned = V> + 'static,
        {
            let codecs: Codecs<K, V> = Codecs {
                insert: |out, time, key, value| {
                    put_insert(out, time, |out| key.encode(out), |out| value.encode(out))
                },
                remove: |out, time, key| put_remove(out, time, |out| key.encode(out)),
                with_entry: |key, value, visit| {
                    let key = decode::<K>("key", key)?;
                    visit(key.borrow(), decode::<V>("value", value)?);
                    Ok(())
                },
                with_key: |key, visit| {
                    visit(decode::<K>("key", key)?.borrow());
                    Ok(())
                },
            };
            Self {
                journal,
                codecs: Box::new(codecs),
            }
        }
    }

    fn decode<T: ?Sized + Codec>(what: &str, bytes: &[u8]) -> Result<T::Owned, String> {
        T::decode(bytes).map_err(|error| format!("a {what} cannot be decoded: {error}"))
    }

    impl fmt::Debug for Attachment {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.journal.fmt(f)
        }
    }

    pub(crate) struct Hook<K: ?Sized, V> {
        attached: Option<Attached<K, V>>,
    }

    struct Attached<K: ?Sized, V> {
        handle: Handle,
        codecs: Codecs<K, V>,
        replayed: RestoreReport,
    }

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

        fn shared(&self) -> Option<&Shared> {
            self.attached.as_ref().map(|it| &*it.handle.shared)
        }

        /// Buffers the id that a call has just recorded. If the journal refuses it, takes it out of
        /// the map again and turns the outcome into that of a rejected id.
        ///
        /// For a duplicate, returns the drain after which the id is on disk.
        #[inline]
        pub(crate) fn recorded(
            &self,
            hash: u64,
            outcome: &mut Outcome<()>,
            core: &mut Core<K, V>,
            value: &mut Option<V>,
            hasher: &impl BuildHasher,
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
            match attached.append_newest(hash, core) {
                Some(pending) => pending,
                None => {
                    *value = core.take_back_newest(hash, hasher);
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
                let pending = attached.append_newest(hash, core);
                if pending.is_none() {
                    attached.handle.shared.count_unsaved();
                }
                pending
            });
            pending.unwrap_or_default()
        }

        /// Buffers a removal at `time`.
        #[inline]
        pub(crate) fn removed(&self, hash: u64, time: Nanos, key: &K) -> Pending {
            let Some(attached) = &self.attached else {
                return Pending::default();
            };
            let remove = attached.codecs.remove;
            let shared = &attached.handle.shared;
            match shared.append(hash, time, |out| remove(out, time, key)) {
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

        /// Deletes segments without live ids. `oldest` returns the age of the oldest live id.
        pub(crate) fn maintain(&self, oldest: impl FnOnce() -> Option<Duration>) {
            if let Some(shared) = self.shared() {
                shared.maintain(oldest);
            }
        }

        pub(crate) fn add_to(&self, stats: &mut DedupStats) {
            if let Some(shared) = self.shared() {
                shared.add_to(stats);
            }
        }
    }

    impl<K: ?Sized + Key, V> Attached<K, V> {
        fn append_newest(&self, hash: u64, core: &Core<K, V>) -> Option<Pending> {
            let (key, value, time) = core.newest_entry();
            let insert = self.codecs.insert;
            let shared = &self.handle.shared;
            match shared.append(hash, time, |out| insert(out, time, key, value)) {
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
            let taken = self.with_key(key, |_, hash, core, hasher| {
                // A later drain may have written it, and another call answered with a duplicate.
                // That call looks the id up under this lock as well.
                if journal.is_written(pending) {
                    return None;
                }
                let taken = core.take_back(hash, key, pending.time, hasher)?;
                // The record may still be written later.
                journal.removed(hash, pending.time, key);
                Some(taken)
            });
            let is_refused = taken.is_some();
            *value = taken.or(value.take());
            !is_refused
        }

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
            let attached = Attached {
                handle: Handle::new(shared),
                codecs: *codecs,
                replayed,
            };
            let inner = Arc::get_mut(&mut self.inner).expect("the map is new");
            inner.journal = Hook {
                attached: Some(attached),
            };
            let weak = self.downgrade_to_sweep();
            if let Some(attached) = &self.inner.journal.attached {
                let started = attached.handle.start(weak);
                started.map_err(|error| failed(error.into()))?;
            }
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
                Record::End { .. } | Record::Cached { .. } => {
                    Err("an unexpected record".to_owned())
                }
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
}
