//! Callers that wait for a claim, polled one step at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::support::panicking_types::{FUSE, Fused};
use crate::support::task::{Task, count};
use crate::support::timeout::in_time;
use leakproof::{Claim, DedupMap, DedupSet, ManualClock, Recorded, Ticket};

const LEASE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const NANO: Duration = Duration::from_nanos(1);

type Map = DedupMap<str, u32>;

fn map(time: &ManualClock) -> Map {
    limited(time, 10_000)
}

fn limited(time: &ManualClock, max_waiting: usize) -> Map {
    DedupMap::builder()
        .ttl(HOUR)
        .max_entries(100)
        .lease(LEASE)
        .max_waiting(max_waiting)
        .shards(1)
        .clock(time)
        .build()
        .expect("the limits are valid")
}

fn fresh<'a>(claim: Claim<Ticket<'a, str, u32>, u32>) -> Ticket<'a, str, u32> {
    match claim {
        Claim::Fresh(ticket) => ticket,
        other => panic!("not fresh: {other:?}"),
    }
}

fn is_in_flight(seen: &Map, id: &str) -> bool {
    matches!(seen.claim(id), Claim::InFlight { .. })
}

/// Asserts that no caller waits, no id is in flight, and the map is consistent.
fn assert_idle(seen: &Map) {
    seen.validate();
    let stats = seen.stats();
    assert_eq!((stats.waiting, stats.in_flight), (0, 0));
}

#[test]
fn claim_wait_is_ready_at_once_unless_in_flight() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(Task::new(seen.claim_wait("id")).output());
    ticket.commit(7).expect("in time");
    time.advance(NANO);
    let again = Task::new(seen.claim_wait("id")).output();
    assert!(matches!(
        again,
        Claim::Duplicate {
            age: NANO,
            value: 7
        }
    ));
    assert_eq!(seen.stats().waits, 0);
    assert_idle(&seen);
}

#[test]
fn commit_wakes_every_waiter_once_with_the_value() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(seen.claim("id"));
    let mut tasks: Vec<_> = (0..100)
        .map(|_| Task::waiting(seen.claim_wait("id")))
        .collect();
    assert_eq!(seen.stats().waiting, 100);
    ticket.commit(7).expect("in time");
    assert!(tasks.iter().all(|task| task.wakes() == 1));
    // The waiters get the value of the commit, whatever happens to the id since.
    time.advance(NANO);
    assert_eq!(seen.remove("id"), Some(7));
    let other = fresh(seen.claim("id"));
    for task in &mut tasks {
        assert!(matches!(
            task.output(),
            Claim::Duplicate {
                age: NANO,
                value: 7
            }
        ));
    }
    other.release();
    assert_eq!(seen.stats().waits, 100);
    assert_idle(&seen);
}

#[test]
fn release_gives_the_claim_to_the_first_waiter_only() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(seen.claim("id"));
    let mut tasks: Vec<_> = (0..3)
        .map(|_| Task::waiting(seen.claim_wait("id")))
        .collect();
    ticket.release();
    assert_eq!(tasks.iter().map(Task::wakes).collect::<Vec<_>>(), [1, 0, 0]);
    // The claim has an owner already, so no other caller overtakes.
    assert!(is_in_flight(&seen, "id"));
    assert_eq!(seen.record("id", 1), Recorded::InFlight);
    let second = fresh(tasks[0].output());
    assert_eq!(second.key().as_deref(), Some("id"));
    assert!(tasks[1].poll().is_none() && tasks[2].poll().is_none());
    drop(second);
    let third = fresh(tasks[1].output());
    third.commit(3).expect("in time");
    assert!(matches!(
        tasks[2].output(),
        Claim::Duplicate { value: 3, .. }
    ));
    assert_eq!(tasks.iter().map(Task::wakes).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(seen.stats().released, 2);
    assert_idle(&seen);
}

#[test]
fn lease_end_wakes_the_first_waiter_without_a_call() {
    let time = ManualClock::new();
    let seen = map(&time);
    let late = fresh(seen.claim("id"));
    let mut tasks: Vec<_> = (0..2)
        .map(|_| Task::waiting(seen.claim_wait("id")))
        .collect();
    time.advance(LEASE - NANO);
    assert_eq!(tasks[0].wakes(), 0);
    time.advance(NANO);
    assert_eq!((tasks[0].wakes(), tasks[1].wakes()), (1, 0));
    assert_eq!(late.commit(1).expect_err("its lease has expired").value, 1);
    let second = fresh(tasks[0].output());
    // The new lease began when the old one ended.
    time.advance(LEASE - NANO);
    assert_eq!((second.key().is_some(), tasks[1].wakes()), (true, 0));
    time.advance(NANO);
    assert_eq!((second.key().is_some(), tasks[1].wakes()), (false, 1));
    fresh(tasks[1].output()).commit(3).expect("in time");
    assert_eq!(seen.stats().leases_expired, 2);
    drop(second);
    assert_eq!(seen.get("id"), Some(3));
    assert_idle(&seen);
}

