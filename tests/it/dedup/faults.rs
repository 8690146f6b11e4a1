//! Faults of an earlier version. Each test failed on it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::support::timeout::in_time;
use leakproof::{Claim, DedupMap, DedupSet, ManualClock, SetTicket, unsync};

const DAY: Duration = Duration::from_secs(86_400);

/// Returns the bytes that `work` left allocated, and its result.
fn allocated<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let mut result = None;
    let counted = allocation_counter::measure(|| result = Some(work()));
    (counted.bytes_current as usize, result.expect("it ran"))
}

fn long_id(number: u64, len: usize) -> Vec<u8> {
    let mut id = vec![0; len];
    id[..8].copy_from_slice(&number.to_le_bytes());
    id
}

/// Evicted long keys waited behind the blocks of short ones.
#[test]
fn long_keys_do_not_wait_behind_evicted_short_ones() {
    let max_bytes = 1 << 20;
    let builder = unsync::DedupSet::<str>::builder()
        .ttl(DAY)
        .max_entries(1_000_000);
    let mut seen = builder
        .max_bytes(max_bytes)
        .build()
        .expect("the limits are valid");
    let (mut bytes, ()) = allocated(|| {
        (0..30_000).for_each(|n| assert!(seen.insert(&format!("{n:045}"))));
    });
    let long = "x".repeat(1 << 17);
    for n in 0..200 {
        let (before, id) = (bytes, format!("{n}{long}"));
        let (grown, new) = allocated_signed(|| seen.insert(&id));
        assert!(new);
        bytes = (before as isize + grown) as usize;
        assert!(bytes < 2 * max_bytes, "{bytes} bytes are held");
    }
}

/// The same if the values have a `Drop`, so that entries are freed one by one.
#[test]
fn long_keys_do_not_wait_behind_values_to_be_dropped() {
    let max_bytes = 1 << 20;
    let builder = unsync::DedupMap::<str, String>::builder()
        .ttl(DAY)
        .max_entries(1_000_000);
    let mut seen = builder
        .max_bytes(max_bytes)
        .build()
        .expect("the limits are valid");
    let (bytes, ()) = allocated(|| {
        (0..25_000).for_each(|n| drop(seen.record(&format!("{n:045}"), String::new())));
    });
    let mut bytes = bytes as isize;
    let long = "x".repeat(1 << 16);
    for n in 0..1_000 {
        let id = format!("{n}{long}");
        bytes += allocated_signed(|| drop(seen.record(&id, String::new()))).0;
        assert!(bytes < 4 * max_bytes as isize, "{bytes} bytes are held");
    }
}

fn allocated_signed<R>(work: impl FnOnce() -> R) -> (isize, R) {
    let mut result = None;
    let counted = allocation_counter::measure(|| result = Some(work()));
    (counted.bytes_current as isize, result.expect("it ran"))
}

/// Removed long keys stayed until compaction had passed all other ids.
#[test]
fn removed_long_keys_are_freed_at_once() {
    let max_bytes = 1 << 20;
    let (bytes, seen) = allocated(|| {
        let builder = DedupSet::<[u8]>::builder().ttl(DAY).max_entries(1_000_000);
        let builder = builder.max_bytes(max_bytes).shards(1);
        let seen = builder.build().expect("the limits are valid");
        (0..20_000_u64).for_each(|n| assert!(seen.insert(&n.to_le_bytes())));
        for n in 0..500 {
            let id = long_id(n, 1 << 16);
            assert!(seen.insert(&id) && seen.remove(&id));
        }
        seen
    });
    assert_eq!(seen.len(), 20_000);
    assert!(bytes < 2 * max_bytes, "{bytes} bytes are held");
}

