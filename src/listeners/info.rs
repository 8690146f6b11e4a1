//! `ListenerInfo`: what can be told of a listener.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::slot::{ListenerId, Slot};
use crate::clock::Nanos;

/// What a registry tells of one listener.
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
    /// How often it was called. Emits under way are counted when they end.
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
