//! `IdempotencyStats`: the responses that a layer did not store, by reason.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::record::Unstored;

/// The responses that an [`IdempotencyLayer`](super::IdempotencyLayer) passed without storing them,
/// with `Idempotent-Stored: false`.
///
/// A retry of one of the first three kinds is answered with 409. The statistics of the store count
/// all other outcomes. `Display` prints one line for a log. With the feature `serde` they
/// serialize.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct IdempotencyStats {
    /// Responses above [`max_response_bytes`](super::IdempotencyBuilder::max_response_bytes).
    pub too_large: u64,
    /// Streams.
    pub streamed: u64,
    /// Responses for which [`max_stored_bytes`](super::IdempotencyBuilder::max_stored_bytes) left
    /// no room.
    pub no_room: u64,
    /// Responses that the store did not take: their handler outlived its lease and the key has
    /// another owner, or the server of the store did not answer.
    pub refused: u64,
}

impl fmt::Display for IdempotencyStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            too_large,
            streamed,
            no_room,
            refused,
        } = self;
        write!(
            f,
            "not stored: {too_large} too large, {streamed} streamed, {no_room} without room, \
             {refused} refused by the store"
        )
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    too_large: AtomicU64,
    streamed: AtomicU64,
    no_room: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    /// Counts a response of which a mark is stored.
    pub(super) fn count(&self, reason: Unstored) {
        let counter = match reason {
            Unstored::TooLarge => &self.too_large,
            Unstored::Streamed => &self.streamed,
            Unstored::NoRoom => &self.no_room,
        };
        // Relaxed, here and below: the counters guard no data.
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a response that the store did not take.
    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> IdempotencyStats {
        IdempotencyStats {
            too_large: self.too_large.load(Relaxed),
            streamed: self.streamed.load(Relaxed),
            no_room: self.no_room.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}