#[test]
fn extended_lease_wakes_waiters_at_its_new_end() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(seen.claim("id"));
    let mut task = Task::waiting(seen.claim_wait("id"));
    time.advance(LEASE / 2);
    ticket.extend(2 * LEASE).expect("in time");
    time.advance(2 * LEASE - NANO);
    assert_eq!(task.wakes(), 0);
    time.advance(NANO);
    assert_eq!(task.wakes(), 1);
    fresh(task.output()).release();
    drop(ticket);
    assert_idle(&seen);
}

#[test]
fn claim_of_an_extended_ticket_passes_on_with_the_usual_lease() {
    let time = ManualClock::new();
    let seen = map(&time);
    for by_cancellation in [false, true] {
        let ticket = fresh(seen.claim("id"));
        ticket.extend(10 * LEASE).expect("in time");
        let mut first = Task::waiting(seen.claim_wait("id"));
        let mut second = Task::waiting(seen.claim_wait("id"));
        let mut third = Task::waiting(seen.claim_wait("id"));
        ticket.release();
        if by_cancellation {
            drop(first);
        } else {
            let hung = fresh(first.output());
            time.advance(LEASE - NANO);
            assert_eq!(second.wakes(), 0);
            time.advance(NANO);
            drop(hung);
        }
        assert_eq!((second.wakes(), third.wakes()), (1, 0));
        let hung = fresh(second.output());
        time.advance(LEASE);
        assert_eq!(third.wakes(), 1);
        fresh(third.output()).release();
        drop(hung);
    }
    assert_idle(&seen);
}

#[test]
fn leases_of_several_ids_end_in_their_order() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ids = ["a", "b", "c"];
    let mut tickets = Vec::new();
    for id in ids {
        tickets.push(fresh(seen.claim(id)));
        time.advance(Duration::from_secs(1));
    }
    // The last id is the first that is waited for, so the alarm has to be set earlier twice.
    let mut tasks: Vec<_> = ids
        .iter()
        .rev()
        .map(|id| Task::waiting(seen.claim_wait(id)))
        .collect();
    time.advance(LEASE - Duration::from_secs(3));
    for at in (0..3).rev() {
        assert_eq!(tasks[at].wakes(), 1, "{at}");
        assert!((0..at).all(|other| tasks[other].wakes() == 0));
        time.advance(Duration::from_secs(1));
    }
    for task in &mut tasks {
        fresh(task.output()).release();
    }
    drop(tickets);
    assert_idle(&seen);
}

#[test]
fn woken_waiter_that_is_dropped_passes_the_claim_on() {
    let time = ManualClock::new();
    let seen = map(&time);
    for by_lease in [false, true] {
        let ticket = fresh(seen.claim("id"));
        let first = Task::waiting(seen.claim_wait("id"));
        let second = Task::waiting(seen.claim_wait("id"));
        let mut third = Task::waiting(seen.claim_wait("id"));
        if by_lease {
            time.advance(LEASE);
        } else {
            drop(ticket);
        }
        assert_eq!((first.wakes(), second.wakes(), third.wakes()), (1, 0, 0));
        drop(first);
        assert_eq!((second.wakes(), third.wakes()), (1, 0));
        drop(second);
        assert_eq!(third.wakes(), 1);
        drop(fresh(third.output()));
        assert_idle(&seen);
    }
}

#[test]
fn last_waiter_that_is_dropped_releases_the_claim() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(seen.claim("id"));
    let first = Task::waiting(seen.claim_wait("id"));
    drop(ticket);
    drop(first);
    assert_idle(&seen);
    fresh(seen.claim("id")).release();
}

#[test]
fn waiter_polled_after_its_new_lease_starts_again() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(seen.claim("id"));
    let mut slow = Task::waiting(seen.claim_wait("id"));
    let mut next = Task::waiting(seen.claim_wait("id"));
    drop(ticket);
    time.advance(LEASE);
    assert_eq!((slow.wakes(), next.wakes()), (1, 1));
    let ticket = fresh(next.output());
    assert!(slow.poll().is_none(), "another caller has the claim");
    ticket.commit(7).expect("in time");
    assert!(matches!(slow.output(), Claim::Duplicate { value: 7, .. }));
    assert_idle(&seen);
}

