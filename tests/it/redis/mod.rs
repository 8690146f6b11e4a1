//! `SharedDedup` on real servers, and the model of its scripts.

mod api;
mod batch;
mod blocking;
mod deadline;
mod fake;
mod faults;
mod model;
mod promises;
mod proxy;
mod scripts;
pub mod server;
mod topology;
mod unavailable;
mod waiting;
