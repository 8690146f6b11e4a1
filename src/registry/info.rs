//! `ListenerInfo`: what can be told of a listener.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::slot::{ListenerId, Slot};
use crate::clock::Nanos;

/// What a registry tells of one listener.
///
/// With the feature `serde` it serializes under these names, the age as `age_ms` and the location as a line of text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenerInfo<T> {
    /// Which one it is.
    pub id: ListenerId,
    /// Of what it is told.
    pub topic: Arc<T>,
    /// What it was labelled.
    pub label: Option<Arc<str>>,
    /// The key under which another would replace it.
    pub key: Option<Arc<str>>,
    /// Its priority.
    pub priority: i32,
    /// How long ago it was registered.
    pub age: Duration,
    /// How often it was called. While an emit is under way, this may count a call that it is yet to make, or to skip.
    pub calls: u64,
    /// How often in a row it failed or panicked, up to now.
    pub failures: u32,
    /// Its guard has paused it.
    pub paused: bool,
    /// The breaker has silenced it, until a probe succeeds.
    pub silenced: bool,
    /// Where it was registered.
    pub location: &'static Location<'static>,
}

impl<T> ListenerInfo<T> {
    /// What the slot knows.
    pub(super) fn new(slot: &Slot, topic: Arc<T>, now: Nanos) -> Self {
        Self {
            id: ListenerId(slot.number()),
            topic,
            label: slot.traits.label.clone(),
            key: slot.traits.key.clone(),
            priority: slot.traits.priority,
            age: Duration::from_nanos(now.saturating_sub(slot.registered)),
            calls: 0,
            failures: 0,
            paused: slot.is_paused(),
            silenced: false,
            location: slot.location,
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
        map.serialize_entry("silenced", &self.silenced)?;
        map.serialize_entry("location", &format_args!("{}", self.location))?;
        map.end()
    }
}
