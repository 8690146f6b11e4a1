//! Structured events for operators, with the feature `tracing`.
//!
//! An event marks a change, not each occurrence: neither a storm of rejections nor a figure that
//! swings around a threshold floods a log. Successful calls emit nothing. The crate holds no lock
//! while it calls a subscriber. It catches and counts a panic in a subscriber, except while a
//! config is read. Without the feature, events compile to nothing.
//!
//! | target | level | emitted when | fields |
//! | --- | --- | --- | --- |
//! | `leakproof::limit` | warn, for a cache info | a collection reaches a limit for the first time, once for each limit | `collection`, `limit` (the option, such as `max_bytes`), `entries`, `max_entries`, `stats` |
//! | `leakproof::finding` | info, warn or error by severity, info when it ends | a finding of a `Monitor` appears, worsens or ends | `change` (`appeared`, `worsened`, `ended`), `collection` (absent for the process), `kind`, `severity`, `text` |
//! | `leakproof::breaker` | warn, info when it closes | a circuit breaker opens, detaches its listener, or closes after a successful probe | `state` (`open`, `detached`, `closed`), `listener`, `label`, `key`, `location`, `failures` |
//! | `leakproof::rejected` | warn | a registration is rejected for the first time since one found room, in the topic or in the registry | `limit`, `max`, `location`, `places` (of the present listeners) |
//! | `leakproof::panic` | warn | user code of a collection, or a sweep of a sweeper, panics for the first time | `collection`, `code` (such as `removal callback`) |
//! | `leakproof::config` | warn | a lenient reader replaces an invalid variable by its default, at each read | `variable`, `value`, `requirement` |
//! | `leakproof::shared` | warn, info when it recovers | a shared deduplicator changes its state | `namespace`, `change` (`breaker open`, `degraded`, `refused`, `recovered`, `eviction policy`), `detail` |
//! | `leakproof::journal` | info, warn if it failed | a journal was replayed at `build`, cannot be written, or can be written again | `state` (`replayed`, `failed`, `recovered`), `path`, `report` or `error` |
//! | `leakproof::sweep` | debug | a background sweep freed entries | `collection`, `freed` |
//!
//! Limits are detected by a sample of a `Monitor` or by a sweep of a [`Sweeper`](crate::Sweeper)
//! that watches the collection. `collection` is the name under which it is watched. Collections
//! that a builder's `sweep_every` watches are named `dedup`, `lru` or `listeners`, and emit no
//! `leakproof::limit` events, because several collections share each name.
//!
//! A panic is reported by the collection itself, at once and on every path. A collection does not
//! know under which name it is watched, so `collection` is `lru` or `listeners` there.

use std::fmt::Display;
use std::panic::Location;

#[cfg(feature = "tracing")]
use crate::stats::CollectionKind;
use crate::stats::Usage;

/// `true` if events are compiled in. Work that only serves events is skipped otherwise.
pub(crate) const ENABLED: bool = cfg!(feature = "tracing");

/// Defines functions with a body if the feature is on, and without one otherwise.
macro_rules! events {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        $(#[$attribute])*
        #[cfg(feature = "tracing")]
        pub(crate) fn $name($($argument: $type),*) $body

        $(#[$attribute])*
        #[cfg(not(feature = "tracing"))]
        #[inline]
        pub(crate) fn $name($(_: $type),*) {}
    )*};
}

/// Emits an event whose level is known only at run time. `tracing` registers an event with its
/// level at compile time, so each level needs an event of its own.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:expr, $target:literal, $($fields:tt)*) => {
        match $level {
            tracing::Level::ERROR => tracing::error!(target: $target, $($fields)*),
            tracing::Level::WARN => tracing::warn!(target: $target, $($fields)*),
            _ => tracing::info!(target: $target, $($fields)*),
        }
    };
}

