//! The promises of `ListenerRegistry`, one by one, and every removal cause.

mod breaker;
mod helpers;
mod inside;
mod leaving;
mod limits;
mod model;
mod passes;
mod promises;
#[cfg(feature = "queue")]
mod queues;
mod threads;
mod waiting;
mod ways_out;
mod work;
