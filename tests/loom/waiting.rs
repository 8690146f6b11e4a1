//! Callers that wait for claims, in every interleaving of two threads. `src/sync.rs` says how to
//! run them.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::tasks::{Flag, explore, poll, run};
use leakproof::{Claim, DedupMap, ManualClock, Ticket};
use loom::thread;

type Map = DedupMap<str, u32>;
type Owned = Ticket<'static, str, u32>;

const HOUR: Duration = Duration::from_secs(3600);

/// Returns a map and a ticket of "id".
fn claimed() -> (Map, Owned) {
    let builder = DedupMap::builder().ttl(HOUR).max_entries(4).shards(1);
    let seen = builder
        .clock(&ManualClock::new())
        .build()
        .expect("valid limits");
    let Claim::Fresh(ticket) = seen.claim_owned("id") else {
        panic!("it is new");
    };
    (seen, ticket)
}

#[test]
fn commit_reaches_a_caller_that_begins_to_wait() {
    explore(|| {
        let (seen, ticket) = claimed();
        let thread = thread::spawn(move || ticket.commit(7).expect("in time"));
        let claim = run(seen.claim_wait("id"));
        assert!(matches!(claim, Claim::Duplicate { value: 7, .. }));
        thread.join().expect("no panic");
        assert_eq!(seen.stats().waiting, 0);
    });
}

#[test]
fn commit_reaches_a_thread_that_begins_to_wait() {
    explore(|| {
        let (seen, ticket) = claimed();
        let thread = thread::spawn(move || ticket.commit(7).expect("in time"));
        let claim = seen.claim_wait_blocking("id", HOUR);
        assert!(matches!(claim, Claim::Duplicate { value: 7, .. }));
        thread.join().expect("no panic");
    });
}

#[test]
fn commit_reaches_a_waiter_that_changes_its_waker() {
    explore(|| {
        let (seen, ticket) = claimed();
        let mut future = Box::pin(seen.claim_wait("id"));
        let (old, new) = (Arc::<Flag>::default(), Arc::<Flag>::default());
        assert!(poll(future.as_mut(), &old).is_pending());
        let thread = thread::spawn(move || ticket.commit(7).expect("in time"));
        // If the commit came before this poll, the poll finds it.
        while poll(future.as_mut(), &new).is_pending() {
            new.wait();
        }
        thread.join().expect("no panic");
    });
}

#[test]
fn release_gives_one_of_two_waiters_the_claim() {
    explore(|| {
        let (seen, ticket) = claimed();
        let other = seen.clone();
        let thread = thread::spawn(move || match run(other.claim_wait("id")) {
            Claim::Fresh(ticket) => u32::from(ticket.commit(1).is_ok()),
            Claim::Duplicate { .. } => 0,
            other => panic!("{other:?}"),
        });
        drop(ticket);
        let here = match run(seen.claim_wait("id")) {
            Claim::Fresh(ticket) => u32::from(ticket.commit(1).is_ok()),
            Claim::Duplicate { .. } => 0,
            other => panic!("{other:?}"),
        };
        assert_eq!(here + thread.join().expect("no panic"), 1);
        let stats = seen.stats();
        assert_eq!((stats.waiting, stats.in_flight, stats.len), (0, 0, 1));
    });
}

#[test]
fn claim_of_a_cancelled_waiter_reaches_the_other() {
    explore(|| {
        let (seen, ticket) = claimed();
        let flag = Arc::<Flag>::default();
        let mut cancelled = Box::pin(seen.claim_wait_owned("id"));
        assert!(poll(cancelled.as_mut(), &flag).is_pending());
        let mut other = Box::pin(seen.claim_wait("id"));
        assert!(poll(other.as_mut(), &flag).is_pending());
        let thread = thread::spawn(move || drop(cancelled));
        drop(ticket);
        let claim = loop {
            if let Poll::Ready(claim) = poll(other.as_mut(), &flag) {
                break claim;
            }
            flag.wait();
        };
        assert!(matches!(claim, Claim::Fresh(_)));
        thread.join().expect("no panic");
        drop(claim);
        drop(other);
        let stats = seen.stats();
        assert_eq!((stats.waiting, stats.in_flight), (0, 0));
    });
}