events! {
    /// Reports that a collection reached a limit for the first time.
    fn limit_reached(collection: &str, limit: &str, usage: &Usage) {
        // A cache that is full does its job.
        let is_cache = usage.kind == CollectionKind::Cache;
        let level = if is_cache { tracing::Level::INFO } else { tracing::Level::WARN };
        event!(
            level,
            "leakproof::limit",
            collection,
            limit,
            entries = usage.len,
            max_entries = usage.max_entries,
            stats = %usage,
            "limit reached for the first time: {limit}"
        );
    }

    /// Reports the first panic of a collection's user code.
    fn panicked(collection: &str, code: &str) {
        tracing::warn!(target: "leakproof::panic", collection, code, "user code panicked: {code}");
    }

    /// Reports that a finding of a `Monitor` appeared, worsened or ended.
    #[cfg(feature = "monitor")]
    fn finding_changed(
        importance: Importance,
        change: &str,
        collection: Option<&str>,
        kind: &str,
        severity: &str,
        text: &dyn Display,
    ) {
        let level = match importance {
            Importance::Info => tracing::Level::INFO,
            Importance::Warn => tracing::Level::WARN,
            Importance::Error => tracing::Level::ERROR,
        };
        event!(level, "leakproof::finding", change, collection, kind, severity, %text, "finding {change}");
    }

    /// Reports that a circuit breaker opened, detached its listener or closed.
    fn breaker_turned(
        state: BreakerState,
        listener: u64,
        label: Option<&str>,
        key: Option<&str>,
        location: &Location<'_>,
    ) {
        let (level, state, failures) = match state {
            BreakerState::Open { failures } => (tracing::Level::WARN, "open", Some(failures)),
            BreakerState::Detached { failures } => (tracing::Level::WARN, "detached", Some(failures)),
            BreakerState::Closed => (tracing::Level::INFO, "closed", None),
        };
        event!(
            level,
            "leakproof::breaker",
            state,
            listener,
            label,
            key,
            %location,
            failures,
            "circuit breaker of a listener: {state}"
        );
    }

    /// Reports that a registration was rejected.
    fn listener_rejected(limit: &str, max: usize, location: &Location<'_>, places: &dyn Display) {
        tracing::warn!(
            target: "leakproof::rejected",
            limit,
            max,
            %location,
            %places,
            "listener rejected: {limit} is {max}"
        );
    }

    /// Reports that an invalid variable was replaced by its default.
    fn setting_replaced(variable: &str, value: &str, requirement: &str) {
        tracing::warn!(
            target: "leakproof::config",
            variable,
            value,
            requirement,
            "invalid {variable} replaced by its default"
        );
    }

    /// Reports that a shared deduplicator lost or regained its server.
    #[cfg(feature = "redis")]
    fn shared_changed(namespace: &str, change: &str, detail: &str) {
        let level = if change == "recovered" { tracing::Level::INFO } else { tracing::Level::WARN };
        event!(level, "leakproof::shared", namespace, change, detail, "shared deduplicator: {change}");
    }

    /// Reports that a journal was replayed.
    #[cfg(feature = "persist")]
    fn journal_replayed(path: &dyn Display, report: &dyn Display) {
        tracing::info!(
            target: "leakproof::journal",
            state = "replayed",
            %path,
            %report,
            "journal replayed"
        );
    }

    /// Reports that a journal cannot be written.
    #[cfg(feature = "persist")]
    fn journal_failed(path: &dyn Display, error: &str) {
        tracing::warn!(
            target: "leakproof::journal",
            state = "failed",
            %path,
            error,
            "journal cannot be written"
        );
    }

    /// Reports that a journal can be written again.
    #[cfg(feature = "persist")]
    fn journal_recovered(path: &dyn Display) {
        tracing::info!(
            target: "leakproof::journal",
            state = "recovered",
            %path,
            "journal can be written again"
        );
    }

    /// Reports that a background sweep freed entries.
    fn swept(collection: &str, freed: usize) {
        tracing::debug!(target: "leakproof::sweep", collection, freed, "swept");
    }
}

/// The change of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// The breaker opened; the listener is not called until a probe.
    Open {
        /// Failures in a row.
        failures: u32,
    },
    /// The breaker detached the listener.
    Detached {
        /// Failures in a row.
        failures: u32,
    },
    /// A probe succeeded; the listener is called again.
    Closed,
}

/// The level of an event about a finding.
#[cfg(feature = "monitor")]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Importance {
    Info,
    Warn,
    Error,
}

/// The limits of one collection that events have reported. Each one is reported once.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportedLimits(Vec<&'static str>);

impl ReportedLimits {
    /// Marks the limits that were reached as reported, and returns the new ones.
    pub(crate) fn update(&mut self, usage: &Usage) -> Vec<&'static str> {
        let reached = usage.limits_reached.iter().copied();
        let new: Vec<_> = reached.filter(|limit| !self.0.contains(limit)).collect();
        self.0.extend(&new);
        new
    }
}
