//! Reference models of the collections, and the operations that drive model and collection alike.
//!
//! Model tests generate the operations with `proptest`, fuzz targets with `arbitrary`.

pub mod dedup;
pub mod lru;
pub mod rate_limits;
pub mod registry;
pub mod s3_fifo;
pub mod shared;
