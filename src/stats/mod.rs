//! Statistics: one struct for each kind of collection, and [`Usage`] as the view that they have in
//! common.

mod cache;
mod dedup;
#[cfg(feature = "serde")]
mod milliseconds;
#[cfg(feature = "governor")]
mod rate_limits;
mod registry;
mod usage;

pub use cache::CacheStats;
pub use dedup::DedupStats;
#[cfg(feature = "serde")]
pub(crate) use milliseconds::ms;
#[cfg(all(feature = "serde", feature = "persist"))]
pub(crate) use milliseconds::optional_ms;
#[cfg(feature = "governor")]
pub use rate_limits::RateLimitStats;
pub use registry::RegistryStats;
pub use usage::{CollectionKind, Counter, Usage};
