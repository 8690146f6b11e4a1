//! `RemovalCause`: the one list of reasons for which an entry leaves a collection.

use std::fmt;

/// Why an entry left a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Its time to live, or the age that the collection allows, was reached.
    Expired,
    /// It was not used for as long as the collection allows.
    Idle,
    /// A bound was reached, and it was the next to go.
    Evicted,
    /// Another took its place under the same key.
    Replaced,
    /// It was removed by call: `remove`, `detach`, `clear`, a guard that was dropped, and the like.
    Removed,
    /// It was never let in: alone, it is above a bound.
    Rejected,
    /// The scope that it belonged to ended.
    ScopeEnded,
    /// What it was to live as long as is gone.
    OwnerGone,
    /// It was to be called a number of times, and was.
    UsedUp,
    /// It failed too often in a row.
    Failed,
}

impl RemovalCause {
    /// The cause in a word or two, as it stands in log lines and metrics: `"expired"`, `"scope ended"`, …
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
            Self::OwnerGone => "owner gone",
            Self::UsedUp => "used up",
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
