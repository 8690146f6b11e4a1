//! `Recovery`: a bounded queue of ids that were committed while the server was unavailable.
//!
//! A task pushes them when the server is back, each with the rest of its ttl. It runs only while
//! the queue has ids, and ends with the deduplicator. If its runtime ends, a later commit or a
//! later answer of the server starts another task.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::command::Reply;
use super::link::{Link, count};
use super::script::{self, Token};
use crate::clock::{Clock, Nanos};

/// Ids per write to the server.
const BATCH: usize = 100;

/// A committed id.
pub(super) struct Committed {
    pub(super) key: Vec<u8>,
    pub(super) token: Token,
    pub(super) value: Vec<u8>,
    pub(super) until: Nanos,
}

#[derive(Default)]
struct Queue {
    /// Oldest first.
    ids: VecDeque<Committed>,
    /// Ids that are on the way to the server.
    pushing: usize,
}

pub(super) struct Recovery {
    link: Arc<Link>,
    clock: Clock,
    max: usize,
    queue: Mutex<Queue>,
    is_running: AtomicBool,
    pub(super) recovered: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) conflicts: AtomicU64,
}

impl Recovery {
    pub(super) fn new(link: Arc<Link>, clock: Clock, max: usize) -> Arc<Self> {
        Arc::new(Self {
            link,
            clock,
            max,
            queue: Mutex::default(),
            is_running: AtomicBool::new(false),
            recovered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
        })
    }

    /// Returns the number of ids that the server does not have yet.
    pub(super) fn len(&self) -> usize {
        let queue = self.queue.lock();
        queue.ids.len() + queue.pushing
    }

    /// Adds an id. If the queue is full, the oldest id is dropped, whose ttl ends first.
    pub(super) fn add(self: &Arc<Self>, committed: Committed) {
        let mut queue = self.queue.lock();
        queue.ids.push_back(committed);
        let dropped = queue.drop_above(self.max);
        drop(queue);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.start();
    }

    /// Starts the task, unless it runs, the queue is empty, or there is no runtime.
    pub(super) fn start(self: &Arc<Self>) {
        if self.queue.lock().ids.is_empty() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        // Relaxed: the flag guards no data, the queue has a lock.
        if !self.is_running.swap(true, Ordering::Relaxed) {
            let running = Running(Arc::downgrade(self));
            runtime.spawn(async move { running.push_all().await });
        }
    }

    /// Pushes the oldest ids. Returns the time to wait before the next ones, or `None` at the end.
    async fn push_some(&self) -> Option<Duration> {
        let now = self.clock.nanos();
        let batch = Batch::take(self, now)?;
        let commands: Vec<_> = batch
            .ids
            .iter()
            .map(|id| {
                let remaining = Duration::from_nanos(id.until - now);
                script::push(&id.key, &id.token, remaining, &id.value)
            })
            .collect();
        let Ok(replies) = self.link.write_all(commands.clone(), commands).await else {
            return Some(self.link.retry_after());
        };
        for reply in replies {
            let is_pushed = reply == Reply::Integer(1);
            count(if is_pushed {
                &self.recovered
            } else {
                &self.conflicts
            });
        }
        batch.finish();
        Some(Duration::ZERO)
    }
}

impl Queue {
    /// Drops the oldest ids, and returns their number.
    fn drop_above(&mut self, max: usize) -> u64 {
        let mut dropped = 0;
        while self.ids.len() + self.pushing > max && self.ids.pop_front().is_some() {
            dropped += 1;
        }
        dropped
    }
}

/// Ids that are on the way to the server. They return to the queue if the call fails or is
/// cancelled.
struct Batch<'a> {
    recovery: &'a Recovery,
    ids: Vec<Committed>,
}

impl<'a> Batch<'a> {
    /// Takes the oldest ids whose ttl has not ended. `None` if there are none.
    fn take(recovery: &'a Recovery, now: Nanos) -> Option<Self> {
        let mut queue = recovery.queue.lock();
        let mut ids = Vec::new();
        while ids.len() < BATCH {
            let Some(id) = queue.ids.pop_front() else {
                break;
            };
            if id.until > now {
                ids.push(id);
            }
        }
        queue.pushing = ids.len();
        drop(queue);
        if ids.is_empty() {
            return None;
        }
        Some(Self { recovery, ids })
    }

    fn finish(mut self) {
        self.ids.clear();
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut queue = self.recovery.queue.lock();
        queue.pushing = 0;
        for id in self.ids.drain(..).rev() {
            queue.ids.push_front(id);
        }
        let dropped = queue.drop_above(self.recovery.max);
        drop(queue);
        self.recovery.dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

/// The running task. Dropping it, also with its runtime, lets another one start.
struct Running(Weak<Recovery>);

impl Running {
    async fn push_all(self) {
        let mut pause = Duration::ZERO;
        loop {
            if pause > Duration::ZERO {
                tokio::time::sleep(pause).await;
            }
            let Some(recovery) = self.0.upgrade() else {
                return;
            };
            match recovery.push_some().await {
                Some(next) => pause = next,
                None => {
                    drop(self);
                    // An id may have been added before the flag was reset.
                    return recovery.start();
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(recovery) = self.0.upgrade() {
            recovery.is_running.store(false, Ordering::Relaxed);
        }
    }
}
