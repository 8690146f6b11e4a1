//! In-memory collections that cannot grow without bound: every entry has a way out.
//!
//! **What it is for.** A message-driven service that keeps ids "to drop duplicates" in a `HashSet`, or values in a `HashMap`
//! that only gains entries, runs out of memory after weeks, because nothing ever leaves. [`DedupSet`] and [`DedupMap`]
//! remember an id for a time to live and within a bound, exactly; [`LruCache`] keeps what is used, within bounds on size,
//! weight, age and idleness; [`ListenerRegistry`] calls handlers that cannot pile up. Each tells its size, the age of its
//! oldest entry, and what left and why.
//!
//! **What it costs.** About 64 bytes for an id of 45, and about one cache miss for a new one; 40 to 50 bytes beside key and
//! value in a cache; and no pauses: no call resizes a table, drops a million entries or sweeps a collection in one go.
//!
//! **What it does not do.** Nothing is kept across a restart, and nothing is probabilistic: a false positive would be
//! a lost message. No async runtime, no background thread unless asked for one, no `unsafe`.
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
//!         println!("seen before: {id}");
//!     }
//! }
//! println!("{}", seen.stats());
//! ```
//!
//! # When handling may fail
//!
//! An id that is marked as seen before its message was handled is lost when the handler fails. [`DedupMap::claim`] marks it
//! as in flight instead; the [`Ticket`] is committed when the work is done, and dropped in any other case, and then
//! the next delivery is handled:
//!
//! ```
//! use leakproof::{Claim, DedupSet};
//! # use std::time::Duration;
//! # fn handle(_: &str) -> Result<(), std::io::Error> { Ok(()) }
//! # let seen = DedupSet::<str>::new(1_000_000, Duration::from_secs(24 * 3600));
//! # let id = "3EB0C767D26A";
//!
//! match seen.claim(id) {
//!     Claim::Fresh(ticket) => {
//!         handle(id)?; // an error drops the ticket: the id is released
//!         ticket.commit(())?;
//!     }
//!     Claim::InFlight { .. } | Claim::Full => { /* ask for redelivery later */ }
//!     Claim::Duplicate { .. } => { /* handled before */ }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A cache
//!
//! ```
//! use leakproof::LruCache;
//! use std::time::Duration;
//!
//! let cache = LruCache::<String, String>::new(1_000, Duration::from_secs(1800));
//! let page = cache.get_or_insert_with("/index.html", || "<h1>rendered once</h1>".to_string());
//! assert_eq!(cache.get("/index.html"), Some(page));
//! ```
//!
//! # Handlers that do not pile up
//!
//! A [`ListenerRegistry`] calls handlers by topic, and takes the place of the `Vec<Box<dyn Fn>>` that gains a handler at
//! every reconnect: each leaves with its guard, its [`Scope`], its owner, a number of calls, an age, or the next under its
//! key, and there is a bound on all.
//!
//! # Memory that is given back
//!
//! Expiry is exact at every call and needs no sweep. Memory of expired entries is freed by later calls, a little by each;
//! where calls may stop for long, have a [`Sweeper`] free it, or say `sweep_every` on the builder
//! ([`DedupBuilder::sweep_every`], [`LruBuilder::sweep_every`]).
//!
//! # Limits that whoever deploys sets
//!
//! [`DedupConfig`], [`LruConfig`] and [`RegistryConfig`] are plain structs, read from environment variables or with
//! `serde`, judged, and given to a builder's `config`.
//!
//! # Pages
//!
//! * [`docs::guide`]: choosing limits by your own traffic, and what each figure on the health page means.
//! * [`docs::semantics`]: every promise, and the test that holds it.
//! * [`docs::limitations`]: clocks, restarts, shards, callbacks, largest numbers.
//! * [`docs::performance`], and [`docs::internals`]: what was measured, and how it works inside.
//!
//! # Features
//!
//! * `serde`: statistics, [`ListenerInfo`], [`RemovalCause`] and reports implement `Serialize`, configs `Deserialize`.
//! * `queue`: listeners that put events into a bounded queue, received from with or without async ([`ListenerBuilder`]`::queue`).
//! * `monitor`: `Monitor`, which tells how full everything is, how fast it grows, and when it will hit its limit.
//! * `tracing`: what an operator wants to read once, as structured [`events`].
//! * `metrics`: what a `Monitor` watches as gauges and counters, through the facade `metrics` (Prometheus and others).

#![cfg_attr(docsrs, feature(doc_cfg))]

/// The examples of the README are tests. One needs `monitor`.
#[cfg(all(doctest, feature = "monitor"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod clock;
mod compound_key;
mod config;
mod dedup;
#[cfg(doc)]
pub mod docs;
pub mod events;
mod format;
mod hash;
mod key;
mod limits;
mod lru;
#[cfg(feature = "monitor")]
#[cfg_attr(docsrs, doc(cfg(feature = "monitor")))]
pub mod monitor;
mod panic;
mod registry;
mod removal;
mod sharded;
mod stats;
mod sweep;
mod sweeper;
mod sync;

pub use clock::{Clock, ManualClock};
pub use compound_key::{CompoundKey, EmptyPart};
pub use config::{ConfigError, DedupConfig, LruConfig, RegistryConfig};
pub use dedup::{Claim, DedupBuilder, DedupMap, DedupSet, LeaseExpired, Recorded, Ticket};
pub use key::{AsKey, ByteKey, Key};
pub use limits::{BuildError, Shared, Unsync};
pub use lru::{ComputeError, Cursor, InvalidCursor, InvalidLimit, LruBuilder, LruCache, TooHeavy};
#[cfg(feature = "monitor")]
#[cfg_attr(docsrs, doc(cfg(feature = "monitor")))]
pub use monitor::Monitor;
pub use registry::{
    CircuitBreaker, DetachError, EmitSummary, Generation, HandlerResult, Limit, ListenerBuilder,
    ListenerId, ListenerInfo, ListenerRegistry, Overflow, RecursionLimit, RegistryBuilder,
    Rejected, Scope, Subscription, WeakRegistry,
};
#[cfg(feature = "queue")]
#[cfg_attr(docsrs, doc(cfg(feature = "queue")))]
pub use registry::{Queue, QueueOverflow};
pub use removal::RemovalCause;
pub use stats::{CacheStats, CollectionKind, Counter, DedupStats, RegistryStats, Usage};
pub use sweep::{Sweep, Swept, Watch};
pub use sweeper::Sweeper;

/// The single-threaded cores: the same collections behind `&mut self`, without locks and shards.
pub mod unsync {
    pub use crate::dedup::Token;
    pub use crate::dedup::unsync::{DedupMap, DedupSet};
    pub use crate::lru::unsync::LruCache;
    pub use crate::lru::{
        Drain, IntoIter, Iter, IterMut, Keys, UnsyncLruBuilder as LruBuilder, Values,
    };
}
