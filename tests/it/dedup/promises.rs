//! The promises of `DedupMap`, one by one, on the shared map and on the single-threaded core.

use std::time::Duration;

use crate::support::timeout::in_time;
use leakproof::{Claim, DedupMap, DedupSet, ManualClock, Recorded, unsync};

const TTL: Duration = Duration::from_secs(3600);
const NANO: Duration = Duration::from_nanos(1);

fn set(time: &ManualClock, max_entries: usize) -> DedupSet<str> {
    DedupSet::builder()
        .ttl(TTL)
        .max_entries(max_entries)
        .clock(time.clock())
        .build()
        .expect("the limits are valid")
}

fn map<V: Send + 'static>(time: &ManualClock, max_entries: usize) -> DedupMap<str, V> {
    DedupMap::builder()
        .ttl(TTL)
        .max_entries(max_entries)
        .lease(Duration::from_secs(60))
        .max_in_flight(3)
        .clock(time.clock())
        .build()
        .expect("the limits are valid")
}

// Promise 1: an id is a duplicate in `[t, t + ttl)` and fresh from `t + ttl` on.

#[test]
fn insert_accepts_id_again_at_ttl() {
    let time = ManualClock::new();
    time.advance(Duration::from_secs(7));
    let seen = set(&time, 10);
    assert!(seen.insert("id"));
    assert!(!seen.insert("id"));
    time.advance(TTL - NANO);
    assert!(!seen.insert("id"), "one nanosecond before its ttl");
    time.advance(NANO);
    assert!(seen.insert("id"), "at its ttl");
    assert!(!seen.insert("id"));
}

#[test]
fn duplicate_does_not_extend_ttl() {
    let time = ManualClock::new();
    let seen = set(&time, 10);
    seen.insert("id");
    for _ in 0..59 {
        time.advance(Duration::from_secs(60));
        assert!(!seen.insert("id"));
        assert!(seen.contains("id"));
    }
    time.advance(Duration::from_secs(60));
    assert!(seen.insert("id"));
}

#[test]
fn sweep_changes_no_answer() {
    let time = ManualClock::new();
    let seen = set(&time, 10_000);
    for step in 0..5_000_u64 {
        time.set(Duration::from_secs(step * 10));
        assert!(seen.insert(&step.to_string()));
        if step % 100 == 0 {
            seen.sweep();
        }
        let window = TTL.as_secs() / 10;
        for back in [1, window - 1, window, window + 1]
            .into_iter()
            .filter(|&back| back <= step)
        {
            assert_eq!(
                seen.contains(&(step - back).to_string()),
                back < window,
                "{back} back at {step}"
            );
        }
    }
}

#[test]
fn ids_expire_at_ttl_after_others_were_removed() {
    for stays in [1, 10] {
        let time = ManualClock::new();
        let builder = unsync::DedupSet::<u64>::builder()
            .ttl(Duration::from_secs(10_000))
            .max_entries(10_000);
        let mut seen = builder
            .clock(time.clock())
            .build()
            .expect("the limits are valid");
        for id in 0..5_120 {
            time.set(Duration::from_secs(id));
            seen.insert(&id);
        }
        (stays..3_600).for_each(|id| assert!(seen.remove(&id)));
        // Ids up to 3,800 expire.
        time.set(Duration::from_secs(13_800));
        assert_eq!(
            (seen.len(), seen.stats().oldest_entry_age),
            (1_319, Some(Duration::from_secs(9_999)))
        );
        assert!(seen.insert(&3_700) && !seen.insert(&3_801));
        (10_000..10_020).for_each(|id| assert!(seen.insert(&id)));
        seen.validate();
    }
}

