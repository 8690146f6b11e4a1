//! The faults, in a reproducible order.

use std::thread::{sleep, spawn};
use std::time::Duration;

use example_support::Result;
use example_support::random::scramble;
use example_support::redis_server::{Server, signal};

use crate::LEASE;

/// The number of each fault.
#[derive(Default)]
pub struct Counts {
    pub killed_workers: u64,
    pub frozen_workers: u64,
    pub killed_servers: u64,
    pub frozen_servers: u64,
    pub paused_servers: u64,
    pub flushed_scripts: u64,
}

/// Freezes a process for a time, while the caller goes on.
#[allow(
    clippy::disallowed_methods,
    reason = "processes are frozen in real time"
)]
fn freeze(process: u32, time: Duration) {
    signal(process, "-STOP");
    spawn(move || {
        sleep(time);
        signal(process, "-CONT");
    });
}

/// Injects one fault. Workers are given by their processes.
pub fn inject(
    dice: u64,
    workers: &[u32],
    server: Option<&mut Server>,
    counts: &mut Counts,
) -> Result<()> {
    let worker = workers[(scramble(dice) % workers.len() as u64) as usize];
    match (dice % 8, server) {
        (0 | 1, _) => {
            signal(worker, "-KILL");
            counts.killed_workers += 1;
        }
        (3, Some(server)) => {
            server.restart()?;
            counts.killed_servers += 1;
        }
        (4, Some(server)) => {
            freeze(server.process(), LEASE * 3 / 4);
            counts.frozen_servers += 1;
        }
        (5, Some(server)) => {
            // Longer than the lease: claims end while no one can ask.
            freeze(server.process(), LEASE * 3 / 2);
            counts.frozen_servers += 1;
        }
        (6, Some(server)) => {
            server.command("CLIENT PAUSE 500 ALL")?;
            counts.paused_servers += 1;
        }
        (7, Some(server)) => {
            server.command("SCRIPT FLUSH")?;
            counts.flushed_scripts += 1;
        }
        _ => {
            freeze(worker, LEASE * 3 / 2);
            counts.frozen_workers += 1;
        }
    }
    Ok(())
}
