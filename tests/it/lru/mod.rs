//! The promises of `LruCache`.

mod bounds;
mod drops;
mod model;
mod own_ttl;
mod promises;
mod scans;
mod threads;
