//! Claims in tokio tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use leakproof::{Claim, DedupMap, ManualClock, Ticket};
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::{interval, sleep, timeout};

const HOUR: Duration = Duration::from_secs(3600);

type Map = DedupMap<str, u32>;

fn map() -> Map {
    let builder = DedupMap::builder().ttl(HOUR).max_entries(1_000);
    builder
        .clock(ManualClock::new())
        .build()
        .expect("valid limits")
}

fn run(future: impl Future<Output = ()> + Send + 'static) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .expect("a runtime");
    crate::support::timeout::in_time(move || runtime.block_on(future));
}

/// Returns the ticket of an id that is new.
fn fresh(claim: Claim<Ticket<'static, str, u32>, u32>) -> Ticket<'static, str, u32> {
    match claim {
        Claim::Fresh(ticket) => ticket,
        other => panic!("not fresh: {other:?}"),
    }
}

async fn until_waiting(seen: &Map, waiting: usize) {
    while seen.stats().waiting != waiting {
        yield_now().await;
    }
}

#[test]
fn deliveries_in_many_tasks_are_handled_once() {
    run(async {
        for round in 0..50 {
            let (seen, handled) = (map(), Arc::new(AtomicU32::new(0)));
            let tasks: Vec<_> = (0..100)
                .map(|_| {
                    let (seen, handled) = (seen.clone(), Arc::clone(&handled));
                    tokio::spawn(async move {
                        match seen.claim_wait("id").await {
                            Claim::Fresh(ticket) => {
                                yield_now().await;
                                // The first handlers fail.
                                if handled.fetch_add(1, Ordering::SeqCst) < round % 4 {
                                    return None;
                                }
                                ticket.commit(7).expect("in time");
                                Some(7)
                            }
                            Claim::Duplicate { value, .. } => Some(value),
                            other => panic!("{other:?}"),
                        }
                    })
                })
                .collect();
            let mut failed = 0;
            for task in tasks {
                failed += u32::from(task.await.expect("no panic") != Some(7));
            }
            assert_eq!(
                (failed, handled.load(Ordering::SeqCst)),
                (round % 4, round % 4 + 1)
            );
            assert_eq!(seen.stats().waiting, 0);
        }
    });
}

#[test]
fn aborted_and_panicking_tasks_release_their_claims() {
    run(async {
        let seen = map();
        let ticket = fresh(seen.claim_owned("id"));
        let hung = tokio::spawn(async move {
            let _ticket = ticket;
            sleep(HOUR).await;
        });
        let waiting = tokio::spawn(seen.claim_wait_owned("id"));
        until_waiting(&seen, 1).await;
        hung.abort();
        let ticket = fresh(waiting.await.expect("no panic"));
        let waiting = tokio::spawn(seen.claim_wait_owned("id"));
        until_waiting(&seen, 1).await;
        let panics = tokio::spawn(async move {
            let _ticket = ticket;
            yield_now().await;
            panic!("the handler panics");
        });
        assert!(panics.await.is_err());
        let ticket = fresh(waiting.await.expect("no panic"));
        // A waiter that is aborted after it got the claim passes it on.
        let first = tokio::spawn(seen.claim_wait_owned("id"));
        until_waiting(&seen, 1).await;
        let second = tokio::spawn(seen.claim_wait_owned("id"));
        until_waiting(&seen, 2).await;
        first.abort();
        drop(ticket);
        if let Ok(claim) = first.await {
            drop(claim);
        }
        drop(fresh(second.await.expect("no panic")));
        let stats = seen.stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0));
    });
}

#[test]
fn select_loop_that_waits_gets_the_value_in_the_end() {
    run(async {
        let seen = map();
        let ticket = fresh(seen.claim_owned("id"));
        let others = seen.clone();
        let task = tokio::spawn(async move {
            let (mut ticks, mut every) = (0, interval(Duration::from_millis(1)));
            // A new future in each turn, and one that stays.
            let kept = others.claim_wait("id");
            tokio::pin!(kept);
            loop {
                tokio::select! {
                    claim = others.claim_wait("id") => break (ticks, claim.is_seven()),
                    claim = &mut kept => break (ticks, claim.is_seven()),
                    _ = every.tick() => ticks += 1,
                }
            }
        });
        sleep(Duration::from_millis(20)).await;
        assert!(seen.stats().waiting >= 1);
        ticket.commit(7).expect("in time");
        assert!(task.await.expect("no panic").1);
        assert_eq!(seen.stats().waiting, 0);
    });
}

trait IsSeven {
    fn is_seven(&self) -> bool;
}

impl<T> IsSeven for Claim<T, u32> {
    fn is_seven(&self) -> bool {
        matches!(self, Claim::Duplicate { value: 7, .. })
    }
}

#[test]
fn paused_time_neither_ends_leases_nor_stops_commits() {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let seen = map();
        let ticket = fresh(seen.claim_owned("id"));
        let handler = tokio::spawn(async move {
            sleep(HOUR).await; // no real time passes
            ticket.commit(7).expect("the map's own clock did not move");
        });
        assert!(
            timeout(HOUR / 2, seen.claim_wait("id")).await.is_err(),
            "the timeout ends first"
        );
        assert_eq!(seen.stats().waiting, 0);
        assert!(seen.claim_wait("id").await.is_seven());
        handler.await.expect("no panic");
    });
}

#[test]
fn many_waiters_on_a_small_pool_do_not_deadlock() {
    run(async {
        let seen = map();
        let ticket = fresh(seen.claim_owned("id"));
        let tasks: Vec<_> = (0..1_000)
            .map(|_| tokio::spawn(seen.claim_wait_owned("id")))
            .collect();
        until_waiting(&seen, 1_000).await;
        tokio::spawn(async move { ticket.commit(7) });
        for task in tasks {
            assert!(task.await.expect("no panic").is_seven());
        }
    });
}
