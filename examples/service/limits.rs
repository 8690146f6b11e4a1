//! Limits from the environment.
//!
//! An invalid limit must not keep a service from starting at night. Its default is used, and the
//! library reports it as an event. With `SERVICE_LIMITS=strict`, as in a test of the deployment, it
//! is an error.

use std::env;
use std::time::Duration;

use example_support::Result;
use leakproof::{DedupConfig, LruConfig, RegistryConfig};

/// The idle timeout of sessions whose users disconnect silently.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The bytes of all message ids. Senders choose the ids, so a bound on their number is not enough.
const MAX_BYTES: usize = 64 << 20;
const MAX_CONNECTIONS: u64 = 1024;
const MAX_WORK_MS: u64 = 5 * 60 * 1000;

pub(crate) struct Limits {
    /// `SERVICE_DEDUP_TTL_MS` and others, of message ids.
    pub(crate) dedup: DedupConfig,
    /// `SERVICE_SESSIONS_IDLE_TIMEOUT_MS` and others.
    pub(crate) sessions: LruConfig,
    /// `SERVICE_EVENTS_MAX_PER_TOPIC` and others, of handlers.
    pub(crate) events: RegistryConfig,
    /// `SERVICE_REDIS_URL`, of the server that several instances share.
    pub(crate) redis: Option<String>,
    pub(crate) max_connections: usize,
    /// The time for which the lease of a message in progress is extended.
    pub(crate) max_work: Duration,
}

impl Limits {
    pub(crate) fn from_env() -> Result<Self> {
        let is_strict = env::var("SERVICE_LIMITS").is_ok_and(|value| value == "strict");
        let max_connections = count("SERVICE_MAX_CONNECTIONS", MAX_CONNECTIONS)? as usize;
        let max_work = Duration::from_millis(count("SERVICE_MAX_WORK_MS", MAX_WORK_MS)?);
        let redis = env::var("SERVICE_REDIS_URL").ok();
        let mut limits = if is_strict {
            Self {
                dedup: DedupConfig::from_env("SERVICE_DEDUP")?,
                sessions: LruConfig::from_env("SERVICE_SESSIONS")?,
                events: RegistryConfig::from_env("SERVICE_EVENTS")?,
                redis,
                max_connections,
                max_work,
            }
        } else {
            Self {
                dedup: DedupConfig::from_env_lenient("SERVICE_DEDUP").0,
                sessions: LruConfig::from_env_lenient("SERVICE_SESSIONS").0,
                events: RegistryConfig::from_env_lenient("SERVICE_EVENTS").0,
                redis,
                max_connections,
                max_work,
            }
        };
        limits.dedup.max_bytes.get_or_insert(MAX_BYTES);
        limits.sessions.idle_timeout.get_or_insert(IDLE_TIMEOUT);
        Ok(limits)
    }
}

fn count(variable: &str, default: u64) -> Result<u64> {
    let Ok(text) = env::var(variable) else {
        return Ok(default);
    };
    let count = text.parse().ok().filter(|&count| count > 0);
    count.ok_or_else(|| format!("{variable} must be a number above zero (got {text})").into())
}
