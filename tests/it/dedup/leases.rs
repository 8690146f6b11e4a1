//! Leases that are extended, and what a ticket knows of its claim.

use std::time::Duration;

use crate::support::task::Task;
use leakproof::{Claim, DedupMap, DedupSet, LeaseExpired, ManualClock, SetTicket, unsync};

const LEASE: Duration = Duration::from_secs(60);
const NANO: Duration = Duration::from_nanos(1);
const EXPIRED: Result<(), LeaseExpired> = Err(LeaseExpired { value: () });

fn set(time: &ManualClock, max_in_flight: usize) -> DedupSet<str> {
    DedupSet::builder()
        .ttl(60 * LEASE)
        .max_entries(1_000)
        .lease(LEASE)
        .max_in_flight(max_in_flight)
        .clock(time)
        .shards(1)
        .build()
        .expect("the limits are valid")
}

fn claim<'a>(seen: &'a DedupSet<str>, id: &str) -> SetTicket<'a, str> {
    match seen.claim(id) {
        Claim::Fresh(ticket) => ticket,
        other => panic!("{id}: {other:?}"),
    }
}

#[test]
fn extended_lease_ends_at_the_new_time() {
    let time = ManualClock::new();
    let seen = set(&time, 10);
    for duration in [NANO, LEASE / 2, LEASE, 10 * LEASE] {
        let ticket = claim(&seen, "id");
        time.advance(LEASE / 2);
        ticket.extend(duration).expect("the lease has not expired");
        let left = duration.max(LEASE / 2);
        time.advance(left - NANO);
        assert!(
            matches!(seen.claim("id"), Claim::InFlight { since } if since == LEASE / 2 + left - NANO)
        );
        time.advance(NANO);
        let next = claim(&seen, "id");
        assert_eq!(ticket.extend(LEASE), EXPIRED);
        assert_eq!(ticket.commit(), EXPIRED);
        next.release();
        seen.validate();
    }
    assert_eq!(seen.stats().leases_expired, 4);
}

#[test]
fn extend_never_shortens_a_lease() {
    let time = ManualClock::new();
    let seen = set(&time, 10);
    let ticket = claim(&seen, "id");
    ticket.extend(5 * LEASE).expect("the lease has not expired");
    ticket.extend(NANO).expect("the lease has not expired");
    time.advance(5 * LEASE - NANO);
    assert_eq!(ticket.key().as_deref(), Some("id"));
    ticket.commit().expect("the lease has not expired");
    assert!(seen.contains("id"));
}

#[test]
fn extended_leases_of_other_durations_expire_in_their_order() {
    let time = ManualClock::new();
    let seen = set(&time, 100);
    let tickets: Vec<_> = (0..100)
        .map(|id| (id, claim(&seen, &format!("{id}"))))
        .collect();
    for (id, ticket) in &tickets {
        let seconds = 60 + (id * 37) % 100;
        let duration = Duration::from_secs(seconds);
        ticket.extend(duration).expect("the lease has not expired");
    }
    for second in 60..160 {
        time.set(Duration::from_secs(second));
        assert_eq!(seen.stats().in_flight as u64, 159 - second);
        for (id, ticket) in &tickets {
            assert_eq!(ticket.key().is_some(), 60 + (id * 37) % 100 > second);
        }
    }
    assert_eq!(seen.stats().leases_expired, 100);
}

#[test]
fn expired_extended_leases_free_their_places_at_once() {
    // More than one call removes, so the rest must not count.
    let time = ManualClock::new();
    let seen = set(&time, 200);
    let tickets: Vec<_> = (0..200).map(|id| claim(&seen, &format!("{id}"))).collect();
    for ticket in &tickets {
        ticket.extend(2 * LEASE).expect("the lease has not expired");
    }
    assert!(matches!(seen.claim("one more"), Claim::Full));
    time.advance(2 * LEASE);
    assert_eq!(seen.stats().in_flight, 0);
    let again: Vec<_> = (0..200).map(|id| claim(&seen, &format!("{id}"))).collect();
    assert!(matches!(seen.claim("one more"), Claim::Full));
    drop(tickets);
    assert_eq!(seen.stats().in_flight, 200, "late drops release nothing");
    drop(again);
    assert_eq!(seen.stats().in_flight, 0);
    seen.validate();
}

