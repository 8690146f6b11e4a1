//! A set forwards every call to its map.

use std::time::Duration;

use leakproof::{Claim, DedupSet, LeaseExpired, ManualClock, Recorded, unsync};

const TTL: Duration = Duration::from_secs(3600);
const LEASE: Duration = Duration::from_secs(60);

/// Takes the ticket or token of a new id.
macro_rules! fresh {
    ($claim:expr) => {
        match $claim {
            Claim::Fresh(it) => it,
            other => panic!("{other:?}"),
        }
    };
}

/// Checks what both kinds of sets have.
macro_rules! check_ids {
    ($seen:ident, $time:ident) => {
        let ids: Vec<String> = (0..40).map(|id| id.to_string()).collect();
        assert!($seen.insert_batch(&ids).iter().all(|&is_new| is_new));
        $time.advance(LEASE);
        let answers = $seen.insert_batch(["40", "7", "40"]);
        assert_eq!(answers, [true, false, false]);
        assert_eq!(($seen.len(), $seen.is_empty()), (41, false));
        let age = Some(LEASE);
        assert_eq!(($seen.age("7"), $seen.age("x")), (age, None));
        let duplicate = Recorded::Duplicate {
            age: LEASE,
            value: (),
        };
        assert_eq!($seen.record("7"), duplicate);
        assert_eq!($seen.record("41"), Recorded::New);
        assert!($seen.remove("7") && !$seen.remove("7") && !$seen.contains("7"));
        $seen.validate();
        $time.advance(TTL - LEASE);
        assert_eq!($seen.sweep(), 39);
        assert_eq!($seen.stats().expired, 39);
        $seen.clear();
        assert_eq!(($seen.len(), $seen.is_empty()), (0, true));
    };
}

#[test]
fn unsync_set_forwards_to_its_map() {
    let time = ManualClock::new();
    let builder = unsync::DedupSet::<str>::builder().ttl(TTL).lease(LEASE);
    let builder = builder.max_entries(100).clock(&time);
    let mut seen = builder.build().expect("valid limits");
    check_ids!(seen, time);

    let token = fresh!(seen.claim("id"));
    assert_eq!(seen.claimed_key(&token), Some("id"));
    assert_eq!(seen.extend(&token, 2 * LEASE), Ok(()));
    time.advance(2 * LEASE - Duration::from_nanos(1));
    assert_eq!(seen.commit(token), Ok(()));
    assert!(seen.contains("id"));
    let token = fresh!(seen.claim("released"));
    assert!(matches!(seen.claim("released"), Claim::InFlight { .. }));
    seen.release(token);
    let token = fresh!(seen.claim("released"));
    time.advance(LEASE);
    let expired = Err(LeaseExpired { value: () });
    assert_eq!(seen.extend(&token, LEASE), expired);
    assert_eq!(seen.claimed_key(&token), None);
    assert_eq!(seen.commit(token), expired);
    let ids: Vec<_> = seen.iter().collect();
    assert_eq!(ids, [("id", LEASE)]);
}

#[test]
fn set_forwards_to_its_map() {
    let time = ManualClock::new();
    let builder = DedupSet::<str>::builder().ttl(TTL).lease(LEASE);
    let seen = builder.max_entries(100).clock(&time).build();
    let seen = seen.expect("valid limits");
    check_ids!(seen, time);

    let ticket = fresh!(seen.claim("id"));
    assert!(ticket.is_stored());
    assert_eq!(ticket.key().as_deref(), Some("id"));
    assert_eq!(ticket.extend(2 * LEASE), Ok(()));
    time.advance(2 * LEASE - Duration::from_nanos(1));
    assert_eq!(ticket.commit(), Ok(()));
    assert!(seen.contains("id"));
    fresh!(seen.claim_owned("released")).release();
    let ticket = fresh!(seen.claim("released"));
    time.advance(LEASE);
    let expired = Err(LeaseExpired { value: () });
    assert_eq!((ticket.key(), ticket.extend(LEASE)), (None, expired));
    assert_eq!(ticket.commit(), expired);
    let mut ids = Vec::new();
    seen.for_each(|id, age| ids.push((id.to_owned(), age)));
    assert_eq!(ids, [("id".to_owned(), LEASE)]);
}
