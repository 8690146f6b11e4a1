//! Rate limits for a bounded number of keys, with the crate `governor`.
//!
//! The limiters of `governor` keep a state per key for ever. A [`BoundedStateStore`] keeps the
//! states of a bounded number of keys, and its limiters give the same answers as long as there is
//! room for the keys that are not replenished.
//!
//! The state of a key is its theoretical arrival time in GCRA. Once that has passed, the limiter
//! treats the key like one that it has never seen: the key is *replenished*. A full store therefore
//! replaces such keys without changing an answer.

// # Why it is not an `LruCache`
//
// An entry whose ttl ends when its key is replenished would be evicted first by the rules of the
// cache. But the cache would have to read the limiter's clock. A store does not know it: a limiter
// measures from its own creation, and passes its store only a function from the former state to the
// next one. That function includes the time and the number of cells. It also answers whether a key
// is replenished, exactly and by any clock: a replenished state and no state have the same
// successor. So the store needs no clock, and consists of the cache's data structures.
//
// # Cost
//
// A full store has to find the key that is replenished first, and every check moves a key in that
// order. Keys are replenished in an order that only comparisons determine, so the order costs
// `O(log n)` steps: a heap with 4 children per node takes at most 10 for a million keys. A queue in
// order of access takes one step, but would reject a new key while a replenished key is behind one
// that is not.

mod builder;
mod shard;
mod store;

pub use crate::stats::RateLimitStats;
pub use builder::{BoundedStateStoreBuilder, WhenFull};
pub use store::BoundedStateStore;
