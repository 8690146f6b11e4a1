//! Waiting for work that another caller does: claims of ids, and computations of cached values.
//!
//! A [`Flight`] is such work. Its owner finishes it with a value, or gives up and hands it over to
//! the first [`Waiter`]. Threads wait through the same list as futures, with [`block_on`].
//!
//! Two designs were considered. In the first, the end of a flight wakes all waiters and each tries
//! again, so callers that never waited may overtake them, and one released claim wakes thousands of
//! tasks. In the second, which this module implements, the owner passes its turn to one waiter
//! under the lock of the shard, so the order is first come, first served, and no waiter is woken
//! for nothing.
//!
//! | state of a waiter | event | next state |
//! | --- | --- | --- |
//! | waiting | polled with any waker | waiting, with that waker |
//! | waiting | the owner finishes | woken; the next poll clones the value |
//! | waiting | the owner gives up, and this is the first waiter | woken; the next poll takes the turn |
//! | waiting | the flight is closed without a value | woken; the next poll starts again |
//! | waiting | dropped | removed |
//! | woken, with the turn | dropped | the turn passes to the next waiter |
//!
//! Wakers are called after every lock is released.

mod block_on;
mod flight;
mod room;
mod wakers;

pub(crate) use block_on::block_on;
pub(crate) use flight::{End, Flight, Waiter};
pub(crate) use room::{DEFAULT_MAX_WAITING, Place, Room};
pub(crate) use wakers::Wakers;
