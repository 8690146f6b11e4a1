//! `RegistryConfig`: the limits of a registry of listeners.

use std::time::Duration;

use super::setting::{MOST_ENTRIES, SECOND, Setting, Settings, count, time};
use crate::registry::Overflow;

/// The limits of a [`ListenerRegistry`](crate::ListenerRegistry), to be read from variables or with `serde`, and given to
/// [`RegistryBuilder::config`](crate::RegistryBuilder::config).
///
/// | field | variable | default | allowed |
/// | --- | --- | --- | --- |
/// | `max_listeners` | `…_MAX_LISTENERS` | 1,000 | 1 to 2<sup>28</sup> |
/// | `max_per_topic` | `…_MAX_PER_TOPIC` | 10 | 1 to 2<sup>28</sup> |
/// | `overflow` | `…_OVERFLOW` | `reject` | `reject` or `evict_oldest` |
/// | `max_age` | `…_MAX_AGE_MS` | off | 1 s to 100 years, or `off` |
/// | `breaker_failures` | `…_BREAKER_FAILURES` | off: no breaker | 1 to 2<sup>32</sup> - 1, or `off` |
/// | `breaker_retry` | `…_BREAKER_RETRY_MS` | off: the breaker detaches | 1 s to 100 years, or `off` |
/// | `sweep_every` | `…_SWEEP_MS` | 1 h | 1 s to 100 years, or `off` |
///
/// Variables and, with the feature `serde`, what is deserialized are written as for a
/// [`DedupConfig`](crate::DedupConfig).
///
/// ```
/// use leakproof::{ListenerRegistry, RegistryConfig};
///
/// let config = RegistryConfig::from_env("WA_EVENTS")?; // WA_EVENTS_MAX_LISTENERS, WA_EVENTS_OVERFLOW and so on
/// let bus = ListenerRegistry::<String, u32>::builder().config(&config).build()?;
/// # assert_eq!(bus.stats().max_entries, 1_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// How many listeners there may be.
    pub max_listeners: usize,
    /// How many listeners a topic may have.
    pub max_per_topic: usize,
    /// What happens at these bounds.
    pub overflow: Overflow,
    /// How old a listener can get.
    pub max_age: Option<Duration>,
    /// Failures in a row after which the breaker detaches or silences a listener.
    pub breaker_failures: Option<u32>,
    /// For how long it is silenced, until a probe. It means nothing without a breaker.
    pub breaker_retry: Option<Duration>,
    /// The interval at which a background thread frees listeners that are too old, or whose owner is gone.
    pub sweep_every: Option<Duration>,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            max_listeners: 1_000,
            max_per_topic: 10,
            overflow: Overflow::Reject,
            max_age: None,
            breaker_failures: None,
            breaker_retry: None,
            sweep_every: Some(Duration::from_secs(3600)),
        }
    }
}

impl Settings for RegistryConfig {
    const SETTINGS: &'static [Setting<Self>] = &[
        Setting::<Self>::count(
            "max_listeners",
            "MAX_LISTENERS",
            MOST_ENTRIES,
            |config, max| {
                config.max_listeners = max.map_or(config.max_listeners, count);
            },
        ),
        Setting::<Self>::count(
            "max_per_topic",
            "MAX_PER_TOPIC",
            MOST_ENTRIES,
            |config, max| {
                config.max_per_topic = max.map_or(config.max_per_topic, count);
            },
        ),
        Setting::<Self>::choice(
            "overflow",
            "OVERFLOW",
            &["reject", "evict_oldest"],
            |config, place| {
                config.overflow = if place == Some(1) {
                    Overflow::EvictOldest
                } else {
                    Overflow::Reject
                };
            },
        ),
        Setting::<Self>::time("max_age", "MAX_AGE_MS", SECOND, |config, age| {
            config.max_age = age.map(time);
        })
        .or_off(),
        Setting::<Self>::count(
            "breaker_failures",
            "BREAKER_FAILURES",
            u32::MAX as u64,
            |config, failures| {
                config.breaker_failures =
                    failures.map(|failures| u32::try_from(failures).unwrap_or(u32::MAX));
            },
        )
        .or_off(),
        Setting::<Self>::time(
            "breaker_retry",
            "BREAKER_RETRY_MS",
            SECOND,
            |config, retry| {
                config.breaker_retry = retry.map(time);
            },
        )
        .or_off(),
        Setting::<Self>::time("sweep_every", "SWEEP_MS", SECOND, |config, every| {
            config.sweep_every = every.map(time);
        })
        .or_off(),
    ];
}

super::from_variables!(RegistryConfig);
