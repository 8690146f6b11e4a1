//! `IdempotencyLayer` over real HTTP: servers and clients on the loopback interface.

mod disconnects;
mod messages;
mod problems;
mod promises;
#[cfg(feature = "persist")]
mod restart;
mod server;
#[cfg(all(unix, feature = "redis"))]
mod shared;
mod stacks;