#[test]
fn eviction_is_counted_with_the_shortest_window() {
    let time = ManualClock::new();
    let seen = set(&time, 3);
    for (second, id) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        time.set(Duration::from_secs(10 * second as u64));
        assert!(seen.insert(id));
    }
    let stats = seen.stats();
    assert_eq!((stats.len, stats.evicted, stats.expired), (3, 2, 0));
    assert_eq!(stats.shortest_window, Some(Duration::from_secs(30)));
    time.advance(Duration::from_secs(5));
    seen.insert("f");
    assert_eq!(seen.stats().shortest_window, Some(Duration::from_secs(25)));
    assert!(!seen.contains("a") && seen.contains("d"));
}

#[test]
fn clock_may_stand_still_jump_and_go_back() {
    let time = ManualClock::new();
    let seen = set(&time, 10);
    assert!(seen.insert("a") && !seen.insert("a"));
    time.advance(Duration::from_secs(300 * 365 * 24 * 3600));
    assert!(seen.insert("a"), "years later");
    time.set(Duration::ZERO);
    assert!(!seen.insert("a"), "backwards counts as standing still");
    assert_eq!(seen.age("a"), Some(Duration::ZERO));
    time.set(Duration::MAX);
    assert!(seen.insert("a"), "at the end of time");
    assert!(!seen.insert("a"));
}

#[test]
fn max_ttl_never_expires() {
    let time = ManualClock::new();
    let seen = DedupSet::<str>::builder()
        .ttl(Duration::MAX)
        .max_entries(2)
        .clock(time.clock())
        .build()
        .expect("the limits are valid");
    seen.insert("a");
    for end in [Duration::from_nanos(u64::MAX - 1), Duration::MAX] {
        time.set(end);
        assert!(!seen.insert("a"));
        assert_eq!(
            (seen.contains("a"), seen.len(), seen.stats().expired),
            (true, 1, 0)
        );
        seen.for_each(|id, _| assert_eq!(id, "a"));
        assert_eq!(seen.sweep(), 0);
    }
}

#[test]
fn max_lease_never_expires() {
    let time = ManualClock::new();
    let builder = DedupSet::<str>::builder()
        .ttl(TTL)
        .max_entries(2)
        .lease(Duration::MAX);
    let seen = builder
        .clock(time.clock())
        .build()
        .expect("the limits are valid");
    let Claim::Fresh(ticket) = seen.claim("a") else {
        panic!("fresh")
    };
    time.set(Duration::MAX);
    assert!(matches!(seen.claim("a"), Claim::InFlight { .. }));
    ticket.commit().expect("within the lease");
}

// Promise 2 is in `threads.rs`.

// Promise 3: reading respects expiry and refreshes nothing.

#[test]
fn reads_respect_expiry_and_refresh_nothing() {
    let time = ManualClock::new();
    let seen = map::<u32>(&time, 10);
    assert_eq!(seen.record("id", 7), Recorded::New);
    time.advance(TTL / 2);
    assert_eq!(
        (seen.contains_key("id"), seen.get("id"), seen.age("id")),
        (true, Some(7), Some(TTL / 2))
    );
    assert_eq!(
        seen.record("id", 8),
        Recorded::Duplicate {
            age: TTL / 2,
            value: 7
        }
    );
    time.advance(TTL / 2);
    assert_eq!(
        (seen.contains_key("id"), seen.get("id"), seen.age("id")),
        (false, None, None)
    );
}

// Promise 4: claims.

#[test]
fn claimed_id_is_in_flight_until_commit() {
    let time = ManualClock::new();
    let seen = map::<u32>(&time, 10);
    let Claim::Fresh(ticket) = seen.claim("id") else {
        panic!("fresh")
    };
    time.advance(Duration::from_secs(5));
    assert!(
        matches!(seen.claim("id"), Claim::InFlight { since } if since == Duration::from_secs(5))
    );
    assert_eq!(seen.record("id", 1), Recorded::InFlight);
    assert!(!seen.contains_key("id"), "in flight is not recorded");
    assert_eq!((seen.len(), seen.stats().in_flight), (0, 1));
    ticket.commit(2).expect("within the lease");
    assert!(matches!(
        seen.claim("id"),
        Claim::Duplicate {
            age: Duration::ZERO,
            value: 2
        }
    ));
    assert_eq!((seen.len(), seen.stats().in_flight), (1, 0));
}

