//! What an operator wants to read once, as structured events: with the feature `tracing`.
//!
//! Each is told when something changes, not as often as it happens: neither a storm of rejections nor a figure that swings
//! about a threshold floods a log. Nothing is told by calls that go well. No lock is held while a subscriber is called; a
//! panic in it is contained, and counted as one of user code of the registry, monitor or sweeper. (One while a config is
//! read goes to the caller.) What a subscriber causes while it is called is not told, as `tracing` has it. Without the feature
//! none of this is compiled.
//!
//! | target | level | told | fields |
//! | --- | --- | --- | --- |
//! | `leakproof::limit` | warn, of a cache info | a collection has reached a limit for the first time; by a sample of the `Monitor` or a sweep of the [`Sweeper`](crate::Sweeper) that watches it, once each | `collection`, `entries`, `max_entries`, `stats` (as text) |
//! | `leakproof::finding` | info, warn or error, by severity; info where it has ended | a finding of a `Monitor` appears, worsens or ends | `change` (`appeared`, `worsened`, `ended`), `collection` (none: the process), `kind`, `severity`, `text` |
//! | `leakproof::breaker` | warn, info where it has closed | a breaker has silenced or detached a listener, or a probe of it has succeeded | `state` (`silenced`, `detached`, `closed`), `listener`, `label`, `key`, `location`, `failures` |
//! | `leakproof::rejected` | warn | a listener found no room, for the first time since one did, be it in the topic or in the registry | `limit`, `max`, `location`, `places` (of those that are present) |
//! | `leakproof::config` | warn | a lenient reader has taken the default for what is wrong; each time that it reads | `variable`, `value`, `problem`, `allowed` |
//! | `leakproof::sweep` | debug | a sweep in the background has freed something | `collection`, `freed` |
//!
//! `collection` is the name that something is watched under; what the builders' `sweep_every` watches is called `dedup`,
//! `lru` or `listeners`, and told of by `leakproof::sweep` alone. What comes from a `Monitor` needs the feature `monitor`
//! too.

use std::fmt::Display;
use std::panic::Location;

#[cfg(feature = "monitor")]
use crate::monitor::Change;
use crate::stats::Stats;

/// Whether there is anybody to tell: what is done for events alone need not be done otherwise.
pub(crate) const ENABLED: bool = cfg!(feature = "tracing");

/// Events whose bodies are compiled with the feature, and are empty without it.
macro_rules! events {
    ($($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        $(#[$attribute])*
        #[cfg(feature = "tracing")]
        pub(crate) fn $name($($argument: $type),*) $body

        $(#[$attribute])*
        #[cfg(not(feature = "tracing"))]
        #[inline(always)]
        pub(crate) fn $name($(_: $type),*) {}
    )*};
}

/// An event of level error, warn or info. A level is part of what is registered of an event at compile time, so it cannot
/// simply be passed.
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
    /// A collection has reached a limit.
    fn limit_reached(collection: &str, stats: &Stats) {
        let level = if stats.may_be_full() { tracing::Level::INFO } else { tracing::Level::WARN };
        event!(
            level,
            "leakproof::limit",
            collection,
            entries = stats.len,
            max_entries = stats.max_entries,
            %stats,
            "a limit has been reached for the first time"
        );
    }

    /// A finding has appeared, worsened or ended.
    #[cfg(feature = "monitor")]
    fn finding_changed(change: &Change) {
        use crate::monitor::Severity;
        let (name, finding) = (change.as_str(), change.finding());
        let level = match finding.severity {
            _ if matches!(change, Change::Ended(_)) => tracing::Level::INFO,
            Severity::Normal | Severity::Notice => tracing::Level::INFO,
            Severity::Warning => tracing::Level::WARN,
            Severity::Critical => tracing::Level::ERROR,
        };
        event!(
            level,
            "leakproof::finding",
            change = name,
            collection = finding.collection.as_deref(),
            kind = finding.kind.as_str(),
            severity = finding.severity.as_str(),
            text = %finding,
            "a finding has {name}"
        );
    }

    /// The breaker has taken a listener out of service, or back into it.
    fn breaker_turned(
        state: BreakerState,
        listener: u64,
        label: Option<&str>,
        key: Option<&str>,
        location: &Location<'_>,
    ) {
        let (level, state, failures) = match state {
            BreakerState::Silenced { failures } => (tracing::Level::WARN, "silenced", Some(failures)),
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
            "the breaker of a listener: {state}"
        );
    }

    /// A listener found no room.
    fn listener_rejected(limit: &str, max: usize, location: &Location<'_>, places: &dyn Display) {
        tracing::warn!(
            target: "leakproof::rejected",
            limit,
            max,
            %location,
            %places,
            "a listener is rejected: there is no room"
        );
    }

    /// A setting was wrong, and has its default.
    fn setting_replaced(variable: &str, value: &str, problem: &dyn Display, allowed: &str) {
        tracing::warn!(
            target: "leakproof::config",
            variable,
            value,
            %problem,
            allowed,
            "a setting is wrong, and has its default"
        );
    }

    /// A sweep in the background has freed something.
    fn swept(collection: &str, freed: usize) {
        tracing::debug!(target: "leakproof::sweep", collection, freed, "swept");
    }
}

/// What a breaker has done to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// It is not called until a probe.
    Silenced {
        /// In a row.
        failures: u32,
    },
    /// It is gone.
    Detached {
        /// In a row.
        failures: u32,
    },
    /// A probe has succeeded, and it is called again.
    Closed,
}
