//! Sentinels, replicas, clusters, TLS and authentication.

use std::time::Duration;

use leakproof::redis::{SharedDedup, SharedDedupSet, SharedError, Tier, Unavailable};
use leakproof::{Claim, Recorded};

use super::server::{Server, TTL, is_installed, on_server, run};

const RETRY: Duration = Duration::from_millis(50);

#[test]
fn password_and_database_of_the_address_are_used() {
    on_server(async |server| {
        server.text("CONFIG SET requirepass secret");
        let url = format!("redis://:secret@127.0.0.1:{}/3", server.port);
        let builder = || {
            server
                .map()
                .when_unavailable(Unavailable::Refuse)
                .redis(&url)
        };
        let map = builder().build().await.unwrap();
        map.record("id", String::new()).await.unwrap();
        assert!(map.contains_key("id").await.unwrap().answer);
        assert!(!format!("{:?} {map:?}", builder()).contains("secret"));
    });
}

#[test]
fn rejected_credentials_fail_the_build_in_both_modes() {
    on_server(async |server| {
        server.text("CONFIG SET requirepass secret");
        let nodes = [server.url()];
        for unavailable in [Unavailable::Degrade, Unavailable::Refuse] {
            let builder = || server.map().when_unavailable(unavailable);
            let port = server.port;
            for builder in [
                builder(),
                builder().redis(format!("redis://:wrong@127.0.0.1:{port}")),
                builder().redis(format!("redis://user:wrong@127.0.0.1:{port}")),
                builder().cluster(nodes.clone()),
                builder().cluster([format!("redis://:wrong@127.0.0.1:{port}")]),
            ] {
                let denied = builder.build().await;
                assert!(
                    matches!(denied, Err(SharedError::Denied { .. })),
                    "{denied:?}"
                );
            }
        }
    });
}

/// The permissions that the guide names.
const PERMISSIONS: &str = "+evalsha +eval +get +getrange +set +del +pttl +pexpire +time +ping";

#[test]
fn named_permissions_suffice_and_a_missing_one_fails_the_build() {
    on_server(async |server| {
        let guide = include_str!("../../../docs/more-than-one-instance.md");
        assert!(guide.contains(PERMISSIONS));
        server.text(&format!("ACL SETUSER app on >secret ~test:* {PERMISSIONS}"));
        server.text("ACL SETUSER less on >secret ~test:* +ping +get");
        server.text("ACL SETUSER other on >secret ~other:* +@all");
        let url = |user| format!("redis://{user}:secret@127.0.0.1:{}", server.port);
        for user in ["less", "other"] {
            let denied = server.set().redis(url(user)).build().await;
            assert!(
                matches!(denied, Err(SharedError::Denied { .. })),
                "{denied:?}"
            );
        }
        let refuse = Unavailable::Refuse;
        let set = server.set().redis(url("app")).when_unavailable(refuse);
        let set = set.build().await.unwrap();
        assert!(set.insert("id").await.unwrap().answer);
        assert!(set.contains("id").await.unwrap().answer);
        assert!(set.remove("id").await.unwrap());
        assert!(set.insert_batch(["id", "other"]).await.unwrap()[0].answer);
        let Claim::Fresh(ticket) = set.claim("claimed").await.unwrap().answer else {
            panic!("it is new");
        };
        ticket.extend(TTL).await.unwrap();
        ticket.commit().await.unwrap();
        let Claim::Fresh(ticket) = set.claim_wait("released").await.unwrap().answer else {
            panic!("it is new");
        };
        ticket.release().await.unwrap();
    });
}

#[test]
fn tls_address_without_the_feature_names_it() {
    run(async {
        let has_tls = cfg!(feature = "redis-tls");
        let builder = SharedDedupSet::builder().redis("rediss://127.0.0.1:1");
        let builder = builder.namespace("test").ttl(TTL);
        let built = builder.when_unavailable(Unavailable::Refuse).build().await;
        match built.unwrap_err() {
            SharedError::Address { reason } => {
                assert!(!has_tls && reason.contains("redis-tls"), "{reason}");
            }
            SharedError::Unavailable { .. } => assert!(has_tls),
            other => panic!("{other}"),
        }
    });
}

/// Starts three sentinels that fail over after a second.
async fn sentinels(master: &Server) -> Vec<Server> {
    let sentinels: Vec<_> = (0..3).map(|_| Server::start(&["--sentinel"])).collect();
    for sentinel in &sentinels {
        let port = master.port;
        assert_eq!(
            sentinel.text(&format!("SENTINEL MONITOR main 127.0.0.1 {port} 2")),
            "OK"
        );
        sentinel.text("SENTINEL SET main down-after-milliseconds 500");
        sentinel.text("SENTINEL SET main failover-timeout 2000");
    }
    while sentinels
        .iter()
        .any(|sentinel| !sentinel.text("SENTINEL CKQUORUM main").starts_with("OK 3"))
    {
        tokio::time::sleep(RETRY).await;
    }
    sentinels
}