#[test]
fn set_ticket_knows_its_key() {
    let seen = set(&ManualClock::new(), 10);
    let Claim::Fresh(ticket) = seen.claim("id") else {
        panic!("fresh")
    };
    assert!(ticket.is_stored());
    assert_eq!(ticket.key().as_deref(), Some("id"));
}

#[test]
fn insert_returns_false_for_id_in_flight() {
    let seen = set(&ManualClock::new(), 10);
    let Claim::Fresh(ticket) = seen.claim("id") else {
        panic!("fresh")
    };
    assert!(!seen.insert("id"));
    assert_eq!(seen.insert_batch(["id", "other"]), [false, true]);
    drop(ticket);
    assert!(seen.insert("id"));
}

#[test]
fn dropped_or_released_ticket_frees_its_id() {
    let seen = map::<u32>(&ManualClock::new(), 10);
    let Claim::Fresh(ticket) = seen.claim("id") else {
        panic!("fresh")
    };
    drop(ticket);
    let Claim::Fresh(ticket) = seen.claim("id") else {
        panic!("fresh after a drop")
    };
    ticket.release();
    let Claim::Fresh(ticket) = seen.claim("id") else {
        panic!("fresh after a release")
    };
    ticket.commit(1).expect("within the lease");
    assert!(matches!(seen.claim("id"), Claim::Duplicate { .. }));
    assert_eq!(seen.stats().released, 2);
}

#[test]
fn panicking_handler_releases_its_id() {
    let seen = map::<u32>(&ManualClock::new(), 10);
    let handled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let Claim::Fresh(_ticket) = seen.claim("id") else {
            panic!("fresh")
        };
        panic!("the handler");
    }));
    assert!(handled.is_err());
    assert!(
        matches!(seen.claim("id"), Claim::Fresh(_)),
        "the redelivery is handled"
    );
}

#[test]
fn commit_starts_the_ttl() {
    let time = ManualClock::new();
    let seen = map::<u32>(&time, 10);
    let Claim::Fresh(ticket) = seen.claim("id") else {
        panic!("fresh")
    };
    time.advance(Duration::from_secs(59));
    ticket.commit(1).expect("within the lease");
    time.advance(TTL - NANO);
    assert!(seen.contains_key("id"));
    time.advance(NANO);
    assert!(!seen.contains_key("id"));
}

#[test]
fn expired_lease_admits_one_new_claimant() {
    let time = ManualClock::new();
    let seen = map::<u32>(&time, 10);
    let Claim::Fresh(late) = seen.claim("id") else {
        panic!("fresh")
    };
    time.advance(Duration::from_secs(60) - NANO);
    assert!(matches!(seen.claim("id"), Claim::InFlight { .. }));
    time.advance(NANO);
    let Claim::Fresh(second) = seen.claim("id") else {
        panic!("the lease ran out")
    };
    assert!(
        matches!(seen.claim("id"), Claim::InFlight { .. }),
        "one new claimant"
    );
    assert_eq!(
        late.commit(1).expect_err("void").value,
        1,
        "the value comes back"
    );
    assert!(
        matches!(seen.claim("id"), Claim::InFlight { .. }),
        "the late commit changed nothing"
    );
    second.commit(2).expect("within its lease");
    assert_eq!(seen.get("id"), Some(2));
    assert_eq!(seen.stats().leases_expired, 1);
}

#[test]
fn late_drop_does_not_release_the_next_claim() {
    let time = ManualClock::new();
    let seen = map::<u32>(&time, 10);
    let Claim::Fresh(late) = seen.claim("id") else {
        panic!("fresh")
    };
    time.advance(Duration::from_secs(60));
    let Claim::Fresh(_second) = seen.claim("id") else {
        panic!("the lease ran out")
    };
    drop(late);
    assert!(matches!(seen.claim("id"), Claim::InFlight { .. }));
}

