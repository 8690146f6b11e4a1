//! `for_each`: iterates over all shards at once, in order of age.
//!
//! Copies a few entries of a shard under its lock and calls back without it, so that the callback
//! may use the map.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use super::DedupMap;
use super::core::Cursor;
use crate::clock::Nanos;
use crate::dedup::Key;
use crate::steps;

/// Entries examined in a shard under one lock.
const PIECE: usize = 64;

/// The state of one shard: the entries that were copied and not yet visited, oldest first.
struct Part<K: ?Sized + ToOwned, V> {
    copied: VecDeque<(K::Owned, V, Nanos)>,
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
        let result: Result<(), Infallible> = self.try_for_each_since(now, |key, value, time| {
            visit(key, value, Duration::from_nanos(now.saturating_sub(time)));
            Ok(())
        });
        let Ok(()) = result;
    }

    /// Calls `visit` with every live id, its value and the time at which it was recorded, until it
    /// returns an error.
    pub(super) fn try_for_each_since<E>(
        &self,
        now: Nanos,
        mut visit: impl FnMut(&K, &V, Nanos) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut parts: Vec<Part<K, V>> = self
            .each_shard(|core, _| Part {
                copied: VecDeque::new(),
                cursor: Some(core.cursor(now)),
            })
            .collect();
        loop {
            for (shard, part) in parts.iter_mut().enumerate() {
                // A piece may consist of expired entries only.
                while part.copied.is_empty() {
                    let Some(cursor) = &mut part.cursor else {
                        break;
                    };
                    let copied = &mut part.copied;
                    let mut copy = |key: &K, value: &V, time| {
                        copied.push_back((key.to_owned(), value.clone(), time));
                    };
                    let more = self.with_shard(shard, |core, _| {
                        steps::piece(|| core.visit_some(now, cursor, PIECE, &mut copy))
                    });
                    if !more {
                        part.cursor = None;
                    }
                }
            }
            let time = |part: &Part<K, V>| part.copied.front().map(|&(_, _, time)| time);
            let oldest = parts
                .iter_mut()
                .filter(|part| !part.copied.is_empty())
                .min_by_key(|part| time(part));
            let Some((key, value, time)) = oldest.and_then(|part| part.copied.pop_front()) else {
                return Ok(());
            };
            visit(key.borrow(), &value, time)?;
        }
    }
}
