//! `Schedule`: the tasks and alarms of a sweeper, by deadline.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::Alarm;
use crate::events::ReportedLimits;
use crate::steps::Counted;
use crate::sweep::Sweep;

/// The smallest number of deadlines that is worth a search for dead collections.
pub(super) const MIN_PURGE: usize = 64;

/// The name, and a number that makes it unique.
pub(super) type TaskId = (Arc<str>, u64);

/// The time, a turn that orders equal times first come first served, and the task.
type Deadline = (Duration, Counted<u64>, TaskId);

#[derive(Default)]
pub(super) struct Schedule {
    /// Ordered by name, so that `unwatch` finds all tasks of a name without a search.
    pub(super) tasks: BTreeMap<TaskId, Task>,
    /// The next deadline of each task. An entry whose task was removed is skipped when its deadline
    /// comes.
    pub(super) deadlines: BinaryHeap<Reverse<Deadline>>,
    /// The number of deadlines at which `add` next searches for dead tasks.
    purge_at: usize,
    /// Calls that are due once, by time and turn.
    alarms: BTreeMap<(Duration, u64), Weak<Alarm>>,
    /// The number of alarms at which `add_alarm` next searches for dead ones.
    purge_alarms_at: usize,
    /// The number of the next task and of the next turn.
    next_number: u64,
    next_turn: u64,
    pub(super) stopped: bool,
}

pub(super) struct Task {
    pub(super) collection: Weak<dyn Sweep>,
    pub(super) every: Duration,
    /// The progress of a sweep that is not finished.
    pub(super) sweep: Option<SweepInProgress>,
    /// The limits that were reported as events. `None` if limits are not reported, and while the
    /// thread reports them.
    pub(super) reported: Option<ReportedLimits>,
}

#[derive(Clone, Copy)]
pub(super) struct SweepInProgress {
    pub(super) freed: usize,
    /// The deadline of the sweep after this one.
    pub(super) next: Duration,
}

/// Work that is due.
pub(super) enum Due {
    Task(TaskId, Arc<dyn Sweep>),
    Alarm(Arc<Alarm>),
}

impl Schedule {
    /// Adds a task, and returns `true` if its deadline is the next one.
    pub(super) fn add(&mut self, name: Arc<str>, task: Task, due: Duration) -> bool {
        if self.deadlines.len() >= self.purge_at {
            self.purge();
        }
        let is_next = self
            .deadlines
            .peek()
            .is_none_or(|Reverse((next, ..))| due < *next);
        let id = (name, self.next_number);
        self.next_number += 1;
        self.tasks.insert(id.clone(), task);
        self.push(due, id);
        is_next
    }

    /// Adds an alarm, and returns `true` if it is the next one.
    pub(super) fn add_alarm(&mut self, due: Duration, alarm: Weak<Alarm>) -> bool {
        if self.alarms.len() >= self.purge_alarms_at {
            self.alarms.retain(|_, alarm| alarm.strong_count() > 0);
            self.purge_alarms_at = (2 * self.alarms.len()).max(MIN_PURGE);
        }
        let next = self.alarms.first_key_value();
        let is_next = next.is_none_or(|(&(next, _), _)| due < next);
        self.alarms.insert((due, self.next_turn), alarm);
        self.next_turn += 1;
        is_next
    }

    /// Returns the time at which the thread has something to do.
    pub(super) fn next_time(&self) -> Option<Duration> {
        let task = self.deadlines.peek().map(|Reverse((due, ..))| *due);
        let alarm = self.alarms.first_key_value().map(|(&(due, _), _)| due);
        task.into_iter().chain(alarm).min()
    }

    pub(super) fn push(&mut self, due: Duration, id: TaskId) {
        let turn = Counted(self.next_turn);
        self.deadlines.push(Reverse((due, turn, id)));
        self.next_turn += 1;
    }

    /// Removes the tasks of dropped collections, and the deadlines of removed tasks.
    ///
    /// Deadlines do this as well, but may be a day away. `add` calls this each time the number of
    /// deadlines has doubled, so the cost per added task is constant and dead tasks never outnumber
    /// the live ones by much.
    pub(super) fn purge(&mut self) {
        self.tasks
            .retain(|_, task| task.collection.strong_count() > 0);
        let tasks = &self.tasks;
        self.deadlines
            .retain(|Reverse((.., id))| tasks.contains_key(id));
        self.purge_at = (2 * self.deadlines.len()).max(MIN_PURGE);
    }

    /// Takes out work that is due. Returns `None` if the first entry needs no work.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Due> {
        // Alarms come first: each is one short call, and callers wait for it.
        if let Some(entry) = self.alarms.first_entry().filter(|it| it.key().0 <= now) {
            return entry.remove().upgrade().map(Due::Alarm);
        }
        let Reverse((.., id)) = self.deadlines.pop()?;
        let task = self.tasks.get_mut(&id)?;
        let next = now.saturating_add(task.every);
        task.sweep.get_or_insert(SweepInProgress { freed: 0, next });
        let collection = task.collection.upgrade();
        if collection.is_none() {
            self.tasks.remove(&id);
        }
        Some(Due::Task(id, collection?))
    }
}
