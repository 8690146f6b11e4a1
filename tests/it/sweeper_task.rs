//! `spawn_sweeper`: sweeps as a task. Time is paused, so nothing waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakproof::{LruCache, ManualClock, Sweep, spawn_sweeper};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::support::fn_sweep::{fn_sweep, swept};
use crate::support::timeout::in_time;

const HOUR: Duration = Duration::from_secs(3600);

/// Runs a future with tokio's time paused.
fn run(future: impl Future<Output = ()> + Send + 'static) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    in_time(move || runtime.block_on(future));
}

/// Returns a collection that counts its pieces, and its counter.
fn counted(
    more: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> (Arc<impl Sweep>, Arc<AtomicUsize>) {
    let pieces = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pieces);
    let sweep = fn_sweep(move || swept(1, more(count.fetch_add(1, Ordering::SeqCst) + 1)));
    (sweep, pieces)
}

#[test]
fn task_sweeps_at_each_interval() {
    run(async {
        let (collection, pieces) = counted(|_| false);
        let sweeper = spawn_sweeper(&collection, HOUR);
        sleep(HOUR / 2).await;
        assert_eq!(pieces.load(Ordering::SeqCst), 0);
        sleep(10 * HOUR).await;
        assert_eq!(pieces.load(Ordering::SeqCst), 10);
        assert!(!sweeper.is_finished());
    });
}

#[test]
fn task_frees_all_pieces_and_lets_others_run_between_them() {
    run(async {
        let (collection, pieces) = counted(|piece| piece < 1_000);
        let _sweeper = spawn_sweeper(&collection, HOUR);
        sleep(HOUR).await;
        let begun = Instant::now();
        let mut turns = 0;
        while pieces.load(Ordering::SeqCst) < 1_000 {
            yield_now().await;
            turns += 1;
        }
        assert!(turns >= 500, "{turns} turns of another task");
        assert_eq!(begun.elapsed(), Duration::ZERO, "within one interval");
    });
}

#[test]
fn task_ends_when_its_handle_is_dropped() {
    run(async {
        let (collection, pieces) = counted(|_| false);
        let sweeper = spawn_sweeper(&collection, HOUR);
        sleep(HOUR + HOUR / 2).await;
        drop(sweeper);
        sleep(10 * HOUR).await;
        assert_eq!(pieces.load(Ordering::SeqCst), 1);
        assert_eq!(Arc::weak_count(&collection), 0, "the task has ended");
    });
}

#[test]
fn task_holds_the_collection_weakly_and_ends_with_it() {
    run(async {
        let (collection, pieces) = counted(|_| false);
        let sweeper = spawn_sweeper(&collection, HOUR);
        sleep(HOUR + HOUR / 2).await;
        assert_eq!(Arc::strong_count(&collection), 1);
        drop(collection);
        sleep(HOUR).await;
        assert!(sweeper.is_finished());
        assert_eq!(pieces.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn removal_callback_of_a_task_may_spawn_tasks() {
    run(async {
        let (time, (sender, receiver)) = (ManualClock::new(), oneshot::channel());
        let sender = Mutex::new(Some(sender));
        let sessions = LruCache::<u32, u32>::builder()
            .max_entries(10)
            .ttl(HOUR)
            .clock(&time)
            .on_removal(move |&key, _, _| {
                let sender = sender.lock().expect("not poisoned").take();
                let sender = sender.expect("one removal");
                tokio::spawn(async move { sender.send(key).expect("the test waits") });
            })
            .build()
            .expect("valid options");
        sessions.insert(7, 7);
        let _sweeper = spawn_sweeper(&sessions, HOUR);
        time.advance(HOUR);
        assert_eq!(receiver.await, Ok(7));
        assert_eq!(sessions.stats().callback_panics, 0);
    });
}

#[test]
fn panic_in_a_piece_ends_that_sweep_only() {
    run(async {
        let (collection, pieces) = counted(|piece| {
            assert!(piece > 1, "a value's drop");
            false
        });
        let _sweeper = spawn_sweeper(&collection, HOUR);
        sleep(3 * HOUR + HOUR / 2).await;
        assert_eq!(pieces.load(Ordering::SeqCst), 3);
    });
}

#[test]
#[should_panic(expected = "there is no reactor running")]
fn spawn_sweeper_panics_outside_of_a_runtime() {
    drop(spawn_sweeper(&counted(|_| false).0, HOUR));
}

#[test]
fn task_ends_with_its_runtime() {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let (collection, _) = counted(|_| false);
    let sweeper = runtime.block_on(async { spawn_sweeper(&collection, HOUR) });
    drop(runtime);
    assert!(sweeper.is_finished());
    assert_eq!(Arc::weak_count(&collection), 0);
}
