//! Deduplication for several instances, over Redis or Valkey.
//!
//! [`SharedDedup`] and [`SharedDedupSet`] have the calls of
//! [`DedupMap`](crate::DedupMap) and [`DedupSet`](crate::DedupSet), as `async` ones, for one window
//! of ids that all instances share. Each answer says which [`Tier`] decided. The page
//! [`docs::more_than_one_instance`](crate::docs::more_than_one_instance) gives the promises, what
//! happens without the server, and the keys on it.

// | file | concept |
// | --- | --- |
// | `dedup`, `set`, `ticket`, `batch` | the vocabulary of the local map, over two tiers |
// | `wait` | waiting for a claim |
// | `inner`, `answer` | the state of both tiers, and the tier that decides |
// | `recovery` | ids that were committed while the server was unavailable |
// | `link`, `breaker` | deadline, repetition, circuit breaker, repair of the connection |
// | `script` | the Lua scripts, and the layout of a key |
// | `command`, `client` | the three calls of a client, and their implementation |
//
// There is no blocking form. It would be a second tree of types, map, set and two tickets, of
// which each method is one `Runtime::block_on`. So a service without a runtime writes these calls
// itself, as the guide shows. Only the drop of a ticket cannot: it uses the runtime of `build`.

mod answer;
mod batch;
mod breaker;
mod builder;
mod client;
mod command;
mod dedup;
mod error;
mod inner;
mod link;
mod recovery;
mod script;
mod set;
mod stats;
mod ticket;
mod wait;

pub use answer::{Decided, Tier, Unavailable};
pub use builder::SharedDedupBuilder;
pub use command::{Command, Connection, ConnectionError, Reply, Sending};
pub use dedup::{AsValue, SharedDedup, Value};
pub use error::{CommitError, SharedError};
pub use set::{SharedDedupSet, SharedSetTicket};
pub use stats::SharedStats;
pub use ticket::SharedTicket;
