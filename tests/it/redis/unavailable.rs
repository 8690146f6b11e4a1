//! The local tier, the circuit breaker and the recovery queue while the server is unavailable.

use std::time::Duration;

use leakproof::redis::{
    CommitError, SharedDedup, SharedDedupBuilder, SharedError, Tier, Unavailable,
};
use leakproof::{Claim, ManualClock, Recorded};

use super::server::{LEASE, Server, TTL, on_server, run};

type Map = SharedDedup<String>;

/// A killed server refuses connections at once, so no call waits this long.
const LONG: Duration = Duration::from_secs(8);
const RETRY: Duration = Duration::from_millis(20);

/// Returns a builder whose breaker opens and closes soon.
fn hasty(server: &Server) -> SharedDedupBuilder<Map> {
    server.map().timeout(LONG).circuit_breaker(3, RETRY)
}

async fn is_duplicate(map: &Map, id: &str) -> bool {
    let claim = map.claim(id).await.unwrap().answer;
    matches!(claim, Claim::Duplicate { .. })
}

/// Waits until the server answers the map again and all ids are pushed.
async fn recovered(map: &Map) {
    while map.stats().recovery_len > 0 || map.contains_key("?").await.unwrap().tier == Tier::Local {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn degraded_answers_are_exact_per_instance_and_counted() {
    on_server(async |server| {
        let one = hasty(server).build().await.unwrap();
        let two = hasty(server).build().await.unwrap();
        one.record("before", "reply".to_owned()).await.unwrap();
        server.kill();
        for (number, map) in (0..).zip([&one, &two]) {
            let claimed = map.claim("id").await.unwrap();
            assert_eq!(claimed.tier, Tier::Local);
            let Claim::Fresh(ticket) = claimed.answer else {
                panic!("{:?}", claimed.answer);
            };
            assert_eq!(ticket.tier(), Tier::Local);
            let again = map.claim("id").await.unwrap();
            assert!(matches!(again.answer, Claim::InFlight { .. }));
            let value = format!("reply {number}");
            assert_eq!(ticket.commit(&value).await.unwrap(), Tier::Local);
            assert!(is_duplicate(map, "id").await);
            let new = map.record("new", String::new()).await.unwrap();
            assert_eq!((new.answer, new.tier), (Recorded::New, Tier::Local));
            let new = map.record("new", String::new()).await.unwrap();
            assert!(matches!(new.answer, Recorded::Duplicate { .. }));
        }
        assert!(is_duplicate(&one, "before").await, "it is known locally");
        assert_eq!(one.stats().degraded, 2);
        assert_eq!(one.stats().recovery_len, 2);
    });
}

#[test]
fn refused_calls_fail_and_are_never_duplicates() {
    on_server(async |server| {
        let builder = hasty(server).when_unavailable(Unavailable::Refuse);
        let map = builder.build().await.unwrap();
        let Claim::Fresh(held) = map.claim("held").await.unwrap().answer else {
            panic!("it is new");
        };
        map.record("known", String::new()).await.unwrap();
        server.kill();
        let claim = map.claim("id").await;
        assert!(
            matches!(claim, Err(SharedError::Unavailable { .. })),
            "{claim:?}"
        );
        let record = map.record("id", String::new()).await;
        assert!(
            matches!(record, Err(SharedError::Unavailable { .. })),
            "{record:?}"
        );
        assert!(held.extend(LEASE).await.is_err());
        match held.commit("reply".to_owned()).await {
            Err(CommitError::Failed { value, .. }) => assert_eq!(value, "reply"),
            other => panic!("{other:?}"),
        }
        assert!(is_duplicate(&map, "known").await);
        assert!(map.remove("known").await.is_err());
        assert_eq!(map.stats().refused, 4);
        assert_eq!(map.stats().recovery_len, 0);
    });
}

#[test]
fn claim_of_the_server_is_in_flight_for_the_degraded_instance() {
    on_server(async |server| {
        let map = hasty(server).build().await.unwrap();
        let Claim::Fresh(ticket) = map.claim("id").await.unwrap().answer else {
            panic!("it is new");
        };
        server.kill();
        let again = map.claim("id").await.unwrap().answer;
        assert!(matches!(again, Claim::InFlight { .. }));
        assert_eq!(
            ticket.commit(&"reply".to_owned()).await.unwrap(),
            Tier::Local
        );
        assert!(is_duplicate(&map, "id").await);
    });
}

#[test]
fn committed_ids_are_pushed_with_the_rest_of_their_ttl() {
    on_server(async |server| {
        let time = ManualClock::new();
        let builder = hasty(server).clock(&time).circuit_breaker(100, RETRY);
        let one = builder.build().await.unwrap();
        let two = hasty(server).build().await.unwrap();
        server.kill();
        one.record("old", "old".to_owned()).await.unwrap();
        one.record("expired", String::new()).await.unwrap();
        time.advance(TTL / 2);
        one.record("id", "reply".to_owned()).await.unwrap();
        time.advance(TTL / 2 - Duration::from_secs(100));
        one.record("young", "young".to_owned()).await.unwrap();
        assert!(one.stats().recovery_len > 0);
        server.restart();
        recovered(&one).await;
        let left = |id: &str| {
            server
                .text(&format!("PTTL test:{id}"))
                .parse::<u128>()
                .unwrap()
        };
        assert!((90_000..=100_000).contains(&left("old")), "{}", left("old"));
        assert!(left("young") > (TTL - LEASE).as_millis());
        recovered(&two).await;
        let answer = two.record("id", String::new()).await.unwrap().answer;
        let Recorded::Duplicate { value, .. } = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(value, "reply");
        assert_eq!(one.stats().recovered, 4);
        assert_eq!(one.stats().conflicts, 0);
    });
}

#[test]
fn id_that_two_instances_handled_is_a_conflict() {
    on_server(async |server| {
        let one = hasty(server)
            .circuit_breaker(100, RETRY)
            .build()
            .await
            .unwrap();
        let two = hasty(server)
            .circuit_breaker(100, RETRY)
            .build()
            .await
            .unwrap();
        server.kill();
        for map in [&one, &two] {
            let new = map.record("id", String::new()).await.unwrap();
            assert_eq!(new.answer, Recorded::New);
        }
        server.restart();
        recovered(&one).await;
        recovered(&two).await;
        let (one, two) = (one.stats(), two.stats());
        assert_eq!(one.recovered + two.recovered, 1);
        assert_eq!(one.conflicts + two.conflicts, 1);
    });
}

#[test]
fn full_recovery_queue_drops_the_oldest_and_counts_it() {
    on_server(async |server| {
        let map = hasty(server).max_recovery(3).build().await.unwrap();
        server.kill();
        for at in 0..10 {
            map.record(format!("id {at}"), String::new()).await.unwrap();
        }
        let stats = map.stats();
        assert_eq!(stats.recovery_len as u64 + stats.recovery_dropped, 10);
        server.restart();
        recovered(&map).await;
        assert_eq!(map.stats().recovered, 3);
        assert_eq!(server.text("EXISTS test:id_0"), "0");
        for at in 7..10 {
            let key = format!("test:id {at}");
            assert_eq!(server.command(&[b"EXISTS", key.as_bytes()]), "1");
        }
    });
}

#[test]
fn open_breaker_answers_without_the_server() {
    on_server(async |server| {
        let time = ManualClock::new();
        let builder = hasty(server).clock(&time);
        let map = builder.circuit_breaker(3, LEASE).build().await.unwrap();
        server.kill();
        for at in 0..3 {
            map.claim(format!("id {at}")).await.unwrap();
        }
        let stats = map.stats();
        assert!(stats.breaker_open);
        assert_eq!(stats.breaker_opened, 1);
        for at in 3..100 {
            let claim = map.claim(format!("id {at}")).await.unwrap();
            assert_eq!(claim.tier, Tier::Local);
        }
        assert_eq!(map.stats().round_trips, stats.round_trips);
        server.restart();
        let claim = map.claim("still open").await.unwrap();
        assert_eq!(claim.tier, Tier::Local);
        time.advance(LEASE);
        assert_eq!(map.claim("probe").await.unwrap().tier, Tier::Shared);
        assert!(!map.stats().breaker_open);
    });
}

#[test]
fn service_starts_without_a_server_and_finds_it_later() {
    on_server(async |server| {
        server.kill();
        let map = hasty(server).build().await.unwrap();
        assert_eq!(
            map.record("id", String::new()).await.unwrap().tier,
            Tier::Local
        );
        server.restart();
        recovered(&map).await;
        assert_eq!(map.stats().recovered, 1);
        let other = hasty(server).build().await.unwrap();
        assert!(is_duplicate(&other, "id").await);
    });
}

#[test]
fn eviction_policy_is_reported_at_connect() {
    on_server(async |server| {
        let safe = server.map().build().await.unwrap();
        assert_eq!(safe.stats().eviction_policy.as_deref(), Some("noeviction"));
        server.text("CONFIG SET maxmemory-policy allkeys-lru");
        let unsafe_ = server.map().build().await.unwrap();
        assert_eq!(
            unsafe_.stats().eviction_policy.as_deref(),
            Some("allkeys-lru")
        );
    });
}

#[test]
fn unreachable_server_never_hides_a_message() {
    // No server was ever there: every first delivery is fresh.
    run(async {
        let builder = SharedDedup::<String>::builder().redis("redis://127.0.0.1:1");
        let builder = builder.namespace("test").ttl(TTL).timeout(LONG);
        let map: Map = builder.build().await.unwrap();
        for at in 0..50 {
            let claim = map.claim(format!("id {at}")).await.unwrap();
            assert!(matches!(claim.answer, Claim::Fresh(_)));
        }
        assert_eq!(map.stats().degraded, 50);
    });
}
