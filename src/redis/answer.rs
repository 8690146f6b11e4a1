//! `Decided`: an answer, with the tier that decided it.

#[cfg(doc)]
use super::error::SharedError;

/// The tier that decided an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The server decided, for all instances.
    Shared,
    /// This instance decided alone: it knew the answer, or the server was unavailable.
    Local,
}

/// An answer, and the tier that decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided<T> {
    /// The answer.
    pub answer: T,
    /// The tier that decided it.
    pub tier: Tier,
}

impl<T> Decided<T> {
    pub(super) fn shared(answer: T) -> Self {
        let tier = Tier::Shared;
        Self { answer, tier }
    }

    pub(super) fn local(answer: T) -> Self {
        let tier = Tier::Local;
        Self { answer, tier }
    }
}

/// The decision about an id if the server is unavailable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unavailable {
    /// The local tier decides: exactly for each instance, so each of several instances may handle
    /// the id. No message is lost.
    #[default]
    Degrade,
    /// The call fails with [`SharedError::Unavailable`].
    Refuse,
}