#[test]
fn waiter_polled_with_another_waker_wakes_that_one() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(seen.claim("id"));
    let mut task = Task::waiting(seen.claim_wait("id"));
    let old = task.change_waker();
    assert!(task.poll().is_none());
    ticket.commit(7).expect("in time");
    assert_eq!((count(&old), task.wakes()), (0, 1));
    assert!(matches!(task.output(), Claim::Duplicate { value: 7, .. }));
    // Polled by another task after the wake-up: the state is there, without a second one.
    let ticket = fresh(seen.claim("other"));
    let mut task = Task::waiting(seen.claim_wait("other"));
    ticket.release();
    task.change_waker();
    fresh(task.output()).release();
    assert_idle(&seen);
}

#[test]
fn callers_above_max_waiting_get_full() {
    let time = ManualClock::new();
    let seen = limited(&time, 2);
    let ticket = fresh(seen.claim("id"));
    let mut first = Task::waiting(seen.claim_wait("id"));
    let second = Task::waiting(seen.claim_wait("id"));
    assert!(matches!(
        Task::new(seen.claim_wait("id")).output(),
        Claim::Full
    ));
    let stats = seen.stats();
    assert_eq!((stats.waiting, stats.max_waiting), (2, 2));
    assert_eq!((stats.waits, stats.waits_rejected), (2, 1));
    assert!(stats.usage().limits_reached.contains(&"max_waiting"));
    drop(second);
    let third = Task::waiting(seen.claim_wait("id"));
    drop(ticket);
    fresh(first.output()).release();
    drop(third);
    drop(first);
    assert_idle(&seen);
}

#[test]
fn remove_clear_sweep_and_eviction_keep_waiters() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(seen.claim("id"));
    let mut task = Task::waiting(seen.claim_wait("id"));
    assert_eq!(seen.remove("id"), None);
    seen.clear();
    for id in 0..500 {
        seen.record(&format!("{id}"), id);
    }
    seen.sweep();
    assert!(seen.stats().evicted >= 400);
    assert_eq!(task.wakes(), 0);
    ticket.commit(7).expect("in time");
    seen.clear();
    assert!(matches!(task.output(), Claim::Duplicate { value: 7, .. }));
    assert_idle(&seen);
}

#[test]
fn committed_value_that_expired_is_a_duplicate_for_waiters() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(seen.claim("id"));
    let mut task = Task::waiting(seen.claim_wait("id"));
    ticket.commit(7).expect("in time");
    time.advance(HOUR);
    assert!(!seen.contains_key("id"));
    assert!(matches!(
        task.output(),
        Claim::Duplicate {
            age: HOUR,
            value: 7
        }
    ));
    assert_idle(&seen);
}

#[test]
fn more_leases_than_one_call_ends_admit_one_claimant_each() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ids: Vec<_> = (0..100).map(|id| format!("{id}")).collect();
    let tickets: Vec<_> = ids.iter().map(|id| fresh(seen.claim(id))).collect();
    for ticket in &tickets {
        ticket.extend(2 * LEASE).expect("in time");
    }
    // One call ends 32 of them, so the last one is still in the log when it is claimed again.
    time.advance(2 * LEASE);
    let mut again = Vec::new();
    for id in ids.iter().rev() {
        let ticket = fresh(seen.claim(id));
        ticket.extend(2 * LEASE).expect("in time");
        assert!(is_in_flight(&seen, id));
        again.push(ticket);
    }
    seen.validate();
    assert!(ids.iter().all(|id| is_in_flight(&seen, id)));
    drop(tickets);
    assert!(ids.iter().all(|id| is_in_flight(&seen, id)));
    drop(again);
    assert_idle(&seen);
}

#[test]
fn many_leases_that_end_at_once_wake_one_waiter_each() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ids: Vec<_> = (0..100).map(|id| format!("{id}")).collect();
    let tickets: Vec<_> = ids.iter().map(|id| fresh(seen.claim(id))).collect();
    let mut tasks: Vec<_> = (0..200)
        .map(|at| Task::waiting(seen.claim_wait(&ids[at % 100])))
        .collect();
    time.advance(LEASE);
    for (at, task) in tasks.iter().enumerate() {
        assert_eq!(task.wakes(), usize::from(at < 100));
    }
    drop(tickets);
    let next: Vec<_> = tasks[..100]
        .iter_mut()
        .map(|task| fresh(task.output()))
        .collect();
    for ticket in next {
        ticket.commit(1).expect("in time");
    }
    for task in &mut tasks[100..] {
        assert!(matches!(task.output(), Claim::Duplicate { value: 1, .. }));
    }
    assert_idle(&seen);
}