#[test]
fn claim_returns_full_at_max_in_flight() {
    let time = ManualClock::new();
    let seen = map::<u32>(&time, 10);
    let tickets: Vec<_> = ["a", "b", "c"].map(|id| seen.claim(id)).into();
    assert!(matches!(seen.claim("d"), Claim::Full));
    drop(tickets);
    let Claim::Fresh(_a) = seen.claim("a") else {
        panic!("there is room in flight")
    };
    let Claim::Fresh(_b) = seen.claim("b") else {
        panic!("there is room in flight")
    };
    let Claim::Fresh(_c) = seen.claim("c") else {
        panic!("there is room in flight")
    };
    time.advance(Duration::from_secs(60));
    assert!(
        matches!(seen.claim("d"), Claim::Fresh(_)),
        "expired leases free their room in flight"
    );
    assert_eq!(seen.stats().claims_rejected, 1);
}

#[test]
fn expired_leases_of_other_shards_free_their_places() {
    let time = ManualClock::new();
    let builder = DedupSet::<u64>::builder()
        .ttl(TTL)
        .max_entries(1_000)
        .shards(16)
        .max_in_flight(16);
    let seen = builder
        .lease(Duration::from_secs(1))
        .clock(time.clock())
        .build()
        .expect("the limits are valid");
    let tickets: Vec<_> = (0..16).map(|id| seen.claim(&id)).collect();
    assert!(tickets.iter().all(|claim| matches!(claim, Claim::Fresh(_))));
    assert!(
        matches!(seen.claim(&16), Claim::Full),
        "the bound is one for all shards"
    );
    time.advance(Duration::from_secs(1));
    let again: Vec<_> = (100..116).map(|id| seen.claim(&id)).collect();
    assert!(again.iter().all(|claim| matches!(claim, Claim::Fresh(_))));
    assert!(matches!(seen.claim(&200), Claim::Full));
    assert_eq!(seen.stats().claims_rejected, 2);
}

#[test]
fn owned_ticket_keeps_the_map_alive() {
    let seen = map::<u32>(&ManualClock::new(), 10);
    let Claim::Fresh(ticket) = seen.claim_owned("id") else {
        panic!("fresh")
    };
    let handle = std::thread::spawn(move || ticket.commit(3));
    handle.join().expect("no panic").expect("within the lease");
    assert_eq!(seen.get("id"), Some(3));
    let Claim::Fresh(orphan) = seen.claim_owned("other") else {
        panic!("fresh")
    };
    drop(seen);
    orphan.commit(4).expect("the ticket keeps the map");
}

#[test]
fn remove_and_clear_keep_claimed_ids() {
    let seen = map::<u32>(&ManualClock::new(), 10);
    let Claim::Fresh(ticket) = seen.claim("id") else {
        panic!("fresh")
    };
    assert_eq!(seen.remove("id"), None);
    seen.clear();
    assert!(matches!(seen.claim("id"), Claim::InFlight { .. }));
    ticket.commit(1).expect("within the lease");
    assert_eq!(seen.len(), 1);
}

// Promise 5: bounds.

#[test]
fn insert_at_bound_evicts_the_oldest() {
    let time = ManualClock::new();
    for max in [1, 2, 63, 64, 65, 1_000] {
        let seen = set(&time, max);
        for id in 0..3 * max {
            assert!(seen.insert(&id.to_string()));
            assert!(seen.contains(&id.to_string()), "the new id stays");
            assert!(seen.len() <= max);
        }
        for id in 0..3 * max {
            assert_eq!(
                seen.contains(&id.to_string()),
                id >= 2 * max,
                "{id} of {max}"
            );
        }
    }
}

