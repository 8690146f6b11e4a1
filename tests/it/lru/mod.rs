//! The promises of `LruCache`.

mod bounds;
mod discard;
mod drops;
mod flights;
mod flights_tokio;
mod in_place;
mod model;
mod own_ttl;
mod promises;
mod scans;
mod stale;
mod threads;
