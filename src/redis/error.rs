//! The errors of a shared deduplicator.

use std::error::Error;
use std::fmt;

use crate::limits::BuildError;

/// The error of a call of a [`SharedDedup`](crate::redis::SharedDedup).
///
/// None of them means that an id is a duplicate: deliver the message again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedError {
    /// An option is missing or out of range.
    Build(BuildError),
    /// An address is not valid.
    Address {
        /// The reason.
        reason: String,
    },
    /// The server rejects the credentials, or they lack the permission for a command.
    Denied {
        /// The error of the server.
        reason: String,
    },
    /// The server did not answer in time, or refused. Whether it executed the call is unknown.
    Unavailable {
        /// The last failure.
        reason: String,
    },
    /// The key of the id holds a value that this crate did not write.
    ForeignKey,
    /// A value could not be encoded or decoded.
    Value {
        /// The error of its codec.
        reason: String,
    },
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => error.fmt(f),
            Self::Address { reason } => write!(f, "invalid address: {reason}"),
            Self::Denied { reason } => write!(f, "the server denies access: {reason}"),
            Self::Unavailable { reason } => write!(f, "the server is unavailable: {reason}"),
            Self::ForeignKey => {
                f.write_str("the key holds a value of other software; choose another namespace")
            }
            Self::Value { reason } => write!(f, "the value has no valid encoding: {reason}"),
        }
    }
}

impl Error for SharedError {}

impl From<BuildError> for SharedError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl SharedError {
    pub(super) fn value(error: &std::io::Error) -> Self {
        Self::Value {
            reason: error.to_string(),
        }
    }
}

/// The error of [`SharedTicket::commit`](crate::redis::SharedTicket::commit). It gives the value
/// back, unless the caller passed a reference and still has it: `V` is `()` then.
#[derive(Clone, PartialEq, Eq)]
pub enum CommitError<V> {
    /// The lease has expired. Nothing was changed.
    LeaseExpired {
        /// The value that was to be recorded.
        value: V,
    },
    /// The call failed. It is unknown whether the id is recorded. If it is not, its claim is
    /// released, or ends with its lease if the release fails as well.
    Failed {
        /// The value that was to be recorded.
        value: V,
        /// The reason.
        error: SharedError,
    },
}

impl<V> CommitError<V> {
    /// Returns the value that was to be recorded.
    pub fn into_value(self) -> V {
        match self {
            Self::LeaseExpired { value } | Self::Failed { value, .. } => value,
        }
    }
}

impl<V> fmt::Debug for CommitError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseExpired { .. } => f.debug_struct("LeaseExpired").finish_non_exhaustive(),
            Self::Failed { error, .. } => f
                .debug_struct("Failed")
                .field("error", error)
                .finish_non_exhaustive(),
        }
    }
}

impl<V> fmt::Display for CommitError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseExpired { .. } => f.write_str(
                "the lease on the id has expired; record the id instead if it was handled",
            ),
            Self::Failed { error, .. } => error.fmt(f),
        }
    }
}

impl<V> Error for CommitError<V> {}
