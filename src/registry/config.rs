//! `RegistryConfig`: the options of a listener registry.

use std::time::Duration;

use crate::config::reader::{ENTRIES, FROM_1_SECOND, HOUR, Reader, Settings};
use crate::registry::Overflow;

/// Options of a [`ListenerRegistry`](crate::ListenerRegistry), for
/// [`RegistryBuilder::config`](crate::RegistryBuilder::config).
///
/// Deserializes as [`DedupConfig`](crate::DedupConfig) does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// The bound on all listeners: up to 2<sup>28</sup>. Defaults to 1,000.
    pub max_listeners: usize,
    /// The bound on the listeners of one topic: up to 2<sup>28</sup>. Defaults to 10.
    pub max_per_topic: usize,
    /// The reaction to a registration at a bound: `reject` or `evict_oldest`. Defaults to `reject`.
    pub overflow: Overflow,
    /// The time to live of a listener: from 1 s to 100 years. Defaults to off.
    pub ttl: Option<Duration>,
    /// The failures in a row after which the circuit breaker opens. Defaults to off: there is no
    /// breaker.
    pub breaker_failures: Option<u32>,
    /// The time after which an open breaker lets one call through: from 1 s to 100 years. Requires
    /// `breaker_failures`. Defaults to off: the breaker detaches the listener.
    pub breaker_retry: Option<Duration>,
    /// The interval of background sweeps: from 1 s to 100 years. Defaults to 1 h.
    pub sweep_every: Option<Duration>,
}

impl Settings for RegistryConfig {
    fn read(reader: &mut Reader<'_>) -> Self {
        let overflows = [
            ("reject", Overflow::Reject),
            ("evict_oldest", Overflow::EvictOldest),
        ];
        let mut config = Self {
            max_listeners: reader.number("max_listeners", ENTRIES, 1_000),
            max_per_topic: reader.number("max_per_topic", ENTRIES, 10),
            overflow: reader.choice("overflow", overflows),
            ttl: reader.number("ttl", FROM_1_SECOND, None),
            breaker_failures: reader.number("breaker_failures", 1..=u32::MAX.into(), None),
            breaker_retry: reader.number("breaker_retry", FROM_1_SECOND, None),
            sweep_every: reader.number("sweep_every", FROM_1_SECOND, Some(HOUR)),
        };
        // Without failures, a retry time would be ignored silently.
        if let (None, Some(retry)) = (config.breaker_failures, config.breaker_retry) {
            config.breaker_retry = None;
            let name = reader.name::<Duration>("breaker_retry");
            let failures = reader.name::<u32>("breaker_failures");
            reader.reject(
                name,
                retry.as_millis().to_string(),
                format!("requires {failures}"),
            );
        }
        config
    }
}

crate::config::config!(RegistryConfig);