#[test]
fn sentinel_failover_keeps_replicated_ids_and_is_followed() {
    on_server(async |master| {
        let port = master.port.to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
        let sentinels = sentinels(master).await;
        let urls: Vec<_> = sentinels.iter().map(Server::url).collect();
        let wait = Duration::from_millis(500);
        let builder = SharedDedup::<String>::builder().sentinel(urls, "main", None);
        let builder = builder.namespace("test").ttl(TTL).wait_replicas(1, wait);
        let builder = builder.circuit_breaker(1_000_000, RETRY).timeout(16 * wait);
        let map = builder
            .when_unavailable(Unavailable::Refuse)
            .build()
            .await
            .unwrap();
        while map.record("before", "reply".to_owned()).await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        // The sentinels must know the replica before the master fails.
        while !sentinels[0]
            .text("SENTINEL REPLICAS main")
            .contains("slave")
        {
            tokio::time::sleep(RETRY).await;
        }
        master.kill();
        while !replica.text("INFO replication").contains("role:master") {
            tokio::time::sleep(RETRY).await;
        }
        // No replica is left: a later instance does not wait for one.
        let urls: Vec<_> = sentinels.iter().map(Server::url).collect();
        let builder = SharedDedup::<String>::builder().sentinel(urls, "main", None);
        let later = builder
            .namespace("test")
            .ttl(TTL)
            .circuit_breaker(1_000_000, RETRY);
        let later: SharedDedup<String> = later.build().await.unwrap();
        loop {
            let claim = later.claim("before").await.unwrap();
            if claim.tier == Tier::Shared {
                let Claim::Duplicate { value, .. } = claim.answer else {
                    panic!("{:?}", claim.answer);
                };
                assert_eq!(value, "reply");
                break;
            }
            // A degraded claim must be released before the next one can ask.
            drop(claim);
            tokio::time::sleep(RETRY).await;
        }
        // The first instance follows as well, and reports that no replica has its write.
        let error = map.claim("after").await.unwrap_err().to_string();
        assert!(error.contains("replicas"), "{error}");
    });
}

#[test]
fn cluster_of_three_nodes_holds_ids_of_all_slots() {
    if !is_installed() {
        return;
    }
    run(async {
        let nodes: Vec<_> = (0..3)
            .map(|_| Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]))
            .collect();
        for (node, slots) in nodes.iter().zip([0..5461, 5461..10_923, 10_923..16_384]) {
            // `ADDSLOTSRANGE` is newer than 6.2.
            let slots: Vec<_> = slots.map(|slot: u32| slot.to_string()).collect();
            assert_eq!(
                node.text(&format!("CLUSTER ADDSLOTS {}", slots.join(" "))),
                "OK"
            );
            assert_eq!(
                node.text(&format!("CLUSTER MEET 127.0.0.1 {}", nodes[0].port)),
                "OK"
            );
        }
        while nodes
            .iter()
            .any(|node| !node.text("CLUSTER INFO").contains("cluster_state:ok"))
        {
            tokio::time::sleep(RETRY).await;
        }
        let instance = || async {
            let urls = nodes.iter().map(Server::url);
            let builder = SharedDedupSet::builder()
                .cluster(urls)
                .namespace("test")
                .ttl(TTL);
            let builder = builder.timeout(Duration::from_secs(8));
            builder
                .when_unavailable(Unavailable::Refuse)
                .build()
                .await
                .unwrap()
        };
        let (one, two) = (instance().await, instance().await);
        let ids: Vec<_> = (0..300).map(|at| format!("id {at}")).collect();
        let new = one.insert_batch(&ids).await.unwrap();
        assert!(
            new.iter()
                .all(|decided| decided.answer && decided.tier == Tier::Shared)
        );
        let known = two.insert_batch(&ids).await.unwrap();
        assert!(known.iter().all(|decided| !decided.answer));
        for at in 0..30 {
            let id = format!("claimed {at}");
            let Claim::Fresh(ticket) = one.claim(&id).await.unwrap().answer else {
                panic!("it is new");
            };
            assert_eq!(two.record(&id).await.unwrap().answer, Recorded::InFlight);
            assert_eq!(ticket.commit().await, Ok(Tier::Shared));
            assert!(two.contains(&id).await.unwrap().answer);
        }
        for node in &nodes {
            let held: u32 = node.text("DBSIZE").parse().unwrap();
            assert!(held > 0);
        }
    });
}

#[test]
fn cluster_refuses_to_wait_for_replicas() {
    run(async {
        let builder = SharedDedupSet::builder().cluster(["redis://127.0.0.1:1"]);
        let builder = builder.namespace("test").ttl(TTL).wait_replicas(1, RETRY);
        let error = builder.build().await.unwrap_err();
        assert!(matches!(error, SharedError::Address { .. }), "{error}");
    });
}
