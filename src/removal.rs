//! `RemovalCause`: the reason for which an entry was removed from a collection.

use std::fmt;

/// The reason for which an entry was removed from a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RemovalCause {
    /// The entry's time to live ended.
    Expired,
    /// The entry was not accessed for the idle timeout.
    Idle,
    /// A bound was reached, and the entry was the next to evict.
    Evicted,
    /// Another entry was stored under the same key.
    Replaced,
    /// A call such as `remove`, `detach` or `clear`, or the drop of a guard, removed the entry.
    Removed,
    /// The entry alone exceeds a bound, so it was not stored.
    Rejected,
    /// The listener's scope ended.
    ScopeEnded,
    /// The listener's owner was dropped.
    OwnerDropped,
    /// The listener reached its call limit.
    CallLimitReached,
    /// The circuit breaker detached the listener after too many failures in a row.
    Failed,
}

impl RemovalCause {
    /// Returns the cause as it appears in log lines and JSON: `"expired"`, `"scope ended"`, …
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
            Self::Rejected => "rejected",
            Self::ScopeEnded => "scope ended",
            Self::OwnerDropped => "owner dropped",
            Self::CallLimitReached => "call limit reached",
            Self::Failed => "failed",
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for RemovalCause {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for RemovalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
