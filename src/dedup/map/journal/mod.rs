//! The hooks of a map's journal. Without the feature `persist`, they compile to nothing.

#[cfg(not(feature = "persist"))]
mod absent;
#[cfg(feature = "persist")]
mod attach;
#[cfg(feature = "persist")]
mod codecs;
#[cfg(feature = "persist")]
mod contents;
#[cfg(feature = "persist")]
mod present;

#[cfg(not(feature = "persist"))]
pub(crate) use absent::{Hook, Owner, Pending};
#[cfg(feature = "persist")]
pub(crate) use codecs::Attachment;
#[cfg(feature = "persist")]
pub(crate) use present::{Hook, Owner, Pending};
