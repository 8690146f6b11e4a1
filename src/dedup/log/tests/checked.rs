//! `Checked`: a window with a reference beside it.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use crate::dedup::log::group::Grouping;
use crate::dedup::log::store::{Heap, Store};
use crate::dedup::log::{Trash, Window};

pub(super) const TTL: u64 = 1_000_000;

/// Hashes of which there are only so many different ones.
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

/// A window with a reference beside it: ids in order of arrival, with the time of each.
pub(super) struct Checked {
    pub(super) window: Window<str, u64>,
    pub(super) reference: VecDeque<(String, u64)>,
    pub(super) hasher: Few,
    pub(super) trash: Trash<str, u64>,
    pub(super) now: u64,
}

impl Checked {
    pub(super) fn starting_at(start: u32) -> Self {
        let hasher = Few {
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
            different: u64::MAX,
        };
        let window = Window::starting_at(start, TTL, 1 << 20);
        Self {
            window,
            reference: VecDeque::new(),
            hasher,
            trash: Trash::default(),
            now: 0,
        }
    }

    fn hash(&self, id: &str) -> u64 {
        <Heap as Store<str>>::hash(&self.hasher, id)
    }

    pub(super) fn push(&mut self, id: &str) {
        let hash = self.hash(id);
        let Self {
            window,
            hasher,
            trash,
            ..
        } = self;
        self.now += 1;
        window.expire(self.now);
        window.maintain(hasher, trash);
        assert_eq!(window.find(hash, id), None, "a new id");
        window.push(self.now, hash, id, &mut Some(self.now));
        self.reference.push_back((id.to_owned(), self.now));
        self.expire_reference();
    }

    pub(super) fn remove(&mut self, at: usize) {
        let (id, time) = self.reference.remove(at).expect("it is there");
        let hash = self.hash(&id);
        let Self {
            window,
            hasher,
            trash,
            ..
        } = self;
        window.maintain(hasher, trash);
        let seq = window.find(hash, &id).expect("it is known");
        assert_eq!((window.key(seq), *window.value(seq)), (id.as_str(), time));
        window.remove(hash, seq, hasher, trash);
    }

    pub(super) fn advance(&mut self, by: u64) {
        self.now += by;
        self.window.expire(self.now);
        self.expire_reference();
    }

    pub(super) fn evict(&mut self) {
        if let Some((_, time)) = self.reference.pop_front() {
            assert_eq!(self.window.evict(), time);
        }
    }

    pub(super) fn evict_bytes(&mut self, bytes: u64) {
        let bytes = bytes.min(self.window.bytes());
        let (mut left, mut count, mut youngest) = (bytes, 0, 0);
        while left > 0 {
            let (id, time) = self.reference.pop_front().expect("there are as many bytes");
            left = left.saturating_sub(id.len() as u64);
            (count, youngest) = (count + 1, time);
        }
        if bytes > 0 {
            assert_eq!(self.window.evict_bytes(bytes), (count, youngest));
        }
    }

    pub(super) fn regroup(&mut self, bits: u32) {
        let Window { ring, index, .. } = &mut self.window;
        if index.mark().is_none() && ring.len() > 0 {
            index.resize(ring.len(), ring.live(), Grouping::of_span(1 << (bits + 13)));
        }
        self.window.due = 0;
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
        self.window.validate(&self.hasher);
        let mut next = self.window.next(None);
        for (id, time) in &self.reference {
            let seq = next.expect("an entry is left");
            assert_eq!(
                (self.window.key(seq), self.window.value(seq)),
                (id.as_str(), time)
            );
            next = self.window.next(Some(seq.wrapping_add(1)));
        }
        assert_eq!(next, None);
        self.check_what_expires_later();
    }

    /// Asks what will be live when some of the entries, up to each eighth of them, have expired.
    fn check_what_expires_later(&self) {
        let len = self.reference.len();
        for (_, last) in (0..len).step_by(len / 8 + 1).map(|at| &self.reference[at]) {
            let then = last + TTL;
            let live = self
                .reference
                .range(self.reference.partition_point(|entry| entry.1 <= *last)..);
            let bytes = live.clone().map(|entry| entry.0.len() as u64).sum();
            let oldest = live.clone().next().map(|entry| then - entry.1);
            assert_eq!(
                self.window.live_at(then),
                (live.len(), bytes, oldest),
                "once what came at {last} expires"
            );
        }
    }
}
