//! `DedupConfig`: the options of a dedup map.

use std::time::Duration;

use crate::config::reader::{
    ENTRIES, FROM_1_MINUTE, FROM_1_SECOND, HOUR, Reader, Settings, WEIGHT,
};
use crate::wait::DEFAULT_MAX_WAITING;

/// Options of a [`DedupMap`](crate::DedupMap), for
/// [`DedupBuilder::config`](crate::DedupBuilder::config).
///
/// With the feature `serde`, it deserializes from a map of its fields. A duration is a number of
/// milliseconds, or a text such as `"24h"` or `"1h30m"`. `null` and `"off"` disable an optional
/// setting. Unknown fields are errors.
///
/// ```
/// use leakproof::{DedupConfig, DedupSet};
///
/// let config = DedupConfig::from_env("BOT_DEDUP")?; // BOT_DEDUP_TTL_MS and so on
/// let seen = DedupSet::<str>::builder().config(&config).build()?;
/// # assert_eq!(seen.stats().max_entries, 1_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupConfig {
    /// The time for which an id is remembered: from 1 min to 100 years. Defaults to 24 h.
    pub ttl: Duration,
    /// The bound on remembered ids: up to 2<sup>28</sup>. Defaults to 1,000,000.
    pub max_entries: usize,
    /// The bound on the bytes of keys, if keys are `str` or `[u8]`. Defaults to off.
    pub max_bytes: Option<usize>,
    /// The time after which a claim expires: from 1 s to 100 years. Defaults to 60 s.
    pub lease: Duration,
    /// The bound on claims in flight: up to 2<sup>28</sup>. Defaults to 10,000.
    pub max_in_flight: usize,
    /// The bound on callers that wait for claims: up to 2<sup>28</sup>. Defaults to 10,000.
    pub max_waiting: usize,
    /// The number of shards: up to 4,096 and to the smallest bound. Defaults to the number that
    /// suits the machine.
    pub shards: Option<usize>,
    /// The interval of background sweeps: from 1 s to 100 years. Defaults to 1 h.
    pub sweep_every: Option<Duration>,
}

impl Settings for DedupConfig {
    fn read(reader: &mut Reader<'_>) -> Self {
        let max_entries = reader.number("max_entries", ENTRIES, 1_000_000);
        let max_bytes = reader.number("max_bytes", WEIGHT, None);
        Self {
            ttl: reader.number("ttl", FROM_1_MINUTE, 24 * HOUR),
            max_entries,
            max_bytes,
            lease: reader.number("lease", FROM_1_SECOND, Duration::from_secs(60)),
            max_in_flight: reader.number("max_in_flight", ENTRIES, 10_000),
            max_waiting: reader.number("max_waiting", ENTRIES, DEFAULT_MAX_WAITING),
            shards: reader.shards(max_entries.min(max_bytes.unwrap_or(usize::MAX)) as u64),
            sweep_every: reader.number("sweep_every", FROM_1_SECOND, Some(HOUR)),
        }
    }
}

crate::config::config!(DedupConfig);