#[test]
fn cancelled_waits_leave_no_memory() {
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(seen.claim("id"));
    // Once before, so that what the map keeps is allocated.
    drop(Task::waiting(seen.claim_wait("id")));
    let counted = allocation_counter::measure(|| {
        for round in 0..1_000_000 {
            let task = Task::waiting(seen.claim_wait("id"));
            if round % 1_000 == 0 {
                let others: Vec<_> = (0..100)
                    .map(|_| Task::waiting(seen.claim_wait("id")))
                    .collect();
                drop(others);
            }
            drop(task);
        }
    });
    assert_eq!(counted.bytes_current, 0);
    assert!(counted.bytes_max < 100_000);
    drop(ticket);
    // Neither does a claim that callers waited for.
    let counted = allocation_counter::measure(|| {
        for _ in 0..10_000 {
            let ticket = fresh(seen.claim("id"));
            drop(Task::waiting(seen.claim_wait("id")));
            drop(ticket);
        }
    });
    // The logs keep some blocks. A hundred bytes per claim would be a million.
    assert!(counted.bytes_current < 200_000, "{}", counted.bytes_current);
    assert_idle(&seen);
}

#[test]
fn futures_of_waiting_claims_are_small() {
    let seen = map(&ManualClock::new());
    let borrowed = size_of_val(&seen.claim_wait("id"));
    let owned = size_of_val(&seen.claim_wait_owned("id"));
    assert!(borrowed <= 160 && owned <= 224, "{borrowed} and {owned}");
}

#[test]
fn claim_futures_and_tickets_are_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let seen = map(&ManualClock::new());
    let set = DedupSet::<str>::new(10, HOUR);
    drop(send(seen.claim_wait("id")));
    drop(send(seen.claim_wait_owned("id")));
    drop(send(set.claim_wait("id")));
    drop(send(set.claim_wait_owned("id")));
    drop(send(Task::new(set.claim_wait_owned("id")).output()));
}

#[test]
fn panicking_clone_in_commit_releases_the_claim_to_a_waiter() {
    struct Value(bool);
    impl Clone for Value {
        fn clone(&self) -> Self {
            assert!(!self.0, "the value is cloned");
            Self(self.0)
        }
    }
    let time = ManualClock::new();
    let builder = DedupMap::<str, Value>::builder().ttl(HOUR).max_entries(10);
    let seen = builder.clock(&time).build().expect("valid limits");
    let Claim::Fresh(ticket) = seen.claim("id") else {
        panic!("it is new");
    };
    let mut task = Task::waiting(seen.claim_wait("id"));
    catch_unwind(AssertUnwindSafe(|| ticket.commit(Value(true)).is_ok()))
        .expect_err("the clone panics");
    seen.validate();
    assert_eq!((task.wakes(), seen.len()), (1, 0));
    let Claim::Fresh(ticket) = task.output() else {
        panic!("the claim was released");
    };
    assert!(ticket.commit(Value(false)).is_ok());
    assert_eq!((seen.len(), seen.stats().in_flight), (1, 0));
}

#[test]
fn panicking_waker_does_not_keep_others_asleep() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("the executor is broken");
        }
    }
    let time = ManualClock::new();
    let seen = map(&time);
    let ticket = fresh(seen.claim("id"));
    let mut broken = Task::new(seen.claim_wait("id"));
    assert!(broken.poll_with(&Waker::from(Arc::new(Panics))).is_none());
    let mut task = Task::waiting(seen.claim_wait("id"));
    ticket.commit(7).expect("in time");
    assert_eq!(task.wakes(), 1);
    assert!(matches!(task.output(), Claim::Duplicate { value: 7, .. }));
    drop(broken);
    assert_idle(&seen);
}

/// No other call ends the lease, so the panic has no other caller.
#[test]
fn panicking_drop_at_the_end_of_a_lease_reaches_the_clock() {
    let time = ManualClock::new();
    let builder = DedupMap::<Fused, u32>::builder().ttl(HOUR).lease(LEASE);
    let builder = builder.max_entries(100).clock(&time);
    let seen = builder.build().expect("the limits are valid");
    let key = Fused(1);
    let claim = seen.claim(&key);
    drop(Task::waiting(seen.claim_wait(&key)));
    FUSE.set(0);
    assert!(catch_unwind(AssertUnwindSafe(|| time.advance(LEASE))).is_err());
    FUSE.set(usize::MAX);
    assert_eq!(seen.stats().in_flight, 0);
    seen.validate();
    drop(claim);
}

