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
mod s3_fifo;
mod scans;
mod stale;
mod threads;
