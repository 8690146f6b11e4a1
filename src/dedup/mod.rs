//! Deduplication: maps and sets that remember ids for a time, up to a bound.
//!
//! `core` has the data and the invariants, over the data structure in `log`. `map` and `set` are
//! the shared collections, `unsync` has the single-threaded ones. They add clock, hasher and locks.

mod builder;
mod claim;
mod config;
mod core;
mod in_flight;
mod iter;
mod key;
pub(crate) mod log;
mod map;
#[cfg(feature = "persist")]
mod persist;
mod set;
pub(crate) mod unsync;
mod wait;

#[cfg(feature = "redis")]
pub(crate) use builder::Collection;
pub use builder::DedupBuilder;
pub use claim::{Claim, LeaseExpired, Recorded, SetTicket, Ticket, Token};
pub use config::DedupConfig;
pub use key::{AsKey, ByteKey, Key};
pub use map::DedupMap;
pub use set::DedupSet;

/// Ids whose index buckets are loaded together: enough to overlap the cache misses, few enough to
/// stay in the cache.
const BATCH: usize = 32;