/// So did the keys of released claims.
#[test]
fn released_long_claims_are_freed_at_once() {
    let max_bytes = 1 << 20;
    let builder = DedupSet::<[u8]>::builder().ttl(DAY).max_entries(1_000_000);
    let seen = builder
        .max_bytes(max_bytes)
        .shards(1)
        .build()
        .expect("the limits are valid");
    let at_work: Vec<_> = (0..9_990_u64)
        .map(|n| seen.claim_owned(&n.to_le_bytes()))
        .collect();
    assert!(at_work.iter().all(|claim| matches!(claim, Claim::Fresh(_))));
    let mut bytes = 0;
    for n in 0..500 {
        let id = long_id(n, (1 << 16) - 1);
        let release = || assert!(matches!(seen.claim(&id), Claim::Fresh(_)));
        bytes += allocated_signed(release).0;
        assert!(bytes < max_bytes as isize, "{bytes} bytes are held");
    }
}

/// Returns a set of 100,000 ids from which those that `is_removed` selects were removed, and the
/// bytes that it takes.
fn after_removals(is_removed: fn(u32) -> bool) -> (usize, DedupSet<str>) {
    allocated(|| {
        let builder = DedupSet::<str>::builder().ttl(DAY).max_entries(1_000_000);
        let seen = builder.shards(1).build().expect("the limits are valid");
        let id = |n: u32| format!("{n:045}");
        (0..100_000).for_each(|n| assert!(seen.insert(&id(n))));
        let removed = (0..100_000).filter(|&n| is_removed(n));
        removed.for_each(|n| assert!(seen.remove(&id(n))));
        seen
    })
}

/// All ids but every thousandth were removed, and nothing was returned, not even by a sweep.
#[test]
fn sparse_removal_returns_memory() {
    let (bytes, seen) = after_removals(|n| n % 1_000 != 0);
    assert_eq!(seen.len(), 100);
    // The documented bound is 213,000.
    assert!(bytes < 220_000, "{bytes} bytes are held");
    let (swept, _) = allocated_signed(|| seen.sweep());
    let left = bytes as isize + swept;
    assert!(left < 200_000, "{left} bytes are held after a sweep");
    seen.validate();
}

/// Too few ids were removed for the removals themselves to compact.
#[test]
fn sweep_compacts_what_removals_left() {
    let (bytes, seen) = after_removals(|n| n % 10 == 0);
    let (swept, _) = allocated_signed(|| seen.sweep());
    let tenth = bytes as isize / 10;
    assert!(-swept > tenth * 3 / 4, "a sweep returns {} bytes", -swept);
    seen.validate();
}

/// Nothing was returned while claims were only released.
#[test]
fn sparse_release_returns_memory() {
    let builder = DedupSet::<u64>::builder().ttl(DAY).max_entries(100_000);
    let builder = builder.max_in_flight(100_000).lease(DAY).shards(1);
    let seen = builder.build().expect("the limits are valid");
    let (bytes, mut claims) = allocated(|| (0..50_000).map(|id| seen.claim_owned(&id)).collect());
    let mut nth = 0;
    let (released, ()) = allocated_signed(|| {
        Vec::retain(&mut claims, |_| {
            nth += 1;
            nth % 1_000 == 0
        });
    });
    assert_eq!(seen.stats().in_flight, 50);
    let left = bytes as isize + released - (claims.capacity() * size_of_val(&claims[0])) as isize;
    assert!(left < 150_000, "{left} bytes are held");
    seen.validate();
}

const EXTENDED: Duration = Duration::from_secs(120);

fn set_with_leases(time: &ManualClock) -> DedupSet<u64> {
    let builder = DedupSet::builder().ttl(DAY).max_entries(100_000);
    let builder = builder.max_in_flight(100_000).lease(EXTENDED / 2);
    let builder = builder.shards(1).clock(time);
    builder.build().expect("valid limits")
}

