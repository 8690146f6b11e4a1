//! The promises of `DedupMap` and `DedupSet`.

mod bounds;
mod drops;
mod model;
mod promises;
mod threads;
mod work;
