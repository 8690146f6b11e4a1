//! Contents that survive a restart: snapshots and a journal, with the feature `persist`.
//!
//! A [`Journal`] keeps the ids of a process that is killed. A snapshot suits planned restarts:
//! [`DedupMap::save`](crate::DedupMap::save) writes a snapshot and
//! [`DedupMap::restore`](crate::DedupMap::restore) reads it back. Ages are kept, and the time
//! between the two counts, so an id expires exactly when it would have expired without the restart.
//!
//! ```
//! use leakproof::DedupSet;
//! use leakproof::persist::PersistError;
//! use std::time::Duration;
//!
//! # let folder = std::env::temp_dir().join(format!("leakproof-persist-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).unwrap();
//! # let path = folder.join("seen.snapshot");
//! let day = Duration::from_secs(24 * 3600);
//! let seen = DedupSet::<str>::new(1_000_000, day);
//! match seen.restore(&path) {
//!     Ok(report) => println!("{report}"),
//!     Err(PersistError::NotFound { .. }) => println!("the first start"),
//!     Err(error) => eprintln!("starting without the ids of the last day: {error}"),
//! }
//! assert!(seen.insert("3EB0C767D26A"));
//! seen.save(&path)?; // in regular intervals, and before the process ends
//!
//! let after_restart = DedupSet::<str>::new(1_000_000, day);
//! assert_eq!(after_restart.restore(&path)?.restored, 1);
//! assert!(!after_restart.insert("3EB0C767D26A"));
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), PersistError>(())
//! ```
//!
//! Keys and values implement [`Codec`](crate::Codec). With the feature `serde`, `Serde`
//! wraps any type that serde supports. The page [`docs::persistence`](crate::docs::persistence)
//! describes every byte of the files.

mod error;
pub(crate) mod file;
pub(crate) mod format;
pub(crate) mod journal;
mod report;
pub(crate) mod snapshot;

pub use error::PersistError;
pub use journal::{Journal, OnError, Sync};
pub use report::{ClockProblem, RestoreReport, SaveReport};