/// Claims 50,000 ids and extends their leases: to a day for the ids that are kept, and to
/// `EXTENDED` for the others. Returns the bytes that this allocated, and the tickets.
fn claim_extended(
    seen: &DedupSet<u64>,
    is_kept: impl Fn(u64) -> bool,
) -> (isize, Vec<SetTicket<'_, u64>>) {
    let mut tickets = Vec::with_capacity(50_000);
    let (bytes, ()) = allocated_signed(|| {
        for id in 0..50_000 {
            let Claim::Fresh(ticket) = seen.claim(&id) else {
                panic!("{id} is new");
            };
            let lease = if is_kept(id) { DAY } else { EXTENDED };
            ticket.extend(lease).expect("the lease has not expired");
            tickets.push(ticket);
        }
    });
    (bytes, tickets)
}

/// A call ends many leases, and each end compacts.
#[test]
fn sparse_ends_of_leases_return_memory() {
    let time = ManualClock::new();
    let seen = set_with_leases(&time);
    let (claimed, _tickets) = claim_extended(&seen, |id| id % 1_000 == 0);
    time.advance(EXTENDED);
    let (ended, ()) =
        allocated_signed(|| (0..1_600).for_each(|_| assert!(!seen.remove(&u64::MAX))));
    assert_eq!(seen.stats().in_flight, 50);
    let left = claimed + ended;
    assert!(left < 285_000, "{left} bytes are held");
    seen.validate();
}

/// A call ends 32 of them at most, so a sweep that stopped when its piece was done left the rest.
#[test]
fn sweep_frees_all_expired_extended_leases() {
    for (calls, kept) in [(0, 0), (1_600, 0), (1_600, 10)] {
        let time = ManualClock::new();
        let seen = set_with_leases(&time);
        let (claimed, _tickets) = claim_extended(&seen, |id| kept > 0 && id % kept == 0);
        time.advance(EXTENDED);
        let (ended, ()) =
            allocated_signed(|| (0..calls).for_each(|_| assert!(!seen.remove(&u64::MAX))));
        let (swept, _) = allocated_signed(|| seen.sweep());
        let left = claimed + ended + swept;
        if kept == 0 {
            assert!(left < 64 << 10, "{left} bytes are held after {calls} calls");
        }
        let (again, _) = allocated_signed(|| seen.sweep());
        assert_eq!(again, 0, "the first sweep freed everything");
        seen.validate();
    }
}

/// A slot full of long keys was never compacted, whatever its values took.
#[test]
fn removed_values_between_long_keys_are_returned() {
    let (bytes, seen) = allocated(|| {
        let builder = DedupMap::<[u8], [u8; 1024]>::builder()
            .ttl(DAY)
            .max_entries(1_000);
        let seen = builder.shards(1).build().expect("the limits are valid");
        for n in 0..50_u64 {
            for short in n * 1_024..n * 1_024 + 1_023 {
                let _ = seen.record(&short.to_le_bytes(), [1; 1024]);
                assert!(seen.remove(&short.to_le_bytes()).is_some());
            }
            let _ = seen.record(&long_id(n, 1 << 16), [1; 1024]);
        }
        seen
    });
    let formula = seen.len() * ((1 << 16) + 1024);
    let constant = 4 * 1_024 * 1_400;
    assert!(bytes < formula * 5 / 4 + constant, "{bytes} bytes are held");
}

/// Long keys used up the numbers of the ids in flight, so ids in flight were claimed again.
#[test]
fn claimed_id_is_not_claimed_twice_beside_long_claims() {
    let builder = DedupSet::<[u8]>::builder().ttl(DAY).max_entries(10_000_000);
    let builder = builder.max_in_flight(1_000_000).lease(DAY).shards(1);
    let seen = builder.build().expect("the limits are valid");
    let mut tickets = Vec::new();
    let mut claim = |id: &[u8]| match seen.claim_owned(id) {
        Claim::Fresh(ticket) => {
            tickets.push(ticket);
            true
        }
        _ => false,
    };
    (0..100_000_u64).for_each(|n| assert!(claim(&n.to_le_bytes())));
    for n in 0..9_500 {
        let id = long_id(n, 1 << 12);
        assert!(claim(&id) && !claim(&id), "{n} is handled by two at once");
    }
}

