//! `Checked`: a log and a reference that must agree with it.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use crate::dedup::log::block::{BLOCK, Block};
use crate::dedup::log::columns::{ByteArena, KeyColumn};
use crate::dedup::log::index::Layout;
use crate::dedup::log::{DeferredDrops, Log, MOVED, Seq};

pub(super) const TTL: u64 = 1_000_000;

/// A hasher with a limited number of different hashes.
pub(super) struct Few {
    hasher: ahash::RandomState,
    pub(super) different: u64,
}

impl BuildHasher for Few {
    type Hasher = FewHasher;

    fn build_hasher(&self) -> FewHasher {
        FewHasher {
            hasher: self.hasher.build_hasher(),
            different: self.different,
        }
    }
}

pub(super) struct FewHasher {
    hasher: ahash::AHasher,
    different: u64,
}

impl Hasher for FewHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.hasher.finish() % self.different
    }
}

/// A log and a reference: the ids in order of arrival, with the time of each.
pub(super) struct Checked {
    pub(super) log: Log<str, u64>,
    pub(super) reference: VecDeque<(String, u64)>,
    pub(super) hasher: Few,
    drops: DeferredDrops<str, u64>,
    pub(super) now: u64,
}

impl Checked {
    pub(super) fn starting_at(start: u32) -> Self {
        let hasher = Few {
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
            different: u64::MAX,
        };
        Self {
            log: Log::starting_at(start, TTL, 1 << 20),
            reference: VecDeque::new(),
            hasher,
            drops: DeferredDrops::default(),
            now: 0,
        }
    }

    pub(super) fn hash(&self, id: &str) -> u64 {
        <ByteArena as KeyColumn<str>>::hash(&self.hasher, id)
    }

    /// Returns a log of every fourth of `count` ids. The others were removed, the newest first.
    pub(super) fn with_every_fourth_of(count: usize) -> Self {
        let mut checked = Self::starting_at(0);
        checked.push_ids(0..count);
        let removed = (0..count).rev().filter(|at| at % 4 > 0);
        removed.for_each(|at| checked.take(at));
        checked
    }

    pub(super) fn push(&mut self, id: &str) {
        self.log.expire(self.now + 1);
        self.log.maintain(&self.hasher, &mut self.drops);
        assert_eq!(self.log.find(self.hash(id), id), None, "a new id");
        self.push_only(id);
        self.drops = DeferredDrops::default();
        self.expire_reference();
    }

    /// Pushes an id for each of these numbers.
    pub(super) fn push_ids(&mut self, ids: impl IntoIterator<Item = usize>) {
        ids.into_iter().for_each(|id| self.push(&id.to_string()));
    }

    /// Pushes an id without any maintenance, which would move entries of a resize.
    pub(super) fn push_only(&mut self, id: &str) {
        let hash = self.hash(id);
        self.now += 1;
        self.log.push(self.now, hash, id, &mut Some(self.now));
        self.reference.push_back((id.to_owned(), self.now));
    }

    /// Removes an id after maintenance.
    pub(super) fn remove(&mut self, at: usize) {
        self.log.maintain(&self.hasher, &mut self.drops);
        if self.reference[at].1 % 2 == 0 {
            self.remove_only(at);
        } else {
            self.take(at);
        }
        self.drops = DeferredDrops::default();
    }

    pub(super) fn remove_only(&mut self, at: usize) {
        let (_, hash, seq) = self.forget(at);
        self.log.remove(hash, seq, &self.hasher, &mut self.drops);
    }

    /// Removes an id and compacts nothing.
    pub(super) fn take(&mut self, at: usize) {
        let (time, hash, seq) = self.forget(at);
        assert_eq!(self.log.take(hash, seq, &mut self.drops), Some(time));
    }

    /// Removes an id from the reference, and returns its time, its hash and its number.
    fn forget(&mut self, at: usize) -> (u64, u64, Seq) {
        let (id, time) = self.reference.remove(at).expect("the index is valid");
        let hash = self.hash(&id);
        let seq = self.log.find(hash, &id).expect("the id is present");
        assert_eq!(
            (self.log.key(seq), *self.log.value(seq)),
            (id.as_str(), time)
        );
        (time, hash, seq)
    }

