//! `ListenerRegistry`: handlers by topic.
//!
//! Modules from low to high: `error`, `handle`, `scope` and `emit_stack` know nothing of listeners.
//! `listener`, `handler`, `breaker` and `list` describe one listener and one topic, `table` all of
//! them. `wait_for` waits for the drop of a handler. `inner` puts the table behind its lock,
//! `registry` is its handle, and `builder`, `register`, `emit`, `emission` and `queue` add the
//! operations.

mod breaker;
mod builder;
mod config;
mod counters;
mod emission;
mod emit;
mod emit_stack;
mod error;
mod handle;
mod handler;
mod info;
mod inner;
mod list;
mod listener;
#[cfg(feature = "queue")]
mod queue;
mod register;
#[allow(
    clippy::module_inception,
    reason = "the type that the folder is named after"
)]
mod registry;
mod scope;
mod subscription;
mod table;
#[cfg(test)]
mod tests;
mod wait_for;
#[cfg(feature = "queue")]
mod waiting_sends;

pub use breaker::CircuitBreaker;
pub use builder::RegistryBuilder;
pub use config::RegistryConfig;
pub use emission::EmitSummary;
pub use error::{Limit, RecursionLimit, Rejected};
pub use handler::HandlerResult;
pub use info::ListenerInfo;
pub use listener::ListenerId;
#[cfg(feature = "queue")]
pub use queue::{Queue, QueueOverflow};
pub use register::ListenerBuilder;
pub use registry::{ListenerRegistry, WeakRegistry};
pub use scope::{Generation, Scope};
pub use subscription::{DetachError, Subscription};
pub use table::Overflow;
