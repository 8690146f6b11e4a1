//! `DedupConfig`: the limits of a dedup map.

use std::time::Duration;

use super::setting::{
    MINUTE, MOST_ENTRIES, MOST_SHARDS, MOST_WEIGHT, SECOND, Setting, Settings, count, time,
};

/// The limits of a [`DedupMap`](crate::DedupMap), to be read from variables or with `serde`, and given to
/// [`DedupBuilder::config`](crate::DedupBuilder::config).
///
/// | field | variable | default | allowed |
/// | --- | --- | --- | --- |
/// | `ttl` | `…_TTL_MS` | 24 h | 1 min to 100 years |
/// | `max_entries` | `…_MAX_ENTRIES` | 1,000,000 | 1 to 2<sup>28</sup> |
/// | `max_bytes` | `…_MAX_BYTES` | off | from 1, or `off` |
/// | `lease` | `…_LEASE_MS` | 60 s | 1 s to 100 years |
/// | `max_in_flight` | `…_MAX_IN_FLIGHT` | 10,000 | 1 to 2<sup>28</sup> |
/// | `shards` | `…_SHARDS` | off: what suits the machine | 1 to 4,096 and to the bounds, or `off` |
/// | `sweep_every` | `…_SWEEP_MS` | 1 h | 1 s to 100 years, or `off` |
///
/// Variables hold whole numbers; [`from_env`](Self::from_env) says how they are read. A ttl below a minute can be set on the
/// builder alone.
///
/// With the feature `serde` a config is deserialized from a map with these fields, all of which may be left out; times are
/// whole numbers of milliseconds, or text such as `"24h"`, `"90m"` or `"1h30m"`, and may go by the variable's name in small
/// letters too (`ttl_ms`). Any other field is an error, and so is a value that is not allowed.
///
/// ```
/// use leakproof::{DedupConfig, DedupSet};
///
/// let config = DedupConfig::from_env("WA_MESSAGE_DEDUP")?; // WA_MESSAGE_DEDUP_TTL_MS and so on
/// let seen = DedupSet::<str>::builder().config(&config).build()?;
/// # assert_eq!(seen.stats().max_entries, 1_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupConfig {
    /// How long an id is remembered.
    pub ttl: Duration,
    /// How many ids are remembered at most.
    pub max_entries: usize,
    /// How many bytes of keys are held at most, where keys are `str` or `[u8]`.
    pub max_bytes: Option<usize>,
    /// How long a claim may take until it is void.
    pub lease: Duration,
    /// How many ids may be in flight at once.
    pub max_in_flight: usize,
    /// Into how many independently locked parts the map is cut.
    pub shards: Option<usize>,
    /// The interval at which a background thread frees what expired.
    pub sweep_every: Option<Duration>,
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(24 * 3600),
            max_entries: 1_000_000,
            max_bytes: None,
            lease: Duration::from_secs(60),
            max_in_flight: 10_000,
            shards: None,
            sweep_every: Some(Duration::from_secs(3600)),
        }
    }
}

impl Settings for DedupConfig {
    const SETTINGS: &'static [Setting<Self>] = &[
        Setting::<Self>::time("ttl", "TTL_MS", MINUTE, |config, ttl| {
            config.ttl = ttl.map_or(config.ttl, time);
        }),
        Setting::<Self>::count("max_entries", "MAX_ENTRIES", MOST_ENTRIES, |config, max| {
            config.max_entries = max.map_or(config.max_entries, count);
        }),
        Setting::<Self>::count("max_bytes", "MAX_BYTES", MOST_WEIGHT, |config, max| {
            config.max_bytes = max.map(count);
        })
        .or_off(),
        Setting::<Self>::time("lease", "LEASE_MS", SECOND, |config, lease| {
            config.lease = lease.map_or(config.lease, time);
        }),
        Setting::<Self>::count(
            "max_in_flight",
            "MAX_IN_FLIGHT",
            MOST_ENTRIES,
            |config, max| {
                config.max_in_flight = max.map_or(config.max_in_flight, count);
            },
        ),
        Setting::<Self>::count("shards", "SHARDS", MOST_SHARDS, |config, shards| {
            config.shards = shards.map(count);
        })
        .or_off(),
        Setting::<Self>::time("sweep_every", "SWEEP_MS", SECOND, |config, every| {
            config.sweep_every = every.map(time);
        })
        .or_off(),
    ];

    fn shards(&mut self) -> Option<(&mut Option<usize>, u64)> {
        let most = self
            .max_bytes
            .map_or(self.max_entries, |bytes| bytes.min(self.max_entries));
        Some((&mut self.shards, most as u64))
    }
}

super::from_variables!(DedupConfig);