    /// Moves entries until the resize that is in progress ends.
    pub(super) fn finish_resize(&mut self) {
        while self.log.index.mark().is_some() {
            self.log.resize(MOVED, &self.hasher);
        }
    }

    /// Takes one step of compaction. Returns `true` if another slot is filled afterwards.
    pub(super) fn compact_once(&mut self) -> bool {
        let target = |log: &Log<str, u64>| log.ring.compaction.map(|it| it.target);
        let before = target(&self.log);
        self.log.compact(1, &self.hasher);
        target(&self.log) != before
    }

    pub(super) fn advance(&mut self, by: u64) {
        self.now += by;
        self.log.expire(self.now);
        self.expire_reference();
    }

    pub(super) fn evict(&mut self) {
        if let Some((_, time)) = self.reference.pop_front() {
            assert_eq!(self.log.evict(), time);
        }
    }

    pub(super) fn evict_bytes(&mut self, bytes: u64) {
        let bytes = bytes.min(self.log.bytes());
        let (mut left, mut count, mut newest) = (bytes, 0, 0);
        while left > 0 {
            let (id, time) = self.reference.pop_front().expect("there are enough bytes");
            left = left.saturating_sub(id.len() as u64);
            (count, newest) = (count + 1, time);
        }
        if bytes > 0 {
            assert_eq!(self.log.evict_bytes(bytes), (count, newest));
        }
    }

    /// Sweeps until nothing is left to do, and returns the number of freed entries. Checks that
    /// only the last slot may have many holes.
    pub(super) fn sweep(&mut self) -> usize {
        let mut freed = 0;
        for _ in 0..10_000 {
            let (some, more) = self.sweep_some(64);
            freed += some;
            if !more {
                let ring = &self.log.ring;
                let last = ring.last_block().map_or(0, Block::holes);
                assert!(ring.holes - last <= ring.live / 32 + BLOCK / 4);
                return freed;
            }
        }
        panic!("the sweep does not end");
    }

    pub(super) fn sweep_some(&mut self, budget: usize) -> (usize, bool) {
        let swept = self.log.sweep(budget, &self.hasher, &mut self.drops);
        self.drops = DeferredDrops::default();
        swept
    }

    pub(super) fn relayout(&mut self, bits: u32) {
        let Log { ring, index, .. } = &mut self.log;
        if index.mark().is_none() && ring.len() > 0 {
            index.resize(ring.len(), ring.live_range(), Layout::of_span(1 << bits));
        }
        self.log.due = 0;
    }

    fn expire_reference(&mut self) {
        while self
            .reference
            .front()
            .is_some_and(|entry| self.now - entry.1 >= TTL)
        {
            self.reference.pop_front();
        }
    }

    pub(super) fn check(&self) {
        self.log.validate(&self.hasher);
        let mut next = self.log.next(None);
        for (id, time) in &self.reference {
            let seq = next.expect("an entry is left");
            assert_eq!(
                (self.log.key(seq), self.log.value(seq)),
                (id.as_str(), time)
            );
            next = self.log.next(Some(seq.wrapping_add(1)));
        }
        assert_eq!(next, None);
        self.check_later_times();
    }

    /// Checks the order of the entries from the newest to the oldest.
    pub(super) fn check_backwards(&self) {
        let ring = &self.log.ring;
        let mut before = ring.tail();
        for (id, _) in self.reference.iter().rev() {
            before = ring.previous(before).expect("an older entry is left");
            assert_eq!(self.log.key(before), id);
        }
        assert_eq!(ring.previous(before), None);
    }

    /// Checks what will be live at later times, at which some of the entries have expired.
    fn check_later_times(&self) {
        let len = self.reference.len();
        for (_, last) in (0..len).step_by(len / 8 + 1).map(|at| &self.reference[at]) {
            let then = last + TTL;
            let live = self
                .reference
                .range(self.reference.partition_point(|entry| entry.1 <= *last)..);
            let bytes = live.clone().map(|entry| entry.0.len() as u64).sum();
            let oldest = live.clone().next().map(|entry| then - entry.1);
            assert_eq!(
                self.log.live_at(then),
                (live.len(), bytes, oldest),
                "when what arrived at {last} expires"
            );
        }
    }
}
