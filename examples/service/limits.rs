//! Limits from the environment.
//!
//! An invalid limit must not keep a service from starting at night. Its default is used, and the
//! library reports it as an event. With `SERVICE_LIMITS=strict`, as in a test of the deployment, it
//! is an error.

use std::env;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use example_support::Result;
use leakproof::{DedupConfig, LruConfig, RegistryConfig};

/// The idle timeout of sessions whose users disconnect silently.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The bytes of all message ids. Senders choose the ids, so a bound on their number is not enough.
const MAX_BYTES: usize = 64 << 20;

/// The fields are documented by `--help`.
pub(crate) struct Limits {
    pub(crate) dedup: DedupConfig,
    pub(crate) sessions: LruConfig,
    pub(crate) events: RegistryConfig,
    pub(crate) redis: Option<String>,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) max_connections: NonZeroU32,
    pub(crate) max_chats: NonZeroU32,
    pub(crate) chat_per_minute: NonZeroU32,
    pub(crate) max_work: Duration,
}

impl Limits {
    pub(crate) fn from_env() -> Result<Self> {
        let mut limits = Self {
            dedup: DedupConfig::from_env_lenient("SERVICE_DEDUP").0,
            sessions: LruConfig::from_env_lenient("SERVICE_SESSIONS").0,
            events: RegistryConfig::from_env_lenient("SERVICE_EVENTS").0,
            redis: env::var("SERVICE_REDIS_URL").ok(),
            journal: env::var_os("SERVICE_JOURNAL").map(PathBuf::from),
            max_connections: count("SERVICE_MAX_CONNECTIONS", 1024)?,
            max_chats: count("SERVICE_MAX_CHATS", 100_000)?,
            chat_per_minute: count("SERVICE_CHAT_PER_MINUTE", 600)?,
            max_work: Duration::from_millis(count("SERVICE_MAX_WORK_MS", 300_000)?.get().into()),
        };
        if env::var("SERVICE_LIMITS").is_ok_and(|value| value == "strict") {
            limits.dedup = DedupConfig::from_env("SERVICE_DEDUP")?;
            limits.sessions = LruConfig::from_env("SERVICE_SESSIONS")?;
            limits.events = RegistryConfig::from_env("SERVICE_EVENTS")?;
        }
        limits.dedup.max_bytes.get_or_insert(MAX_BYTES);
        limits.sessions.idle_timeout.get_or_insert(IDLE_TIMEOUT);
        Ok(limits)
    }
}

fn count(variable: &str, default: u32) -> Result<NonZeroU32> {
    let text = env::var(variable).unwrap_or_else(|_| default.to_string());
    NonZeroU32::from_str(&text)
        .map_err(|_| format!("{variable} must be a number above zero (got {text})").into())
}
