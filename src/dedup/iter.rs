//! `for_each`: iterates over all shards at once, in order of age.
//!
//! Copies a few entries of a shard under its lock and calls back without it, so that the callback
//! may use the map.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::time::Duration;

use super::DedupMap;
use super::core::Cursor;
use crate::key::Key;

/// Entries copied from a shard under one lock.
const PIECE: usize = 64;

/// The state of one shard: the entries that were copied and not yet visited, oldest first.
struct Part<K: ?Sized + ToOwned, V> {
    copied: VecDeque<(K::Owned, V, Duration)>,
    /// `None` when the shard is exhausted.
    cursor: Option<Cursor>,
}

impl<K: ?Sized + Key + ToOwned, V: Clone, S> DedupMap<K, V, S> {
    /// Calls `visit` with every live id, its value and its age, oldest first.
    ///
    /// Ends even if ids are recorded all the time, because it visits none that was recorded after
    /// it began. An id that is removed in the meantime may be visited or not. If many are removed,
    /// an id may be visited twice, and an id that was recorded in the clock step in which the
    /// iteration began may be missed. Locks a shard for 64 entries at a time, which it clones.
    /// `visit` is called without a lock.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V, Duration)) {
        let now = self.now();
        let mut parts: Vec<Part<K, V>> = self
            .each_shard(|core, _| Part {
                copied: VecDeque::new(),
                cursor: Some(core.cursor(now)),
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
                self.with_shard(shard, |core, _| {
                    while copied.len() < PIECE {
                        let Some((key, value, age)) = core.next_entry(now, cursor) else {
                            break;
                        };
                        copied.push_back((key.to_owned(), value.clone(), age));
                    }
                });
                if part.copied.is_empty() {
                    part.cursor = None;
                }
            }
            let age = |part: &Part<K, V>| part.copied.front().map(|&(_, _, age)| age);
            let oldest = parts.iter_mut().max_by_key(|part| age(part));
            let Some((key, value, age)) = oldest.and_then(|part| part.copied.pop_front()) else {
                return;
            };
            visit(key.borrow(), &value, age);
        }
    }
}
