//! scratch
#![allow(missing_docs)]
mod bounds;
mod clock;
mod compound;
mod dedup;
mod hash;
mod key;
mod shards;
mod stats;
mod sweep;
mod varint;
mod window;
pub use bounds::BuildError;
pub use clock::{Clock, ManualClock};
pub use compound::{CompoundKey, MissingPart};
pub use dedup::{Claim, DedupBuilder, DedupMap, DedupSet, LeaseLapsed, Seen, Shared, Ticket, Token, Unsync};
pub use key::{AsKey, ByteKey, Key};
pub use stats::Stats;
pub use sweep::{Sweep, Sweeper, Swept};
/// The single-threaded cores.
pub mod unsync {
    pub use crate::dedup::unsync::{DedupMap, DedupSet};
}
