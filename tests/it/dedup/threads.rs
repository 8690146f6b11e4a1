//! Real threads, all at once: what must hold under concurrency.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::concurrently::{THREADS, together};
use leakproof::{Claim, DedupMap, DedupSet, ManualClock, Recorded};

const TTL: Duration = Duration::from_secs(60);

#[test]
fn concurrent_inserts_return_true_once() {
    let seen = DedupSet::<u64>::builder()
        .ttl(TTL)
        .max_entries(100_000)
        .shards(4)
        .build()
        .expect("the limits are valid");
    let new = together(|thread| {
        // Each thread goes through the same ids, in an order of its own.
        (0..20_000_u64)
            .filter(|step| seen.insert(&(step * (2 * thread as u64 + 1) % 20_011 % 20_000)))
            .count()
    });
    assert_eq!(new.iter().sum::<usize>(), seen.len());
    assert_eq!(seen.stats().inserted, seen.len() as u64);
    assert_eq!(
        seen.stats().inserted + seen.stats().duplicates,
        20_000 * THREADS as u64
    );
    seen.validate();
}

#[test]
fn concurrent_records_and_batches_return_new_once() {
    let seen = DedupSet::<str>::builder()
        .ttl(TTL)
        .max_entries(100_000)
        .shards(4)
        .build()
        .expect("the limits are valid");
    let ids: Vec<String> = (0..10_000).map(|id| format!("id-{id}")).collect();
    let new = together(|thread| match thread % 2 {
        0 => ids
            .chunks(100)
            .flat_map(|ids| seen.insert_batch(ids))
            .filter(|&new| new)
            .count(),
        _ => ids
            .iter()
            .filter(|id| seen.record(id) == Recorded::New)
            .count(),
    });
    assert_eq!(new.iter().sum::<usize>(), ids.len());
}

#[test]
fn concurrent_claims_handle_each_id_once() {
    let builder = DedupMap::<u64, usize>::builder()
        .ttl(TTL)
        .max_entries(100_000)
        .shards(4);
    let seen = builder
        .lease(Duration::from_secs(3600))
        .max_in_flight(THREADS)
        .build()
        .expect("the limits are valid");
    let handled = AtomicUsize::new(0);
    let in_flight = AtomicUsize::new(0);
    together(|thread| {
        let mut left: Vec<u64> = (0..3_000).collect();
        for round in 0_u64.. {
            left.retain(|&id| match seen.claim(&id) {
                // Every third delivery fails. The next claim of its id handles it.
                Claim::Fresh(ticket) => {
                    assert!(
                        in_flight.fetch_add(1, Ordering::SeqCst) < THREADS,
                        "the bound in flight is exact"
                    );
                    let fails = (id + round).is_multiple_of(3);
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                    if !fails {
                        handled.fetch_add(1, Ordering::SeqCst);
                        ticket.commit(thread).expect("within the lease");
                    }
                    fails
                }
                Claim::Duplicate { .. } => false,
                Claim::InFlight { .. } | Claim::Full => true,
            });
            if left.is_empty() {
                break;
            }
        }
    });
    assert_eq!(handled.load(Ordering::SeqCst), 3_000, "each id once");
    assert_eq!((seen.len(), seen.stats().in_flight), (3_000, 0));
    seen.validate();
}

#[test]
fn bounds_hold_under_concurrent_writes() {
    let time = ManualClock::new();
    let builder = DedupMap::<str, u64>::builder()
        .ttl(TTL)
        .max_entries(1_000)
        .max_bytes(20_000)
        .shards(3);
    let seen = builder
        .clock(time.clock())
        .build()
        .expect("the limits are valid");
    let steps = AtomicU64::new(0);
    together(|thread| {
        for _ in 0..10_000 {
            let step = steps.fetch_add(1, Ordering::Relaxed);
            let id = "x".repeat((step % 60) as usize) + &(step % 3_000).to_string();
            match (step + thread as u64) % 16 {
                0 => drop(seen.remove(&id)),
                1 => drop(seen.sweep()),
                2 => time.advance(Duration::from_millis(step % 3_000)),
                3 => {
                    if let Claim::Fresh(ticket) = seen.claim(&id) {
                        ticket.commit(step).ok();
                    }
                }
                4 => assert!(seen.stats().len <= 1_000 && seen.stats().bytes <= 20_000),
                5 => time.set(Duration::from_secs(step % 100)),
                _ => drop(seen.record(&id, step)),
            }
        }
    });
    seen.validate();
    let mut live = HashSet::new();
    seen.for_each(|id, _, age| assert!(live.insert(id.to_owned()) && age < TTL));
    assert_eq!(live.len(), seen.len());
}

#[test]
fn panicking_thread_releases_its_claims() {
    let seen = DedupSet::<str>::new(100, TTL);
    let died = thread::scope(|scope| {
        let claim = || {
            let Claim::Fresh(_ticket) = seen.claim("id") else {
                panic!("fresh")
            };
            panic!("half-way");
        };
        scope.spawn(claim).join()
    });
    assert!(died.is_err());
    assert!(seen.insert("id"));
}
