//! In-memory collections with hard bounds, for long-running message services.
//!
//! Long-running services leak memory in three common ways. Each collection replaces one of them:
//!
//! | collection | replaces | an entry is removed by |
//! | --- | --- | --- |
//! | [`DedupSet`], [`DedupMap`] | a `HashSet` of message ids that is never pruned | ttl, entry bound, byte bound, removal |
//! | [`LruCache`] | a `HashMap` used as a cache | entry bound, weight bound, ttl, idle timeout, removal |
//! | [`ListenerRegistry`] | a `Vec<Box<dyn Fn>>` that gains a handler on every reconnect | guard, [`Scope`], owner, key, call limit, ttl, circuit breaker, bound |
//!
//! Every collection reports its size, the age of its oldest entry, and the removed entries by
//! cause. Expiry is exact in readings of the collection's clock and needs no background thread.
//! Index resizes and the freeing of expired entries are spread over many calls. The crate has no
//! async runtime, no probabilistic decisions and no `unsafe`.
//!
//! ```
//! use leakproof::DedupSet;
//! use std::time::Duration;
//!
//! let seen = DedupSet::<str>::new(1_000_000, Duration::from_secs(24 * 3600));
//!
//! for id in ["3EB0C767D26A", "3EB0A8BFB3C1", "3EB0C767D26A"] {
//!     if seen.insert(id) {
//!         println!("handle {id}");
//!     } else {
//!         println!("duplicate: {id}");
//!     }
//! }
//! println!("{}", seen.stats());
//! ```
//!
//! [`DedupMap::claim`] marks an id as in flight while its message is handled, so that a failed
//! handler loses no message.
//!
//! # Operations
//!
//! * [`Sweeper`]: frees expired entries in the background, also with `sweep_every` on a builder.
//! * `monitor::Monitor` (feature `monitor`): use, growth, and findings before a limit is reached.
//! * [`DedupConfig`], [`LruConfig`], [`RegistryConfig`]: options from environment variables or
//!   `serde`.
//! * [`Clock`] and [`ManualClock`]: the only source of time, and its fake for tests.
//! * [`events`]: targets and fields of the structured events, which the feature `tracing` emits.
//!
//! # Pages
//!
//! * [`docs::guide`]: how to choose limits, and the meaning of each figure.
//! * [`docs::coming_from`]: the calls of lru, moka, quick_cache, dashmap and `HashSet`, and ours.
//! * [`docs::async_code`]: claims across `.await`, cancellation, single flight, listeners, sweeps.
//! * [`docs::semantics`]: every promise, and the test that checks it.
//! * [`docs::limitations`]: clocks, restarts, shards, callbacks, largest numbers.
//! * [`docs::persistence`]: snapshots, the journal, and the format of the files.
//! * [`docs::more_than_one_instance`]: one window of ids for several instances.
//! * [`docs::http_idempotency`]: idempotent HTTP requests, and the draft section by section.
//! * [`docs::performance`] and [`docs::internals`]: measurements and data structures.
//!
//! # Features
//!
//! * `serde`: statistics, [`ListenerInfo`], [`RemovalCause`] and reports implement `Serialize`,
//!   configs `Deserialize`.
//! * `queue`: listeners with a bounded queue, received from with or without async
//!   ([`ListenerBuilder`]`::queue`).
//! * `governor`: `governor::BoundedStateStore`, rate limits for a bounded number of keys.
//! * `http`: `http::IdempotencyLayer`, idempotent HTTP requests.
//! * `monitor`: `monitor::Monitor`.
//! * `persist`: `persist`, contents that survive a restart.
//! * `redis`: `redis::SharedDedup`, for several instances. `redis-tls`: its `rediss` addresses.
//! * `tokio`: `spawn_sweeper`, a sweeper as a task.
//! * `tracing`: [`events`].
//! * `metrics`: gauges and counters of a `Monitor`, through the facade `metrics`.

#![cfg_attr(docsrs, feature(doc_cfg))]

/// Compiles the examples of the README as tests. An example needs `monitor`.
#[cfg(all(doctest, feature = "monitor"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod clock;
#[cfg(any(feature = "http", feature = "persist", feature = "redis"))]
mod codec;
mod compound_key;
mod config;
mod dedup;
#[cfg(doc)]
pub mod docs;
pub mod events;
mod format;
#[cfg(feature = "governor")]
#[cfg_attr(docsrs, doc(cfg(feature = "governor")))]
pub mod governor;
mod hash;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
mod limits;
mod lru;
#[cfg(feature = "monitor")]
#[cfg_attr(docsrs, doc(cfg(feature = "monitor")))]
pub mod monitor;
mod panic;
mod panic_counter;
#[cfg(feature = "persist")]
#[cfg_attr(docsrs, doc(cfg(feature = "persist")))]
pub mod persist;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub mod redis;
mod registry;
mod removal;
mod sharded;
#[cfg(feature = "tokio")]
mod spawn_sweeper;
mod stats;
mod steps;
mod sweep;
mod sweeper;
mod sync;
mod wait;

pub use clock::{Clock, ManualClock};
#[cfg(any(feature = "http", feature = "persist", feature = "redis"))]
#[cfg_attr(
    docsrs,
    doc(cfg(any(feature = "http", feature = "persist", feature = "redis")))
)]
pub use codec::Codec;
#[cfg(all(feature = "serde", any(feature = "persist", feature = "redis")))]
#[cfg_attr(
    docsrs,
    doc(cfg(all(feature = "serde", any(feature = "persist", feature = "redis"))))
)]
pub use codec::Serde;
pub use compound_key::{CompoundKey, EmptyPart};
pub use config::ConfigError;
pub use dedup::{
    AsKey, ByteKey, Claim, DedupBuilder, DedupConfig, DedupMap, DedupSet, Key, LeaseExpired,
    Recorded, SetTicket, Ticket,
};
pub use hash::{DefaultHashBuilder, DefaultHasher};
pub use limits::BuildError;
pub use lru::{
    ComputeError, Cursor, Drain, InvalidCursor, InvalidLimit, Lookup, LruBuilder, LruCache,
    LruConfig, Policy, Reservation, TooHeavy,
};
pub use registry::{
    CircuitBreaker, DetachError, EmitSummary, Generation, HandlerResult, Limit, ListenerBuilder,
    ListenerId, ListenerInfo, ListenerRegistry, Overflow, RecursionLimit, RegistryBuilder,
    RegistryConfig, Rejected, Scope, Subscription, WeakRegistry,
};
#[cfg(feature = "queue")]
#[cfg_attr(docsrs, doc(cfg(feature = "queue")))]
pub use registry::{Queue, QueueOverflow};
pub use removal::RemovalCause;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use spawn_sweeper::{SweeperTask, spawn_sweeper};
pub use stats::{CacheStats, CollectionKind, Counter, DedupStats, RegistryStats, Usage};
pub use sweep::{Sweep, Swept, Watch};
pub use sweeper::Sweeper;

/// Single-threaded collections with `&mut self`, without locks and shards.
pub mod unsync {
    pub use crate::dedup::Token;
    pub use crate::dedup::unsync::{DedupMap, DedupSet};
    pub use crate::lru::unsync::{Entry, LruBuilder, LruCache, OccupiedEntry, VacantEntry};
    pub use crate::lru::{Drain, IntoIter, Iter, IterMut, Keys, Values};
}
