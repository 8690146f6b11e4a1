//! The promises of `LruCache`.

mod bounds;
mod drops;
mod model;
mod promises;
mod scans;
mod threads;
