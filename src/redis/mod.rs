//! `SharedDedup`: deduplication for several instances, over Redis or Valkey.
//!
//! | file | concept |
//! | --- | --- |
//! | `dedup`, `set`, `ticket` | the vocabulary of the local map, over two tiers |
//! | `recovery` | ids that were committed while the server was unavailable |
//! | `link`, `breaker` | deadline, repetition, circuit breaker, repair of the connection |
//! | `script` | the Lua scripts, and the layout of a key |
//! | `command`, `client` | the three calls of a client, and their implementation |
//!
//! There is no blocking form. The client crate has separate types for blocking connections, which
//! would need a second `link` with its own deadline and repair. A service without a runtime can
//! call `Runtime::block_on`.

mod breaker;
mod builder;
mod client;
mod command;
mod dedup;
mod error;
mod link;
mod recovery;
mod script;
mod set;
mod stats;
mod ticket;

pub use builder::SharedDedupBuilder;
pub use command::{Command, Connection, ConnectionError, Reply, Sending};
pub use dedup::{Decided, SharedDedup, Tier, Unavailable, Value};
pub use error::{CommitError, SharedError};
pub use set::{SharedDedupSet, SharedSetTicket};
pub use stats::SharedStats;
pub use ticket::SharedTicket;