#[test]
fn eviction_spares_ids_in_flight() {
    let seen = map::<u32>(&ManualClock::new(), 2);
    let Claim::Fresh(ticket) = seen.claim("claimed") else {
        panic!("fresh")
    };
    for id in 0..100_u32 {
        seen.record(&id.to_string(), id);
    }
    assert!(matches!(seen.claim("claimed"), Claim::InFlight { .. }));
    ticket.commit(1).expect("within the lease");
    assert!(seen.contains_key("claimed") && seen.contains_key("99") && !seen.contains_key("98"));
}

#[test]
fn max_bytes_evicts_the_oldest() {
    let seen = DedupSet::<str>::builder()
        .ttl(TTL)
        .max_entries(100)
        .max_bytes(10)
        .build()
        .expect("the limits are valid");
    assert!(seen.insert("aaaa") && seen.insert("bbbb") && seen.insert("cc"));
    assert_eq!(seen.stats().bytes, 10);
    assert!(seen.insert("d"), "one more byte");
    assert!(
        !seen.contains("aaaa")
            && seen.contains("bbbb")
            && seen.contains("cc")
            && seen.contains("d")
    );
    assert!(seen.insert("0123456789"), "as long as the bound");
    assert_eq!(
        (seen.len(), seen.stats().bytes, seen.stats().evicted),
        (1, 10, 4)
    );
    assert_eq!(seen.stats().evicted_by_bytes, 4);
    assert!(seen.insert(""), "an empty key weighs nothing");
    assert_eq!(seen.len(), 2);
}

#[test]
fn getters_return_the_options() {
    macro_rules! check {
        ($collection:ty, $([$mutable:tt])? $seen:ident => $record:expr) => {
            let $($mutable)? $seen = <$collection>::builder()
                .ttl(TTL)
                .max_entries(7)
                .max_in_flight(3)
                .build()
                .expect("the limits are valid");
            assert_eq!(($seen.max_entries(), $seen.ttl()), (7, TTL));
            assert_eq!($seen.stats().max_in_flight, 3);
            assert!($seen.is_empty());
            assert!($record);
            assert!(!$seen.is_empty());
        };
    }
    check!(DedupMap<str, u8>, seen => seen.record("id", 1) == Recorded::New);
    check!(DedupSet<str>, seen => seen.insert("id"));
    check!(unsync::DedupMap<str, u8>, [mut] seen => seen.record("id", 1) == Recorded::New);
    check!(unsync::DedupSet<str>, [mut] seen => seen.insert("id"));
    let lease = Duration::from_secs(60);
    assert_eq!(map::<u8>(&ManualClock::new(), 7).lease(), lease);
}

#[test]
fn key_above_max_bytes_is_rejected() {
    let seen = DedupSet::<[u8]>::builder()
        .ttl(TTL)
        .max_entries(100)
        .max_bytes(10)
        .build()
        .expect("the limits are valid");
    seen.insert(b"kept");
    let long = [7; 11];
    assert!(
        seen.insert(&long) && seen.insert(&long),
        "handled twice at worst, never lost"
    );
    let Claim::Fresh(ticket) = seen.claim(&long) else {
        panic!("fresh")
    };
    assert!(!ticket.is_stored(), "the caller can tell it apart");
    assert_eq!((ticket.key(), ticket.extend(TTL)), (None, Ok(())));
    ticket.commit().expect("handled");
    let stats = seen.stats();
    assert_eq!(
        (stats.rejected, stats.len, stats.evicted, stats.in_flight),
        (3, 1, 0, 0)
    );
    assert!(seen.contains(b"kept"), "nothing was evicted for it");
    assert_eq!(seen.record(&long), Recorded::Rejected { value: () });
    let Claim::Fresh(ticket) = seen.claim(&long[..10]) else {
        panic!("fresh")
    };
    assert!(ticket.is_stored(), "as long as the bound");
}

