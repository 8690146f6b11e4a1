//! The promises of `ListenerRegistry`, one by one, and the ways out of it.

#[path = "support/together.rs"]
mod together;

mod listeners {
    mod breaker;
    mod helpers;
    mod inside;
    mod leaving;
    mod limits;
    mod passes;
    mod promises;
    #[cfg(feature = "queue")]
    mod queues;
    mod threads;
    mod waiting;
    mod ways_out;
}
