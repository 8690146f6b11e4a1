//! Statistics: one struct for each kind of collection, and [`Usage`] as the view that they have in
//! common.

mod cache;
mod dedup;
#[cfg(feature = "serde")]
mod milliseconds;
mod registry;
mod usage;

pub use cache::CacheStats;
pub use dedup::DedupStats;
#[cfg(feature = "serde")]
pub(crate) use milliseconds::{ms, optional_ms};
pub use registry::RegistryStats;
pub use usage::{CollectionKind, Counter, Usage};
