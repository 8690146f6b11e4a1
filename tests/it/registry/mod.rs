//! Tests of `ListenerRegistry`.

#[cfg(feature = "queue")]
mod async_queues;
mod breaker;
mod captures;
mod detach_and_wait;
mod emit;
mod helpers;
mod limits;
mod long_list;
mod model;
mod options;
#[cfg(feature = "queue")]
mod queues;
mod reentrancy;
mod removal;
mod removal_callback;
mod threads;
mod work;
