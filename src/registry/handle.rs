//! The registry as guards and scopes see it, whatever its topic and event types are.

/// Guards and scopes hold this weakly, so they do not keep the registry alive.
pub(super) trait RegistryHandle: Send + Sync {
    /// Detaches a listener. Returns `false` if the listener is not attached.
    fn detach(&self, listener: u64) -> bool;

    /// Pauses or resumes a listener. Returns `false` if the listener is not attached.
    fn set_paused(&self, listener: u64, paused: bool) -> bool;

    /// Reports the result of an event that a queue delivered.
    #[cfg(feature = "queue")]
    fn report(&self, listener: u64, failed: bool);

    /// Detaches the listeners of a scope's generation. Returns their number.
    fn detach_members(&self, generation: u64) -> usize;
}
