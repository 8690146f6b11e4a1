//! Limits at their edges: errors that name the value, and maps that hold what fits.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::catch_unwind;
use std::time::Duration;

use leakproof::{BuildError, DedupSet, ManualClock, unsync};

const TTL: Duration = Duration::from_secs(60);

#[test]
fn build_error_names_the_option() {
    let builder = || DedupSet::<str>::builder().ttl(TTL).max_entries(10);
    let error = |result: Result<DedupSet<str>, BuildError>| result.expect_err("a limit is invalid");
    let missing = |limit| BuildError::Missing { limit };
    let zero = |limit| BuildError::Zero { limit };
    assert_eq!(
        error(DedupSet::builder().max_entries(1).build()),
        missing("ttl")
    );
    assert_eq!(
        error(DedupSet::builder().ttl(TTL).build()),
        missing("max_entries")
    );
    assert_eq!(error(builder().ttl(Duration::ZERO).build()), zero("ttl"));
    assert_eq!(error(builder().max_entries(0).build()), zero("max_entries"));
    assert_eq!(error(builder().max_bytes(0).build()), zero("max_bytes"));
    assert_eq!(
        error(builder().lease(Duration::ZERO).build()),
        zero("lease")
    );
    assert_eq!(
        error(builder().max_in_flight(0).build()),
        zero("max_in_flight")
    );
    assert_eq!(error(builder().shards(0).build()), zero("shards"));
    assert_eq!(
        error(builder().sweep_every(Duration::ZERO).build()),
        zero("sweep_every")
    );
    assert_eq!(
        error(builder().shards(11).build()),
        BuildError::TooManyShards {
            shards: 11,
            max: 10
        }
    );
    assert_eq!(
        error(builder().max_entries(usize::MAX).shards(2).build()),
        BuildError::TooLarge {
            limit: "max_entries",
            value: usize::MAX,
            max: 2 << 28
        }
    );
    assert!(
        error(builder().max_in_flight(usize::MAX).build())
            .to_string()
            .contains("max_in_flight")
    );
}

#[test]
fn new_panics_with_the_option_name() {
    for (ttl, max, limit) in [
        (Duration::ZERO, 1, "ttl"),
        (TTL, 0, "max_entries"),
        (TTL, usize::MAX, "max_entries"),
    ] {
        for message in [
            catch_unwind(|| drop(DedupSet::<str>::new(max, ttl))).expect_err("a limit is invalid"),
            catch_unwind(|| drop(unsync::DedupSet::<str>::new(max, ttl)))
                .expect_err("a limit is invalid"),
        ] {
            let message = message.downcast::<String>().expect("a message");
            assert!(message.contains(&format!("`{limit}`")), "{message}");
        }
    }
}

#[test]
fn largest_bounds_allocate_on_demand() {
    let builder = DedupSet::<str>::builder()
        .ttl(Duration::MAX)
        .lease(Duration::MAX)
        .max_entries(1 << 28)
        .shards(1);
    let seen = builder
        .max_bytes(usize::MAX)
        .max_in_flight(1 << 28)
        .build()
        .expect("the limits are valid");
    assert!(seen.insert("a") && !seen.insert("a"));
    assert_eq!(seen.stats().max_entries, 1 << 28);
}

#[test]
fn shard_bounds_add_up_to_the_bound() {
    let seen = DedupSet::<u64>::builder()
        .ttl(TTL)
        .max_entries(1_003)
        .shards(8)
        .build()
        .expect("the limits are valid");
    for id in 0..100_000_u64 {
        seen.insert(&id);
    }
    assert_eq!((seen.len(), seen.stats().max_entries), (1_003, 1_003));
    seen.validate();
}

#[test]
fn empty_and_huge_keys_are_stored() {
    let seen = DedupSet::<[u8]>::new(100, TTL);
    let keys: Vec<Vec<u8>> = (0..8).map(|n| vec![n; usize::from(n) << 18]).collect();
    for key in &keys {
        assert!(seen.insert(key) && !seen.insert(key));
    }
    assert!(keys.iter().all(|key| seen.contains(key)));
    assert_eq!(
        seen.stats().bytes,
        keys.iter().map(|key| key.len() as u64).sum::<u64>()
    );
    for key in &keys {
        assert!(seen.remove(key));
    }
    assert_eq!(seen.stats().bytes, 0);
    seen.validate();
}

/// A hasher that sends all keys to one bucket, as an attacker would.
#[derive(Default)]
struct Constant;

impl Hasher for Constant {
    fn finish(&self) -> u64 {
        42
    }
    fn write(&mut self, _: &[u8]) {}
}

#[test]
fn constant_hasher_gives_correct_answers() {
    let time = ManualClock::new();
    let mut seen = unsync::DedupSet::<u64>::builder()
        .ttl(TTL)
        .max_entries(300)
        .clock(time.clock())
        .hasher(BuildHasherDefault::<Constant>::default())
        .build()
        .expect("the limits are valid");
    let mut expected: HashMap<u64, u64> = HashMap::new();
    for step in 0..3_000_u64 {
        time.set(Duration::from_millis(step * 100));
        let id = step * step % 700;
        let new = expected.get(&id).is_none_or(|&at| step - at >= 600);
        assert_eq!(seen.insert(&id), new, "{id} at {step}");
        if new {
            expected.insert(id, step);
        }
        if expected.values().filter(|&&at| step - at < 600).count() > 300 {
            return;
        }
    }
    seen.validate();
}

#[test]
fn identity_hasher_spreads_small_numbers() {
    #[derive(Default)]
    struct Identity(u64);
    impl Hasher for Identity {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, _: &[u8]) {}
        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }
    }
    for shift in [0, 16, 32, 40] {
        let mut seen = unsync::DedupSet::<u64>::builder()
            .ttl(TTL)
            .max_entries(20_000)
            .hasher(BuildHasherDefault::<Identity>::default())
            .build()
            .expect("the limits are valid");
        // With one bucket for all of them, this would take minutes.
        assert!((0..20_000_u64).all(|id| seen.insert(&(id << shift))));
        assert!((0..20_000_u64).all(|id| !seen.insert(&(id << shift))));
    }
}
