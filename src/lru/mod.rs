//! `LruCache`, and what it is made of: a core under two shells.
//!
//! | module | concept |
//! | --- | --- |
//! | `slab`, `list`, `deadlines`, `index` | data structures |
//! | `keyed_deadlines` | the same data structures for the keys of rate limits |
//! | `core` | entries, bounds and expiry of one cache or shard |
//! | `attributes` | the weight and the ttl of an entry |
//! | `policy` | the choice of the entry to evict |
//! | `removal` | removed entries, and the callback that is notified of them |
//! | `unsync`, `cache` | the two public types |
//! | `single_flight` | computing a missing value once |
//! | `scan` | walks over a shared cache |

mod attributes;
mod builder;
mod cache;
mod config;
mod core;
mod deadlines;
mod error;
mod index;
#[cfg(feature = "governor")]
mod keyed_deadlines;
mod list;
mod options;
#[cfg(feature = "persist")]
mod persist;
mod policy;
mod removal;
mod scan;
mod single_flight;
mod slab;
pub(crate) mod unsync;

pub use builder::LruBuilder;
pub use cache::LruCache;
pub use config::LruConfig;
pub use core::{Drain, IntoIter, Iter, IterMut, Keys, Values};
pub use error::{ComputeError, InvalidLimit, TooHeavy};
#[cfg(feature = "governor")]
pub(crate) use keyed_deadlines::KeyedDeadlines;
pub use policy::Policy;
pub use scan::{Cursor, InvalidCursor};
pub use single_flight::{Lookup, Reservation};
