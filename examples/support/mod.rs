//! What the examples share.

pub(crate) mod lines;
pub(crate) mod output;
pub(crate) mod random;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod time;

pub(crate) type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

pub(crate) const MILLION: usize = 1_000_000;
