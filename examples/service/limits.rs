//! What whoever deploys may set, from the environment.
//!
//! A wrong variable must not keep a service from starting at three in the morning: it has its default, and the library
//! tells of it, as an event. Where `SERVICE_LIMITS=strict`, as in a test of the deployment, it is an error instead.

use std::env;
use std::time::Duration;

use leakproof::{ConfigError, DedupConfig, LruConfig, RegistryConfig};

/// Sessions of users who never said goodbye.
const MAX_IDLE: Duration = Duration::from_secs(5 * 60);

pub(crate) struct Limits {
    /// `SERVICE_DEDUP_TTL_MS` and so on: of the messages' ids.
    pub(crate) dedup: DedupConfig,
    /// `SERVICE_SESSIONS_MAX_IDLE_MS` and so on.
    pub(crate) sessions: LruConfig,
    /// `SERVICE_EVENTS_MAX_PER_TOPIC` and so on: of the handlers.
    pub(crate) events: RegistryConfig,
}

impl Limits {
    pub(crate) fn from_env() -> Result<Self, ConfigError> {
        let is_strict = env::var("SERVICE_LIMITS").is_ok_and(|how| how == "strict");
        let mut limits = if is_strict {
            Self {
                dedup: DedupConfig::from_env("SERVICE_DEDUP")?,
                sessions: LruConfig::from_env("SERVICE_SESSIONS")?,
                events: RegistryConfig::from_env("SERVICE_EVENTS")?,
            }
        } else {
            Self {
                dedup: DedupConfig::from_env_lenient("SERVICE_DEDUP").0,
                sessions: LruConfig::from_env_lenient("SERVICE_SESSIONS").0,
                events: RegistryConfig::from_env_lenient("SERVICE_EVENTS").0,
            }
        };
        limits.sessions.max_idle.get_or_insert(MAX_IDLE);
        Ok(limits)
    }
}
