//! `LruConfig`: the limits of a cache.

use std::time::Duration;

use super::setting::{
    MOST_ENTRIES, MOST_SHARDS, MOST_WEIGHT, SECOND, Setting, Settings, count, time,
};

/// The limits of an [`LruCache`](crate::LruCache), to be read from variables or with `serde`, and given to
/// [`LruBuilder::config`](crate::LruBuilder::config).
///
/// | field | variable | default | allowed |
/// | --- | --- | --- | --- |
/// | `max_entries` | `…_MAX_ENTRIES` | 1,000 | 1 to 2<sup>28</sup> |
/// | `max_weight` | `…_MAX_WEIGHT` | off | from 1, or `off` |
/// | `max_age` | `…_MAX_AGE_MS` | 30 min | 1 s to 100 years, or `off` |
/// | `max_idle` | `…_MAX_IDLE_MS` | off | 1 s to 100 years, or `off` |
/// | `shards` | `…_SHARDS` | off: what suits the machine | 1 to 4,096 and to the bounds, or `off` |
/// | `sweep_every` | `…_SWEEP_MS` | 1 h | 1 s to 100 years, or `off` |
///
/// Variables and, with the feature `serde`, what is deserialized are written as for a
/// [`DedupConfig`](crate::DedupConfig).
///
/// Each setting stands for itself. With `…_MAX_WEIGHT` alone the cache still holds 1,000 entries at most, for half an hour each:
/// for a bound on weight and no other, set `…_MAX_ENTRIES` to the most that is allowed, and `…_MAX_AGE_MS` to `off`. And a
/// bound on weight takes a [`weigher`](crate::LruBuilder::weigher), which only code can give: without one `build` answers
/// [`NoWeigher`](crate::BuildError::NoWeigher). So where whoever deploys may set it, give the builder a weigher in any case;
/// as long as the bound is off it does but count.
///
/// ```
/// use leakproof::{BuildError, LruCache, LruConfig};
///
/// let lookup = |name: &str| (name == "SESSIONS_MAX_WEIGHT").then(|| "1000000".to_string());
/// let config = LruConfig::from_lookup("SESSIONS", lookup)?;
/// assert_eq!((config.max_weight, config.max_entries), (Some(1_000_000), 1_000));
/// assert_eq!(config.max_age, LruConfig::default().max_age);
/// let unweighed = LruCache::<u64, String>::builder().config(&config).build();
/// assert_eq!(unweighed.unwrap_err(), BuildError::NoWeigher);
/// # Ok::<(), leakproof::ConfigError>(())
/// ```
///
/// ```
/// use leakproof::{LruCache, LruConfig};
///
/// let config = LruConfig::from_env("SESSIONS")?; // SESSIONS_MAX_ENTRIES, SESSIONS_MAX_IDLE_MS and so on
/// let sessions = LruCache::<u64, String>::builder().config(&config).build()?;
/// # assert_eq!(sessions.stats().max_entries, 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LruConfig {
    /// How many entries are held at most.
    pub max_entries: usize,
    /// What all entries may weigh at most. The builder must be given a weigher then.
    pub max_weight: Option<u64>,
    /// How old an entry can get, counted from when it was last written.
    pub max_age: Option<Duration>,
    /// How long an entry may go without being written or read.
    pub max_idle: Option<Duration>,
    /// Into how many independently locked parts the cache is cut.
    pub shards: Option<usize>,
    /// The interval at which a background thread frees the entries whose time is over.
    pub sweep_every: Option<Duration>,
}

impl Default for LruConfig {
    fn default() -> Self {
        Self {
            max_entries: 1_000,
            max_weight: None,
            max_age: Some(Duration::from_secs(30 * 60)),
            max_idle: None,
            shards: None,
            sweep_every: Some(Duration::from_secs(3600)),
        }
    }
}

impl Settings for LruConfig {
    const SETTINGS: &'static [Setting<Self>] = &[
        Setting::<Self>::count("max_entries", "MAX_ENTRIES", MOST_ENTRIES, |config, max| {
            config.max_entries = max.map_or(config.max_entries, count);
        }),
        Setting::<Self>::count("max_weight", "MAX_WEIGHT", MOST_WEIGHT, |config, max| {
            config.max_weight = max;
        })
        .or_off(),
        Setting::<Self>::time("max_age", "MAX_AGE_MS", SECOND, |config, age| {
            config.max_age = age.map(time);
        })
        .or_off(),
        Setting::<Self>::time("max_idle", "MAX_IDLE_MS", SECOND, |config, idle| {
            config.max_idle = idle.map(time);
        })
        .or_off(),
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
        let entries = self.max_entries as u64;
        Some((
            &mut self.shards,
            self.max_weight
                .map_or(entries, |weight| weight.min(entries)),
        ))
    }
}

super::from_variables!(LruConfig);