/// Every shard has its share of the bound, and a key must fit into that of its own.
#[test]
fn small_max_bytes_is_not_divided_among_shards() {
    let builder = DedupSet::<[u8]>::builder().ttl(TTL);
    let builder = builder.max_entries(10_000_000).max_bytes(1_000);
    let seen = builder.build().expect("the limits are valid");
    assert_eq!(seen.record(&[7; 1_000]), Recorded::New);
}

#[test]
fn key_without_room_beside_claims_is_rejected() {
    let builder = DedupSet::<str>::builder()
        .ttl(TTL)
        .max_entries(100)
        .max_bytes(10)
        .shards(1);
    let seen = builder.build().expect("the limits are valid");
    let Claim::Fresh(ticket) = seen.claim("in flight") else {
        panic!("fresh")
    };
    assert!(
        seen.insert("bb") && seen.insert("bb"),
        "handled twice at worst, never lost"
    );
    assert!(matches!(seen.claim("bb"), Claim::Full));
    let stats = seen.stats();
    assert_eq!(
        (stats.rejected, stats.claims_rejected, stats.bytes),
        (2, 1, 9),
        "the bound holds"
    );
    drop(ticket);
    assert!(seen.insert("bb") && !seen.insert("bb"));
}

// Promise 7: what is counted is live.

#[test]
fn len_counts_live_ids_only() {
    let time = ManualClock::new();
    let seen = set(&time, 100_000);
    for second in 0..5_000_u64 {
        time.set(Duration::from_secs(second));
        seen.insert(&second.to_string());
        let stats = seen.stats();
        assert_eq!(stats.len as u64, (second + 1).min(3600));
        assert_eq!(seen.len(), stats.len);
        assert_eq!(
            stats.oldest_entry_age,
            Some(Duration::from_secs(second.min(3599)))
        );
    }
    time.advance(Duration::from_secs(1800));
    assert_eq!(seen.len(), 1800, "without any call that writes");
    assert_eq!(seen.stats().expired, 5_000 - 1800);
    time.advance(TTL);
    assert!(seen.is_empty());
    assert_eq!(seen.stats().oldest_entry_age, None);
}

// Behavior that users expect of sets and maps.

#[test]
fn removed_id_is_new_and_frees_its_place() {
    let time = ManualClock::new();
    let seen = set(&time, 3);
    for id in ["a", "b", "c"] {
        seen.insert(id);
    }
    assert!(seen.remove("b") && !seen.remove("b"));
    assert!(seen.insert("d"));
    assert!(seen.contains("a"), "nothing had to be evicted");
    assert!(seen.insert("b") && !seen.contains("a"));
    assert_eq!((seen.stats().removed, seen.stats().evicted), (1, 1));
}

#[test]
fn old_id_survives_inserts_and_removals_of_others() {
    let time = ManualClock::new();
    let mut seen = unsync::DedupSet::<str>::builder()
        .ttl(TTL)
        .max_entries(8)
        .clock(time.clock())
        .build()
        .expect("the limits are valid");
    assert!(seen.insert("old"));
    for id in 0..200_000 {
        let id = id.to_string();
        assert!(seen.insert(&id) && seen.remove(&id));
    }
    assert!(seen.contains("old"));
    assert_eq!(seen.stats().evicted, 0);
    seen.validate();
}

#[test]
fn clear_removes_ids_and_keeps_counters() {
    let seen = set(&ManualClock::new(), 100_000);
    for id in 0..50_000 {
        seen.insert(&id.to_string());
    }
    seen.clear();
    assert!(seen.is_empty() && seen.insert("1"));
    assert_eq!(
        (
            seen.stats().removed,
            seen.stats().inserted,
            seen.stats().high_water
        ),
        (50_000, 50_001, 50_000)
    );
}

#[test]
fn clear_counts_expired_ids_as_expired() {
    let time = ManualClock::new();
    let seen = set(&time, 10);
    assert!(seen.insert("old"));
    time.advance(TTL / 2);
    assert!(seen.insert("new"));
    time.advance(TTL / 2);
    seen.clear();
    assert_eq!((seen.stats().expired, seen.stats().removed), (1, 1));
}

