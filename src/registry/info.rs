//! The report about one listener.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::breaker::BreakerState;
use super::listener::{Listener, ListenerId};
use crate::clock::Nanos;

/// The state of one listener, from
/// [`ListenerRegistry::listeners`](crate::ListenerRegistry::listeners) and the removal callback.
///
/// With the feature `serde` it serializes under these names, `age` as `age_ms`, and `location` as
/// text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenerInfo<T> {
    /// The id of the listener.
    pub id: ListenerId,
    /// The topic that the listener is registered for.
    pub topic: Arc<T>,
    /// The label, for logs.
    pub label: Option<Arc<str>>,
    /// The key under which another registration replaces the listener.
    pub key: Option<Arc<str>>,
    /// The priority.
    pub priority: i32,
    /// The time since the registration.
    pub age: Duration,
    /// Calls so far. During an emit this includes the calls that the emit has yet to make or to
    /// skip.
    pub calls: u64,
    /// Consecutive failures and panics.
    pub failures: u32,
    /// Is `true` if the listener is paused.
    pub paused: bool,
    /// Is `true` if the circuit breaker skips the listener until a probe succeeds.
    pub breaker_open: bool,
    /// The source location of the registration.
    pub location: &'static Location<'static>,
}

impl<T> ListenerInfo<T> {
    pub(super) fn new(
        listener: &Listener,
        breaker: &BreakerState,
        topic: Arc<T>,
        calls: u64,
        now: Nanos,
    ) -> Self {
        Self {
            id: ListenerId(listener.number()),
            topic,
            label: listener.options.label.clone(),
            key: listener.options.key.clone(),
            priority: listener.options.priority,
            // The listener may have been registered after `now` was read.
            age: Duration::from_nanos(now.saturating_sub(listener.registered)),
            calls,
            failures: breaker.failures(),
            paused: listener.is_paused(),
            breaker_open: breaker.is_open(),
            location: listener.location,
        }
    }
}

#[cfg(feature = "serde")]
impl<T: serde::Serialize> serde::Serialize for ListenerInfo<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id.0)?;
        map.serialize_entry("topic", &*self.topic)?;
        map.serialize_entry("label", &self.label.as_deref())?;
        map.serialize_entry("key", &self.key.as_deref())?;
        map.serialize_entry("priority", &self.priority)?;
        map.serialize_entry("age_ms", &crate::stats::ms(self.age))?;
        map.serialize_entry("calls", &self.calls)?;
        map.serialize_entry("failures", &self.failures)?;
        map.serialize_entry("paused", &self.paused)?;
        map.serialize_entry("breaker_open", &self.breaker_open)?;
        map.serialize_entry("location", &format_args!("{}", self.location))?;
        map.end()
    }
}
