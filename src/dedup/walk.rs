//! `for_each`: a walk through all shards at once, in order of age.
//!
//! Copies a piece of each shard under its lock and calls back outside of it, so that the callback may use the map.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::time::Duration;

use super::DedupMap;
use super::unsync::figures::Cursor;
use crate::key::Key;

/// Entries copied from a shard under one lock.
const PIECE: usize = 64;

/// A shard's part of a walk: what was copied and not yet handed out, oldest first.
struct Part<K: ?Sized + ToOwned, V> {
    copied: VecDeque<(K::Owned, V, Duration)>,
    cursor: Option<Cursor>,
}

impl<K: ?Sized + Key + ToOwned, V: Clone, S> DedupMap<K, V, S> {
    /// Calls `visit` with every live id, its value and its age, oldest first.
    ///
    /// It ends however much is recorded meanwhile, since it visits nothing that is. Ids that leave meanwhile may be missed, or
    /// not; where many are removed meanwhile, an id may be visited twice, and one that was recorded in the very step of
    /// the clock in which the walk began be missed. Locks a shard for 64 entries at a time, which it clones; `visit` is
    /// called while no lock is held.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V, Duration)) {
        let now = self.now();
        let mut parts: Vec<Part<K, V>> = self
            .each_shard(|core| Part {
                copied: VecDeque::new(),
                cursor: Some(core.cursor_at(now)),
            })
            .collect();
        loop {
            for (shard, part) in parts.iter_mut().enumerate() {
                if !part.copied.is_empty() {
                    continue;
                }
                let Some(cursor) = &mut part.cursor else {
                    continue;
                };
                let copied = &mut part.copied;
                self.inner.with(shard, |core| {
                    while copied.len() < PIECE
                        && let Some((key, value, age)) = core.next_at(now, cursor)
                    {
                        copied.push_back((key.to_owned(), value.clone(), age));
                    }
                });
                if part.copied.is_empty() {
                    part.cursor = None;
                }
            }
            let age = |part: &Part<K, V>| part.copied.front().map(|&(_, _, age)| age);
            let Some(oldest) = parts.iter_mut().max_by_key(|part| age(part)) else {
                return;
            };
            let Some((key, value, age)) = oldest.copied.pop_front() else {
                return;
            };
            visit(key.borrow(), &value, age);
        }
    }
}