#[test]
fn extended_claim_is_kept_by_remove_clear_and_eviction() {
    let time = ManualClock::new();
    let seen = set(&time, 10);
    let ticket = claim(&seen, "id");
    ticket.extend(2 * LEASE).expect("the lease has not expired");
    time.advance(LEASE);
    assert!(!seen.remove("id") && !seen.insert("id"));
    seen.clear();
    (0..2_000).for_each(|id| assert!(seen.insert(&format!("{id}"))));
    seen.sweep();
    assert!(matches!(seen.claim("id"), Claim::InFlight { .. }));
    ticket.commit().expect("the lease has not expired");
    assert!(seen.contains("id"));
}

#[test]
fn repeated_extension_takes_no_more_memory() {
    let time = ManualClock::new();
    let seen = set(&time, 10);
    let ticket = claim(&seen, "id");
    ticket.extend(LEASE).expect("the lease has not expired");
    let counted = allocation_counter::measure(|| {
        for _ in 0..100_000 {
            time.advance(LEASE / 2);
            ticket.extend(LEASE).expect("the lease has not expired");
        }
    });
    assert!(
        counted.bytes_current < 1_000,
        "{} bytes",
        counted.bytes_current
    );
}

/// A sweep frees claims of both kinds in each piece, so both have more left after the first piece.
#[test]
fn sweep_frees_leases_of_both_kinds_that_ended_at_once() {
    const EACH: u64 = 70_000;
    let time = ManualClock::new();
    let builder = DedupSet::<u64>::builder().ttl(60 * LEASE).lease(LEASE);
    let builder = builder.max_entries(10).max_in_flight(200_000);
    let seen = builder.shards(1).clock(&time).build();
    let seen = seen.expect("the limits are valid");
    let mut tickets = Vec::with_capacity(2 * EACH as usize);
    let counted = allocation_counter::measure(|| {
        for id in 0..2 * EACH {
            let Claim::Fresh(ticket) = seen.claim(&id) else {
                panic!("{id} is fresh")
            };
            if id < EACH {
                ticket.extend(LEASE).expect("the lease has not expired");
            }
            tickets.push(ticket);
        }
        // The alarm ends all leases in one call.
        drop(Task::waiting(seen.claim_wait(&0)));
        time.advance(LEASE);
        seen.sweep();
    });
    let held = counted.bytes_current;
    assert!(held < 64 << 10, "{held} bytes are held");
    seen.validate();
}

#[test]
fn unsync_token_can_be_extended() {
    let time = ManualClock::new();
    let builder = unsync::DedupMap::<u64, u64>::builder()
        .ttl(60 * LEASE)
        .max_entries(10);
    let mut seen = builder
        .lease(LEASE)
        .clock(&time)
        .build()
        .expect("the limits are valid");
    let Claim::Fresh(token) = seen.claim(&1) else {
        panic!("the id is fresh")
    };
    assert_eq!(seen.claimed_key(&token), Some(&1));
    seen.extend(&token, 3 * LEASE)
        .expect("the lease has not expired");
    time.advance(2 * LEASE);
    seen.commit(token, 7).expect("the lease has not expired");
    assert_eq!(seen.get(&1), Some(&7));
}

#[test]
fn dedup_handles_are_clone_send_and_sync() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    // A generic caller can name all bounds.
    fn generic<K: ?Sized + leakproof::Key + Send + 'static>() -> DedupSet<K> {
        DedupSet::new(10, LEASE)
    }
    shared::<DedupMap<str, String>>();
    shared::<DedupSet<[u8]>>();
    let seen = generic::<u64>();
    assert_eq!((seen.max_entries(), seen.ttl()), (10, LEASE));
    assert!(seen.clone().insert(&1) && !seen.insert(&1));
}