/// Removed long keys used up the numbers, so live ids were evicted below the bounds.
#[test]
fn removed_long_keys_evict_nothing() {
    let builder = unsync::DedupSet::<[u8]>::builder()
        .ttl(DAY)
        .max_entries(10_000_000);
    let mut seen = builder
        .max_bytes(32 << 20)
        .build()
        .expect("the limits are valid");
    (0..200_000_u64).for_each(|n| assert!(seen.insert(&n.to_le_bytes())));
    for n in 0..9_000 {
        let id = long_id(n, 1 << 16);
        assert!(seen.insert(&id) && seen.remove(&id));
    }
    assert!((0..200_000_u64).all(|n| seen.contains(&n.to_le_bytes())));
    assert_eq!(seen.stats().evicted, 0);
}

#[derive(Clone, Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a value's drop");
    }
}

/// The ticket was lost with the panic, and the id stayed in flight.
#[test]
fn panicking_drop_during_claim_releases_the_id() {
    let time = ManualClock::new();
    let ttl = Duration::from_secs(60);
    let builder = DedupMap::<str, Bomb>::builder()
        .ttl(ttl)
        .max_entries(10)
        .clock(&time);
    let builder = builder.lease(Duration::MAX).max_in_flight(1);
    let seen = builder.build().expect("the limits are valid");
    let _ = seen.record("old", Bomb);
    (0..20).for_each(|_| assert!(seen.remove("none").is_none()));
    time.advance(ttl);
    let claimed = catch_unwind(AssertUnwindSafe(|| std::mem::forget(seen.claim("new"))));
    assert!(claimed.is_err(), "the drop of the expired value panics");
    assert!(matches!(seen.claim("new"), Claim::Fresh(_)));
}

#[test]
fn panicking_drop_during_unsync_claim_releases_the_id() {
    let time = ManualClock::new();
    let ttl = Duration::from_secs(60);
    let builder = unsync::DedupMap::<str, Bomb>::builder()
        .ttl(ttl)
        .max_entries(10);
    let builder = builder.lease(Duration::MAX).max_in_flight(1).clock(&time);
    let mut seen = builder.build().expect("the limits are valid");
    let _ = seen.record("old", Bomb);
    (0..20).for_each(|_| assert!(seen.remove("none").is_none()));
    time.advance(ttl);
    let claimed = catch_unwind(AssertUnwindSafe(|| std::mem::forget(seen.claim("new"))));
    assert!(claimed.is_err(), "the drop of the expired value panics");
    assert!(matches!(seen.claim("new"), Claim::Fresh(_)));
}

/// After `clear`, new ids got the numbers of old ones, and an iteration that clears the map did not
/// end.
#[test]
fn for_each_ends_if_its_callback_clears_the_map() {
    in_time(|| {
        let time = ManualClock::new();
        let builder = DedupSet::<u64>::builder()
            .ttl(DAY)
            .max_entries(1_000)
            .clock(&time);
        let seen = builder.shards(1).build().expect("the limits are valid");
        let mut ids = 0..;
        let mut insert = |count| {
            let new = ids.by_ref().take(count);
            new.for_each(|id| assert!(seen.insert(&id)));
        };
        // An iteration copies 64 ids at a time, and asks for more when these were visited.
        insert(200);
        let mut visited = 0;
        seen.for_each(|_, _| {
            visited += 1;
            seen.clear();
            // Once more, and once fewer, than the iteration has passed. If numbers began anew, it
            // would go on among them, and then begin at the first one.
            insert([100, 150][visited / 64 % 2]);
            assert!(
                visited <= 200,
                "ids recorded during the iteration are visited"
            );
        });
    });
}