#[test]
fn waker_may_use_the_map_when_it_is_called_and_dropped() {
    struct Uses(Map);
    impl Wake for Uses {
        fn wake(self: Arc<Self>) {
            self.0.record("woken", 1);
        }
    }
    impl Drop for Uses {
        fn drop(&mut self) {
            self.0.record("dropped", 1);
        }
    }
    in_time(|| {
        let time = ManualClock::new();
        let seen = map(&time);
        let ticket = fresh(seen.claim("id"));
        let waker = || Waker::from(Arc::new(Uses(seen.clone())));
        let wait = || Task::new(seen.claim_wait("id"));
        let (mut cancelled, mut woken) = (wait(), wait());
        for task in [&mut cancelled, &mut woken] {
            assert!(task.poll_with(&waker()).is_none());
        }
        assert!(cancelled.poll_with(&waker()).is_none());
        drop(cancelled);
        assert!(seen.contains_key("dropped"));
        ticket.release();
        assert!(seen.contains_key("woken"));
        drop(woken);
        assert_idle(&seen);
    });
}

#[test]
fn blocked_thread_gets_the_value_of_a_commit() {
    let value = in_time(|| {
        let seen = map(&ManualClock::new());
        let Claim::Fresh(ticket) = seen.claim_owned("id") else {
            panic!("it is new");
        };
        let waiting = seen.clone();
        let thread = thread::spawn(move || match waiting.claim_wait_blocking("id", HOUR) {
            Claim::Duplicate { value, .. } => value,
            other => panic!("{other:?}"),
        });
        while seen.stats().waiting == 0 {
            thread::yield_now();
        }
        ticket.commit(7).expect("in time");
        thread.join().expect("no panic")
    });
    assert_eq!(value, 7);
}

#[test]
fn blocked_threads_and_tasks_wait_in_one_list() {
    in_time(|| {
        let seen = map(&ManualClock::new());
        let Claim::Fresh(ticket) = seen.claim_owned("id") else {
            panic!("it is new");
        };
        let mut first = Task::waiting(seen.claim_wait("id"));
        let waiting = seen.clone();
        let thread = thread::spawn(move || {
            fresh(waiting.claim_wait_blocking("id", HOUR)).release();
        });
        while seen.stats().waiting < 2 {
            thread::yield_now();
        }
        let mut third = Task::waiting(seen.claim_wait("id"));
        ticket.release();
        assert_eq!((first.wakes(), third.wakes()), (1, 0));
        fresh(first.output()).release();
        // The thread counts as waiting a moment before it is in the list, so either may be next.
        while third.wakes() == 0 {
            thread::yield_now();
        }
        fresh(third.output()).release();
        thread.join().expect("no panic");
        assert_eq!(third.wakes(), 1);
        drop(first);
        assert_idle(&seen);
    });
}

#[test]
fn blocked_thread_gives_up_after_its_timeout() {
    let seen = map(&ManualClock::new());
    let ticket = fresh(seen.claim("id"));
    for timeout in [Duration::ZERO, Duration::from_millis(1)] {
        let claim = seen.claim_wait_blocking("id", timeout);
        assert!(matches!(claim, Claim::InFlight { .. }));
        assert_eq!(seen.stats().waiting, 0);
    }
    ticket.release();
    let free = seen.claim_wait_blocking("id", Duration::ZERO);
    fresh(free).release();
    assert_idle(&seen);
}

/// Real time: the thread of the sweeper ends the lease.
#[test]
fn background_thread_ends_leases_of_system_clocks() {
    use leakproof::Clock;
    for clock in [Clock::coarse(), Clock::precise()] {
        in_time(move || {
            let seen = DedupMap::<str, u32>::builder()
                .ttl(HOUR)
                .max_entries(100)
                .lease(Duration::from_millis(30))
                .clock(clock)
                .build()
                .expect("valid limits");
            let hung = fresh(seen.claim("id"));
            // One thread waits for the end of the first lease, another one for the second.
            let claims = thread::scope(|scope| {
                let wait = || std::mem::forget(fresh(seen.claim_wait_blocking("id", HOUR)));
                let threads = [scope.spawn(wait), scope.spawn(wait)];
                threads.map(|thread| thread.join().expect("no panic"))
            });
            assert_eq!(claims.len(), 2);
            assert_eq!(seen.stats().waiting, 0);
            drop(hung);
        });
    }
}
