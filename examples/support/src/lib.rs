//! What the examples share.

pub mod lines;
pub mod output;
pub mod random;
pub mod svg;
pub mod terminal;
pub mod text;
pub mod time;

pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

pub const MILLION: usize = 1_000_000;
