//! `LruConfig`: the options of a cache.

use std::time::Duration;

use crate::config::reader::{ENTRIES, FROM_1_SECOND, HOUR, Reader, Settings, WEIGHT};
use crate::lru::Policy;

/// Options of an [`LruCache`](crate::LruCache), for
/// [`LruBuilder::config`](crate::LruBuilder::config).
///
/// Deserializes as [`DedupConfig`](crate::DedupConfig) does. A weight bound requires a
/// [`weigher`](crate::LruBuilder::weigher), which only code can set: set one if operators may set
/// the bound. Otherwise `build` returns [`NoWeigher`](crate::BuildError::NoWeigher).
///
/// Jitter requires a ttl, or [`expire_after`](crate::LruBuilder::expire_after), which only code can
/// set. Otherwise `build` returns [`Missing`](crate::BuildError::Missing).
///
/// ```
/// use leakproof::{LruCache, LruConfig};
///
/// let config = LruConfig::from_env("SESSIONS")?; // SESSIONS_MAX_ENTRIES, SESSIONS_IDLE_TIMEOUT_MS and so on
/// let sessions = LruCache::<u64, String>::builder()
///     .config(&config)
///     .weigher(|_, text| text.len() as u32)
///     .build()?;
/// # assert_eq!(sessions.stats().max_entries, 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LruConfig {
    /// The bound on entries: up to 2<sup>28</sup>. Defaults to 1,000.
    pub max_entries: usize,
    /// The bound on the total weight. Defaults to off.
    pub max_weight: Option<u64>,
    /// The time to live since the last write: from 1 s to 100 years. Defaults to 30 min.
    pub ttl: Option<Duration>,
    /// The time to live since the last access: from 1 s to 100 years. Defaults to off.
    pub idle_timeout: Option<Duration>,
    /// The largest part of its ttl by which an entry is shortened: from 0 to 1. Defaults to 0.
    pub ttl_jitter: f64,
    /// The time for which an entry can be served after its ttl ended: from 1 s to 100 years.
    /// Defaults to off.
    pub stale: Option<Duration>,
    /// The choice of the entry to evict: `lru` or `s3-fifo`. Defaults to `lru`.
    pub policy: Policy,
    /// The number of shards: up to 4,096 and to the smallest bound. Defaults to the number that
    /// suits the machine.
    pub shards: Option<usize>,
    /// The interval of background sweeps: from 1 s to 100 years. Defaults to 1 h.
    pub sweep_every: Option<Duration>,
}

impl Settings for LruConfig {
    fn read(reader: &mut Reader<'_>) -> Self {
        let max_entries = reader.number("max_entries", ENTRIES, 1_000);
        let max_weight = reader.number("max_weight", WEIGHT, None);
        Self {
            max_entries,
            max_weight,
            ttl: reader.number("ttl", FROM_1_SECOND, Some(HOUR / 2)),
            idle_timeout: reader.number("idle_timeout", FROM_1_SECOND, None),
            ttl_jitter: reader.fraction("ttl_jitter", 0.0),
            stale: reader.number("stale", FROM_1_SECOND, None),
            policy: reader.choice(
                "policy",
                [("lru", Policy::Lru), ("s3-fifo", Policy::S3Fifo)],
            ),
            shards: reader.shards(max_weight.unwrap_or(u64::MAX).min(max_entries as u64)),
            sweep_every: reader.number("sweep_every", FROM_1_SECOND, Some(HOUR)),
        }
    }
}

crate::config::config!(LruConfig);
