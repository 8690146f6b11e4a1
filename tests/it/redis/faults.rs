//! Faults of the network and of the server.

use std::time::Duration;

use leakproof::redis::{
    CommitError, SharedDedup, SharedDedupBuilder, SharedError, Tier, Unavailable,
};
use leakproof::{Claim, Recorded};

use super::proxy::Proxy;
use super::server::{LEASE, Server, on_server};

type Map = SharedDedup<String>;

const SHORT: Duration = Duration::from_millis(80);
const RETRY: Duration = Duration::from_millis(20);

fn refusing(server: &Server) -> SharedDedupBuilder<Map> {
    let builder = server.map().when_unavailable(Unavailable::Refuse);
    builder.circuit_breaker(1_000_000, RETRY)
}

/// Claims until the server answers.
async fn shared_claim(
    map: &Map,
    id: &str,
) -> Claim<leakproof::redis::SharedTicket<String>, String> {
    loop {
        match map.claim(id).await {
            Ok(decided) if decided.tier == Tier::Shared => return decided.answer,
            Ok(_) | Err(SharedError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn reply_that_is_cut_off_is_asked_again_and_is_mine() {
    on_server(async |server| {
        for cut in 0..4 {
            let proxy = Proxy::start(server.port).await;
            let map = refusing(server).redis(proxy.url()).build().await.unwrap();
            let id = format!("id {cut}");
            proxy.cut_after(cut);
            let Claim::Fresh(ticket) = map.claim(&id).await.unwrap().answer else {
                panic!("the claim is ours");
            };
            proxy.cut_after(cut);
            assert_eq!(ticket.extend(LEASE).await, Ok(Tier::Shared));
            proxy.cut_after(cut);
            assert_eq!(ticket.commit("reply".to_owned()).await, Ok(Tier::Shared));
            proxy.cut_after(cut);
            let id = format!("record {cut}");
            let recorded = map.record(&id, String::new()).await.unwrap();
            assert_eq!(
                (recorded.answer, recorded.tier),
                (Recorded::New, Tier::Shared)
            );
            assert!(map.stats().repeated >= 4, "{}", map.stats());
        }
    });
}

#[test]
fn connection_that_swallows_replies_is_replaced() {
    on_server(async |server| {
        let proxy = Proxy::start(server.port).await;
        let builder = refusing(server).redis(proxy.url()).timeout(SHORT);
        let map = builder.build().await.unwrap();
        assert_eq!(map.stats().reconnects, 0, "the first connection");
        proxy.swallow();
        let claim = map.claim("id").await;
        assert!(
            matches!(claim, Err(SharedError::Unavailable { .. })),
            "{claim:?}"
        );
        proxy.pass();
        // The first connection has lost bytes: only another one can answer.
        drop(shared_claim(&map, "other").await);
        assert!(map.stats().reconnects > 0);
        assert!(map.stats().timeouts >= 2);
    });
}

#[test]
fn held_replies_never_make_a_duplicate() {
    on_server(async |server| {
        let proxy = Proxy::start(server.port).await;
        let builder = server.map().redis(proxy.url()).timeout(SHORT);
        let map: Map = builder.circuit_breaker(2, RETRY).build().await.unwrap();
        // The server knows the script afterwards.
        let Claim::Fresh(first) = map.claim("first").await.unwrap().answer else {
            panic!("it is new");
        };
        first.release().await.unwrap();
        proxy.hold();
        for at in 0..20 {
            let claim = map.claim(format!("id {at}")).await.unwrap();
            let Claim::Fresh(ticket) = claim.answer else {
                panic!("{:?}", claim.answer);
            };
            if at == 0 {
                let held = server.command(&[b"GET", b"test:id 0"]);
                assert!(held.starts_with('C'), "the server has executed it: {held}");
            }
            assert_eq!(ticket.commit(String::new()).await, Ok(Tier::Local));
        }
        proxy.pass();
        while map.stats().recovery_len > 0 {
            tokio::time::sleep(RETRY).await;
        }
        // The server had executed some of the claims. Their own tokens commit them.
        assert_eq!(map.stats().recovered, 20);
        assert_eq!(map.stats().conflicts, 0);
        let other = server.map().build().await.unwrap();
        for at in 0..20 {
            let claim = other.claim(format!("id {at}")).await.unwrap().answer;
            assert!(matches!(claim, Claim::Duplicate { .. }), "{claim:?}");
        }
    });
}

#[test]
fn frozen_server_degrades_and_recovers() {
    on_server(async |server| {
        let builder = server.map().timeout(SHORT).circuit_breaker(2, RETRY);
        let map = builder.build().await.unwrap();
        server.freeze();
        let mut tickets = Vec::new();
        for at in 0..10 {
            let claim = map.claim(format!("id {at}")).await.unwrap();
            assert_eq!(claim.tier, Tier::Local);
            if let Claim::Fresh(ticket) = claim.answer {
                tickets.push(ticket);
            }
        }
        assert_eq!(tickets.len(), 10);
        server.thaw();
        for ticket in tickets {
            assert_eq!(ticket.commit(String::new()).await, Ok(Tier::Local));
        }
        drop(shared_claim(&map, "shared again").await);
        while map.stats().recovery_len > 0 {
            tokio::time::sleep(RETRY).await;
        }
        assert_eq!(map.stats().recovered, 10);
    });
}

#[test]
fn instance_that_slept_past_its_lease_commits_nothing() {
    on_server(async |server| {
        let builder = server.map().lease(Duration::from_millis(50));
        let slow = builder.build().await.unwrap();
        let fast = server.map().build().await.unwrap();
        let Claim::Fresh(late) = slow.claim("id").await.unwrap().answer else {
            panic!("it is new");
        };
        let Claim::Fresh(held) = fast.claim_wait("id").await.unwrap().answer else {
            panic!("the lease has ended");
        };
        let error = late.commit("late".to_owned()).await.unwrap_err();
        assert!(matches!(error, CommitError::LeaseExpired { .. }));
        assert_eq!(held.commit("in time".to_owned()).await, Ok(Tier::Shared));
    });
}

#[test]
fn killed_server_is_found_again_without_its_data() {
    on_server(async |server| {
        let map = refusing(server).build().await.unwrap();
        let Claim::Fresh(ticket) = map.claim("id").await.unwrap().answer else {
            panic!("it is new");
        };
        server.restart();
        // The same connection object, a new server: the claim is lost with the data.
        let error = ticket.commit("reply".to_owned()).await.unwrap_err();
        assert!(
            matches!(error, CommitError::LeaseExpired { .. }),
            "{error:?}"
        );
        assert!(matches!(shared_claim(&map, "id").await, Claim::Fresh(_)));
    });
}

#[test]
fn paused_server_is_unavailable_and_not_a_duplicate() {
    on_server(async |server| {
        let map = refusing(server).timeout(SHORT).build().await.unwrap();
        server.text("CLIENT PAUSE 300 ALL");
        let claim = map.claim("id").await;
        assert!(
            matches!(claim, Err(SharedError::Unavailable { .. })),
            "{claim:?}"
        );
        // The paused commands are executed later, and must leave the id free in the end.
        while !matches!(shared_claim(&map, "id").await, Claim::Fresh(_)) {}
    });
}

#[test]
fn flushed_scripts_are_sent_again() {
    on_server(async |server| {
        let map = refusing(server).build().await.unwrap();
        for at in 0..3 {
            server.text("SCRIPT FLUSH");
            let id = format!("id {at}");
            let Claim::Fresh(ticket) = map.claim(&id).await.unwrap().answer else {
                panic!("it is new");
            };
            server.text("SCRIPT FLUSH");
            ticket.commit("reply".to_owned()).await.unwrap();
            server.text("SCRIPT FLUSH");
            assert_eq!(map.remove(&id).await.unwrap().as_deref(), Some("reply"));
        }
    });
}

#[test]
fn flushed_data_frees_ids_and_voids_tickets() {
    on_server(async |server| {
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        let Claim::Fresh(ticket) = one.claim("id").await.unwrap().answer else {
            panic!("it is new");
        };
        server.text("FLUSHALL");
        let Claim::Fresh(held) = two.claim("id").await.unwrap().answer else {
            panic!("its claim is lost");
        };
        assert!(ticket.commit("late".to_owned()).await.is_err());
        assert_eq!(held.commit("first".to_owned()).await, Ok(Tier::Shared));
    });
}

#[test]
fn replica_is_unavailable_until_it_is_promoted() {
    on_server(async |server| {
        let map = refusing(server).build().await.unwrap();
        server.text("REPLICAOF 127.0.0.1 1");
        let claim = map.claim("id").await;
        assert!(
            matches!(claim, Err(SharedError::Unavailable { .. })),
            "{claim:?}"
        );
        assert!(map.stats().reconnects > 0, "it looks for another server");
        server.text("REPLICAOF NO ONE");
        assert!(matches!(shared_claim(&map, "id").await, Claim::Fresh(_)));
    });
}

#[test]
fn full_server_is_unavailable_and_releases_still_work() {
    on_server(async |server| {
        let map = refusing(server).build().await.unwrap();
        let Claim::Fresh(ticket) = map.claim("held").await.unwrap().answer else {
            panic!("it is new");
        };
        server.text("CONFIG SET maxmemory 1");
        let claim = map.claim("id").await;
        assert!(
            matches!(claim, Err(SharedError::Unavailable { .. })),
            "{claim:?}"
        );
        ticket.release().await.unwrap();
        server.text("CONFIG SET maxmemory 0");
        assert!(matches!(
            map.claim("held").await.unwrap().answer,
            Claim::Fresh(_)
        ));
    });
}

#[test]
fn too_few_replicas_are_a_failure() {
    on_server(async |server| {
        let wait = Duration::from_millis(10);
        let map = refusing(server)
            .wait_replicas(1, wait)
            .build()
            .await
            .unwrap();
        let claim = map.claim("id").await;
        assert!(
            matches!(claim, Err(SharedError::Unavailable { .. })),
            "{claim:?}"
        );
        let port = server.port.to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
        // The failed claims are released in the background.
        let Claim::Fresh(ticket) = shared_claim(&map, "other").await else {
            panic!("it is new");
        };
        assert_eq!(replica.text("EXISTS test:other"), "1");
        assert_eq!(ticket.commit("reply".to_owned()).await, Ok(Tier::Shared));
    });
}

/// Returns the kinds of timer of the connections to a port, as the system's table shows them.
#[cfg(target_os = "linux")]
fn timers(port: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the system has the table");
    let suffix = format!(":{port:04X}");
    let rows = table.lines().filter_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        // Columns: number, local address, remote address, state, queues, timer. State 1 is open.
        let is_ours = columns[2].ends_with(&suffix) && columns[3] == "01";
        is_ours.then(|| columns[5][..2].to_owned())
    });
    rows.collect()
}

#[cfg(target_os = "linux")]
#[test]
fn idle_connection_is_kept_alive() {
    on_server(async |server| {
        let map = server.map().build().await.unwrap();
        assert!(!map.contains_key("id").await.unwrap().answer);
        // 2 is the timer of keepalive, and 1 that of a segment without an acknowledgement.
        while timers(server.port).iter().any(|timer| timer == "01") {
            tokio::time::sleep(RETRY).await;
        }
        assert_eq!(timers(server.port), ["02"]);
    });
}
