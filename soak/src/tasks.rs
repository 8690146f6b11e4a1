//! Tasks on a small runtime, some of which are cancelled.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinError;
use tokio::time::timeout;

use crate::round::{Deliberate, Dice, Round, Tally, Verdict, completed, panic_text};

/// No operation waits that long, unless it waits forever.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tasks of a part, each with one step at a time.
const TASKS: usize = 16;

/// A tally of tasks, which a cancelled task keeps.
#[derive(Default)]
pub(crate) struct Counts(Mutex<Tally>);

impl Counts {
    pub(crate) fn count(&self, what: &'static str) {
        self.with(|tally| tally.count(what));
    }

    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Tally) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn take(&self) -> Tally {
        self.with(std::mem::take)
    }
}

pub(crate) fn runtime() -> Runtime {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime starts")
}

#[allow(clippy::disallowed_methods, reason = "tasks run in real time")]
pub(crate) fn sleep(time: Duration) {
    thread::sleep(time);
}

impl Round {
    /// Runs `TASKS` tasks of `steps` steps each, and calls `until_end` on this thread until all of
    /// them have ended.
    ///
    /// Each step is a task of its own. Some are cancelled within a millisecond.
    pub(crate) fn play_async<F: Future<Output = ()> + Send + 'static>(
        &self,
        runtime: &Runtime,
        (steps, counts): (usize, &Arc<Counts>),
        step: impl Fn(Dice) -> F + Clone + Send + 'static,
        mut until_end: impl FnMut(),
    ) {
        let mut dice = self.dice.clone();
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let work = work(
                    dice.fork(),
                    steps,
                    Arc::clone(&self.verdict),
                    Arc::clone(counts),
                    step.clone(),
                );
                runtime.spawn(work)
            })
            .collect();
        while tasks.iter().any(|task| !task.is_finished()) {
            until_end();
        }
        for task in tasks {
            if let Err(error) = runtime.block_on(task) {
                self.check(false, || format!("a task panicked: {error}"));
            }
        }
    }
}

async fn work<F: Future<Output = ()> + Send + 'static>(
    mut dice: Dice,
    steps: usize,
    verdict: Arc<Verdict>,
    counts: Arc<Counts>,
    step: impl Fn(Dice) -> F,
) {
    for number in 0..steps {
        let mut task = tokio::spawn(step(dice.fork()));
        let soon = Duration::from_micros(dice.between(1, 1_000));
        let mut ended = None;
        if dice.one_in(6) {
            ended = timeout(soon, &mut task).await.ok();
            if ended.is_none() {
                task.abort();
            }
        }
        let ended = match ended {
            Some(ended) => Ok(ended),
            None => timeout(PATIENCE, task).await,
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_cancelled() => counts.count("tasks cancelled"),
            Ok(Err(error)) => panicked(error, &verdict, &counts),
            Err(_) => verdict.check(false, || "an operation waits forever".to_owned()),
        }
        if verdict.is_broken() {
            break;
        }
        completed(number);
    }
}

fn panicked(error: JoinError, verdict: &Verdict, counts: &Counts) {
    let payload = error.into_panic();
    if payload.is::<Deliberate>() {
        counts.count("tasks that panicked");
    } else {
        verdict.check(false, || {
            format!("a task panicked: {}", panic_text(&*payload))
        });
    }
}
