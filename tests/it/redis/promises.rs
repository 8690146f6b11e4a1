//! The promises of a shared deduplicator, with a server that answers.

use std::time::Duration;

use leakproof::redis::{CommitError, SharedDedup, SharedError, Tier, Unavailable};
use leakproof::{Claim, CompoundKey, ManualClock, Recorded};

use super::server::{LEASE, TTL, on_server, run};

type Map = SharedDedup<String>;

async fn fresh(map: &Map, id: &str) -> leakproof::redis::SharedTicket<String> {
    match map.claim(id).await.expect("the server answers").answer {
        Claim::Fresh(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

async fn is_in_flight(map: &Map, id: &str) -> bool {
    let claim = map.claim(id).await.expect("the server answers").answer;
    matches!(claim, Claim::InFlight { .. })
}

/// Waits for a release that a dropped ticket has spawned.
async fn wait_until_fresh(map: &Map, id: &str) -> leakproof::redis::SharedTicket<String> {
    loop {
        if let Claim::Fresh(ticket) = map.claim(id).await.expect("the server answers").answer {
            return ticket;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn id_is_fresh_in_one_instance_and_then_a_duplicate() {
    on_server(async |server| {
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        let ticket = fresh(&one, "id").await;
        assert_eq!(ticket.tier(), Tier::Shared);
        assert!(is_in_flight(&one, "id").await);
        assert!(is_in_flight(&two, "id").await);
        let reply = "the reply".to_owned();
        assert_eq!(ticket.commit(&reply).await.unwrap(), Tier::Shared);
        for (map, tier) in [
            (&two, Tier::Shared),
            (&two, Tier::Local),
            (&one, Tier::Local),
        ] {
            let decided = map.claim("id").await.unwrap();
            assert_eq!(decided.tier, tier);
            let Claim::Duplicate { age, value } = decided.answer else {
                panic!("{:?}", decided.answer);
            };
            assert_eq!(value, reply);
            assert!(age < TTL / 2, "{age:?}");
        }
    });
}

#[test]
fn concurrent_claims_of_instances_are_fresh_once() {
    on_server(async |server| {
        let mut maps = Vec::new();
        for _instance in 0..4 {
            maps.push(server.map().build().await.unwrap());
        }
        for round in 0..50 {
            let id = format!("id {round}");
            let tasks: Vec<_> = (0..16)
                .map(|at| {
                    let (map, id) = (maps[at % 4].clone(), id.clone());
                    tokio::spawn(async move { map.claim(&id).await.unwrap().answer })
                })
                .collect();
            let mut tickets = Vec::new();
            for task in tasks {
                if let Claim::Fresh(ticket) = task.await.unwrap() {
                    tickets.push(ticket);
                }
            }
            assert_eq!(tickets.len(), 1, "{id}");
        }
    });
}

#[test]
fn dropped_or_released_ticket_frees_its_id_everywhere() {
    on_server(async |server| {
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        fresh(&one, "id").await.release().await.unwrap();
        drop(fresh(&two, "id").await);
        drop(wait_until_fresh(&one, "id").await);
    });
}

#[test]
fn cancelled_claim_frees_its_id() {
    on_server(async |server| {
        let map = server.map().build().await.unwrap();
        for round in 0..100 {
            let id = format!("id {round}");
            let limit = Duration::from_micros(10 * round);
            if let Ok(claim) = tokio::time::timeout(limit, map.claim(&id)).await {
                drop(claim);
            }
            drop(wait_until_fresh(&map, &id).await);
        }
    });
}

#[test]
fn late_commit_or_drop_changes_nothing() {
    on_server(async |server| {
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        let late = fresh(&one, "id").await;
        let later = fresh(&one, "other").await;
        // The leases end.
        server.text("DEL test:id test:other");
        let held = fresh(&two, "id").await;
        let error = late.commit("late".to_owned()).await.unwrap_err();
        assert!(matches!(error, CommitError::LeaseExpired { .. }));
        assert_eq!(error.into_value(), "late");
        assert!(is_in_flight(&one, "id").await);
        let other = fresh(&two, "other").await;
        later.release().await.unwrap();
        assert!(is_in_flight(&one, "other").await);
        other.commit("first".to_owned()).await.unwrap();
        held.commit("second".to_owned()).await.unwrap();
        assert_eq!(one.remove("id").await.unwrap().as_deref(), Some("second"));
        assert_eq!(one.stats().late_commits, 1);
    });
}

#[test]
fn late_release_keeps_a_record() {
    on_server(async |server| {
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        let late = fresh(&one, "id").await;
        server.text("DEL test:id");
        let recorded = two.record("id", "done".to_owned()).await.unwrap();
        assert_eq!(recorded.answer, Recorded::New);
        late.release().await.unwrap();
        assert_eq!(two.remove("id").await.unwrap().as_deref(), Some("done"));
    });
}

#[test]
fn expired_commit_without_next_claimant_changes_nothing() {
    on_server(async |server| {
        let map = server.map().build().await.unwrap();
        let late = fresh(&map, "id").await;
        server.text("DEL test:id");
        assert!(late.commit(&"late".to_owned()).await.is_err());
        assert_eq!(server.text("EXISTS test:id"), "0");
    });
}

#[test]
fn lease_and_ttl_end_by_the_clock_of_the_server() {
    on_server(async |server| {
        let map = server.map().build().await.unwrap();
        let left = |key: &str| server.text(&format!("PTTL {key}")).parse::<u128>().unwrap();
        let ticket = fresh(&map, "id").await;
        let lease = LEASE.as_millis();
        assert!((lease / 2..=lease).contains(&left("test:id")));
        ticket.extend(2 * LEASE).await.unwrap();
        assert!((lease + 1..=2 * lease).contains(&left("test:id")));
        ticket.extend(LEASE / 2).await.unwrap();
        assert!(
            left("test:id") > lease,
            "an extension never shortens a lease"
        );
        ticket.commit(&String::new()).await.unwrap();
        let ttl = TTL.as_millis();
        assert!((ttl / 2..=ttl).contains(&left("test:id")));
    });
}

#[test]
fn extension_after_the_lease_is_an_error() {
    on_server(async |server| {
        let map = server.map().build().await.unwrap();
        let ticket = fresh(&map, "id").await;
        server.text("DEL test:id");
        let expired = ticket.extend(LEASE).await;
        assert_eq!(expired, Err(CommitError::LeaseExpired { value: () }));
        assert_eq!(server.text("EXISTS test:id"), "0");
    });
}

#[test]
fn operations_take_one_round_trip_and_known_ids_none() {
    on_server(async |server| {
        let map = server.map().build().await.unwrap();
        let other = server.map().build().await.unwrap();
        let mut last = map.stats().round_trips;
        let mut trips = || {
            let now = map.stats().round_trips;
            now - std::mem::replace(&mut last, now)
        };
        // A script that the server does not know yet takes one more.
        let ticket = fresh(&other, "first").await;
        ticket.extend(LEASE).await.unwrap();
        ticket.commit(&String::new()).await.unwrap();
        fresh(&other, "second").await.release().await.unwrap();

        let ticket = fresh(&map, "id").await;
        assert_eq!(trips(), 1, "claim");
        ticket.extend(LEASE).await.unwrap();
        assert_eq!(trips(), 1, "extend");
        ticket.commit(&String::new()).await.unwrap();
        assert_eq!(trips(), 1, "commit");
        fresh(&map, "two").await.release().await.unwrap();
        assert_eq!(trips(), 2, "claim and release");
        map.record("three", String::new()).await.unwrap();
        assert_eq!(trips(), 1, "record");
        map.claim("id").await.unwrap();
        map.record("three", String::new()).await.unwrap();
        assert!(map.contains_key("id").await.unwrap().answer);
        assert_eq!(trips(), 0, "known duplicates");
        other.claim("id").await.unwrap();
        other.claim("id").await.unwrap();
        assert_eq!(other.stats().local_hits, 1);
    });
}

#[test]
fn local_tier_forgets_an_id_when_the_server_does() {
    on_server(async |server| {
        let time = ManualClock::new();
        let one = server.map().build().await.unwrap();
        let two = server.map().clock(&time).build().await.unwrap();
        one.record("id", "reply".to_owned()).await.unwrap();
        server.text("PEXPIRE test:id 30000");
        let learned = two.record("id", String::new()).await.unwrap();
        assert_eq!(learned.tier, Tier::Shared);
        time.advance(Duration::from_secs(29));
        let known = two.record("id", String::new()).await.unwrap();
        assert_eq!(known.tier, Tier::Local);
        time.advance(Duration::from_secs(1));
        server.text("DEL test:id");
        let again = two.record("id", String::new()).await.unwrap();
        assert_eq!((again.answer, again.tier), (Recorded::New, Tier::Shared));
    });
}

#[test]
fn record_states_age_value_and_claims() {
    on_server(async |server| {
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        let ticket = fresh(&one, "claimed").await;
        for map in [&one, &two] {
            let recorded = map.record("claimed", String::new()).await.unwrap();
            assert_eq!(recorded.answer, Recorded::InFlight);
        }
        drop(ticket);
        let new = one.record("id", "value".to_owned()).await.unwrap();
        assert_eq!((new.answer, new.tier), (Recorded::New, Tier::Shared));
        server.text(&format!("PEXPIRE test:id {}", (TTL / 2).as_millis()));
        let Recorded::Duplicate { age, value } =
            two.record("id", String::new()).await.unwrap().answer
        else {
            panic!("it is recorded");
        };
        assert_eq!(value, "value");
        assert!(age >= TTL / 2, "{age:?}");
    });
}

#[test]
fn claim_wait_returns_after_commit_and_after_release() {
    on_server(async |server| {
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        for is_committed in [true, false] {
            let id = format!("id {is_committed}");
            let ticket = fresh(&one, &id).await;
            let waiting = tokio::spawn({
                let (two, id) = (two.clone(), id.clone());
                async move { two.claim_wait(&id).await.unwrap().answer }
            });
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert!(!waiting.is_finished());
            if is_committed {
                ticket.commit("reply".to_owned()).await.unwrap();
            } else {
                ticket.release().await.unwrap();
            }
            match waiting.await.unwrap() {
                Claim::Duplicate { value, .. } => assert!(is_committed && value == "reply"),
                Claim::Fresh(_) => assert!(!is_committed),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn removed_id_is_new_and_a_claim_stays() {
    on_server(async |server| {
        let map = server.map().build().await.unwrap();
        map.record("id", "reply".to_owned()).await.unwrap();
        assert_eq!(map.remove("id").await.unwrap().as_deref(), Some("reply"));
        assert!(!map.contains_key("id").await.unwrap().answer);
        let ticket = fresh(&map, "id").await;
        assert_eq!(map.remove("id").await.unwrap(), None);
        assert!(!map.contains_key("id").await.unwrap().answer);
        ticket.commit("again".to_owned()).await.unwrap();
        assert!(map.contains_key("id").await.unwrap().answer);
    });
}

#[test]
fn claims_beyond_the_local_bound_return_full() {
    on_server(async |server| {
        let local = leakproof::DedupMap::<[u8], String>::builder().max_entries(10);
        let map = server
            .map()
            .local(local.max_in_flight(1))
            .build()
            .await
            .unwrap();
        let ticket = fresh(&map, "one").await;
        assert!(matches!(
            map.claim("two").await.unwrap().answer,
            Claim::Full
        ));
        drop(ticket);
        drop(wait_until_fresh(&map, "two").await);
    });
}

#[test]
fn values_and_ids_of_any_bytes_are_kept() {
    on_server(async |server| {
        let builder = SharedDedup::<Vec<u8>>::builder().redis(server.url());
        let builder = builder.namespace("bytes").ttl(TTL);
        let one = builder.build().await.unwrap();
        let builder = SharedDedup::<Vec<u8>>::builder().redis(server.url());
        let two = builder.namespace("bytes").ttl(TTL).build().await.unwrap();
        let all: Vec<u8> = (0..=255).collect();
        let key = CompoundKey::new([&all[..], b"{}\r\n"]).unwrap();
        for (id, value) in [
            (&key[..], all.clone()),
            (b"", vec![]),
            (b"big", vec![7; 1 << 20]),
        ] {
            assert_eq!(
                one.record(id, value.clone()).await.unwrap().answer,
                Recorded::New
            );
            match two.claim(id).await.unwrap().answer {
                Claim::Duplicate { value: kept, .. } => assert!(kept == value),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn foreign_key_is_an_error_and_not_a_duplicate() {
    on_server(async |server| {
        let map = server.map().build().await.unwrap();
        server.text("SET test:text hello");
        server.text("LPUSH test:list hello");
        let text = map.claim("text").await;
        assert!(matches!(text, Err(SharedError::ForeignKey)), "{text:?}");
        // The server refuses the script, which is like no answer.
        let list = map.claim("list").await.unwrap();
        assert_eq!(list.tier, Tier::Local);
        assert_eq!(server.text("GET test:text"), "hello");
    });
}

#[test]
fn build_error_names_the_option() {
    run(async {
        let builder = || SharedDedup::<String>::builder().redis("redis://127.0.0.1:1");
        let build = |builder: leakproof::redis::SharedDedupBuilder<Map>| async {
            builder.build().await.unwrap_err().to_string()
        };
        let error = build(builder().ttl(TTL)).await;
        assert!(error.contains("namespace"), "{error}");
        let error = build(builder().namespace("a")).await;
        assert!(error.contains("ttl"), "{error}");
        let error = build(SharedDedup::builder().namespace("a").ttl(TTL)).await;
        assert!(error.contains("redis"), "{error}");
        let zero = builder().namespace("a").ttl(TTL).lease(Duration::ZERO);
        let error = build(zero).await;
        assert!(error.contains("lease"), "{error}");
        let zero = builder().namespace("a").ttl(TTL).timeout(Duration::ZERO);
        let error = build(zero).await;
        assert!(error.contains("timeout"), "{error}");
        let zero = builder().namespace("a").ttl(TTL);
        let error = build(zero.circuit_breaker(0, LEASE)).await;
        assert!(error.contains("circuit_breaker"), "{error}");
        let error = build(builder().redis("http://host").namespace("a").ttl(TTL)).await;
        assert!(error.contains("invalid address"), "{error}");
        let slow = builder()
            .namespace("a")
            .ttl(TTL)
            .timeout(Duration::from_secs(1));
        let error = build(slow.wait_replicas(1, Duration::from_secs(1))).await;
        assert!(error.contains("wait_replicas"), "{error}");
        #[cfg(feature = "persist")]
        {
            let folder =
                std::env::temp_dir().join(format!("leakproof-local-{}", std::process::id()));
            let journal = leakproof::persist::Journal::open(&folder).unwrap();
            let local = leakproof::DedupMap::<[u8], String>::builder().max_entries(10);
            let journaled = builder()
                .namespace("a")
                .ttl(TTL)
                .local(local.journal(journal));
            let error = build(journaled).await;
            assert!(error.contains("no journal"), "{error}");
            let _ = std::fs::remove_dir_all(folder);
        }
        let refuse = builder().namespace("a").ttl(TTL);
        let error = build(refuse.when_unavailable(Unavailable::Refuse)).await;
        assert!(error.contains("unavailable"), "{error}");
    });
}