#[test]
fn unsync_sweep_returns_the_number_of_freed_ids() {
    let time = ManualClock::new();
    let builder = unsync::DedupSet::<u64>::builder().ttl(TTL).clock(&time);
    let mut seen = builder.max_entries(10_000).build().expect("valid limits");
    (0..5_000).for_each(|id| assert!(seen.insert(&id)));
    (0..100).for_each(|id| assert!(seen.remove(&(50 * id))));
    time.advance(TTL);
    assert_eq!((seen.sweep(), seen.sweep()), (4_900, 0));
}

#[test]
fn insert_batch_accepts_the_first_of_equal_ids() {
    let time = ManualClock::new();
    let seen = DedupSet::<u64>::builder()
        .ttl(TTL)
        .max_entries(10_000)
        .shards(4)
        .clock(time.clock())
        .build();
    let seen = seen.expect("the limits are valid");
    let ids: Vec<u64> = (0..500).chain(0..500).chain(1_000..1_200).collect();
    let answers = seen.insert_batch(&ids);
    assert!(answers[..500].iter().all(|&new| new) && answers[1_000..].iter().all(|&new| new));
    assert!(answers[500..1_000].iter().all(|&new| !new));
    assert!(seen.insert_batch(&ids).iter().all(|&new| !new));
    assert!(seen.insert_batch::<&u64>([]).is_empty());
}

#[test]
fn for_each_visits_live_ids_oldest_first_across_shards() {
    let time = ManualClock::new();
    let seen = DedupMap::<u64, u64>::builder()
        .ttl(TTL)
        .max_entries(10_000)
        .shards(7)
        .clock(time.clock())
        .build();
    let seen = seen.expect("the limits are valid");
    for id in 0..5_000 {
        time.set(Duration::from_secs(id));
        seen.record(&id, id * 2);
    }
    let mut visited = Vec::new();
    seen.for_each(|&id, &value, age| {
        assert_eq!((value, age), (id * 2, Duration::from_secs(4_999 - id)));
        assert!(seen.contains_key(&id), "no lock is held");
        visited.push(id);
    });
    assert_eq!(visited, (1_400..5_000).collect::<Vec<_>>());
}

#[test]
fn for_each_skips_ids_recorded_during_it() {
    for (shards, step) in [
        (1, Duration::ZERO),
        (1, NANO),
        (4, Duration::ZERO),
        (4, NANO),
    ] {
        in_time(move || {
            let time = ManualClock::new();
            let builder = DedupSet::<u64>::builder()
                .ttl(TTL)
                .max_entries(100_000)
                .shards(shards);
            let seen = builder
                .clock(time.clock())
                .build()
                .expect("the limits are valid");
            (0..1_000).for_each(|id| assert!(seen.insert(&id)));
            let mut visited = Vec::new();
            seen.for_each(|&id, _| {
                time.advance(step);
                assert!(seen.insert(&(1_000 + visited.len() as u64)));
                visited.push(id);
            });
            visited.sort_unstable();
            assert!(
                visited.into_iter().eq(0..1_000),
                "what there was when it began, and nothing else"
            );
        });
    }
}

#[test]
fn set_replaces_hash_set_by_type_alone() {
    fn handled<'a>(ids: &[&'a str], mut insert: impl FnMut(&'a str) -> bool) -> Vec<&'a str> {
        ids.iter().copied().filter(|&id| insert(id)).collect()
    }
    let ids = ["a", "b", "a", "", "b", "", "c"];
    let mut before = std::collections::HashSet::new();
    let seen = DedupSet::<str>::new(100, TTL);
    assert_eq!(
        handled(&ids, |id| before.insert(id.to_string())),
        handled(&ids, |id| seen.insert(id))
    );
}
