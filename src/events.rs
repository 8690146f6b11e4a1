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

#[cfg(feature = "tracing")]
use crate::stats::CollectionKind;
use crate::stats::Usage;

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
    /// Reports that a collection reached a limit for the first time.
    fn limit_reached(collection: &str, limit: &str, usage: &Usage) {
        // A full cache does what it is for.
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
            "a limit was reached for the first time"
        );
    }

    /// Reports the first panic of user code that the crate caught in one place.
    fn panicked(collection: &str, code: &str) {
        tracing::warn!(target: "leakproof::panic", collection, code, "user code panicked for the first time");
    }

    /// Reports that a finding of a `Monitor` appeared, worsened or ended.
    #[cfg(feature = "monitor")]
    fn finding_changed(finding: &FindingEvent<'_>) {
        let level = match finding.importance {
            Importance::Info => tracing::Level::INFO,
            Importance::Warn => tracing::Level::WARN,
            Importance::Error => tracing::Level::ERROR,
        };
        let FindingEvent { change, collection, kind, severity, text, .. } = *finding;
        event!(level, "leakproof::finding", change, collection, kind, severity, %text, "a finding {change}");
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

/// The fields of an event about a finding.
#[cfg(feature = "monitor")]
#[cfg_attr(
    not(feature = "tracing"),
    allow(dead_code, reason = "events read them")
)]
pub(crate) struct FindingEvent<'a> {
    pub(crate) importance: Importance,
    pub(crate) change: &'a str,
    pub(crate) collection: Option<&'a str>,
    pub(crate) kind: &'a str,
    pub(crate) severity: &'a str,
    pub(crate) text: &'a dyn Display,
}

/// The level of an event about a finding.
#[cfg(feature = "monitor")]
#[cfg_attr(
    not(feature = "tracing"),
    allow(dead_code, reason = "events read them")
)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Importance {
    Info,
    Warn,
    Error,
}

/// The limits of one collection that were reported as events. Each limit is reported once.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportedLimits(Vec<&'static str>);

impl ReportedLimits {
    /// Adds the limits that the collection reached, and returns those that were not reported before.
    pub(crate) fn add(&mut self, usage: &Usage) -> Vec<&'static str> {
        let reached = usage.limits_reached.iter().copied();
        let new: Vec<_> = reached.filter(|limit| !self.0.contains(limit)).collect();
        self.0.extend(&new);
        new
    }

    /// Emits an event for each limit that was not reported before.
    pub(crate) fn report(&mut self, collection: &str, usage: &Usage) {
        for limit in self.add(usage) {
            limit_reached(collection, limit, usage);
        }
    }
}
