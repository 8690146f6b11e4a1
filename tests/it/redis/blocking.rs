//! Services without a runtime, errors that `?` boxes, and tickets on other threads.

use std::error::Error;
use std::time::Duration;

use leakproof::Claim;
use leakproof::redis::{CommitError, SharedDedup, SharedTicket, Tier};

use super::server::{Server, is_installed, on_server};

type Map = SharedDedup<String>;

/// No test waits for its end.
const LONG_LEASE: Duration = Duration::from_secs(3_600);
const LIMIT: Duration = Duration::from_secs(30);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

fn fresh(claim: Claim<SharedTicket<String>, String>) -> SharedTicket<String> {
    match claim {
        Claim::Fresh(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn threads_without_a_runtime_block_on_one() {
    if !is_installed() {
        return;
    }
    let server = Server::start(&[]);
    let runtime = runtime();
    let builder = server.map().lease(LONG_LEASE);
    let map = runtime.block_on(builder.build()).unwrap();
    let handled: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut handled = 0;
                    for at in 0..50 {
                        let id = format!("id {at}");
                        let claim = runtime.block_on(async {
                            tokio::time::timeout(LIMIT, map.claim_wait(id)).await
                        });
                        match claim.unwrap().unwrap().answer {
                            Claim::Fresh(ticket) if at % 5 == 0 && handled % 2 == 0 => {
                                handled += 1;
                                runtime.block_on(ticket.commit("reply".to_owned())).unwrap();
                            }
                            // The drop releases the id through the runtime.
                            Claim::Fresh(ticket) => drop(ticket),
                            Claim::Duplicate { value, .. } => assert_eq!(value, "reply"),
                            other => panic!("{other:?}"),
                        }
                    }
                    handled
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert!(handled > 0);
    runtime.block_on(async {
        while map.stats().local.in_flight > 0 {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(map.stats().degraded, 0);
}

#[test]
fn ticket_dropped_on_a_plain_thread_releases_its_id() {
    if !is_installed() {
        return;
    }
    let server = Server::start(&[]);
    let runtime = runtime();
    let builder = server.map().lease(LONG_LEASE);
    let map: Map = runtime.block_on(builder.build()).unwrap();
    let ticket = fresh(runtime.block_on(map.claim("id")).unwrap().answer);
    assert_eq!(server.text("EXISTS test:id"), "1");
    drop(ticket);
    // Waits for the release, and not for the lease.
    let claim = runtime.block_on(async { tokio::time::timeout(LIMIT, map.claim_wait("id")).await });
    let claim = claim.unwrap().unwrap();
    assert_eq!(claim.tier, Tier::Shared);
    drop(fresh(claim.answer));
}

#[test]
fn ticket_that_outlives_its_runtime_stays_until_its_lease_ends() {
    on_server(async |server| {
        let url_of = server.map();
        let ticket = std::thread::spawn(move || {
            let runtime = runtime();
            let map: Map = runtime.block_on(url_of.build()).unwrap();
            fresh(runtime.block_on(map.claim("id")).unwrap().answer)
        })
        .join()
        .unwrap();
        std::thread::spawn(move || drop(ticket)).join().unwrap();
        let map: Map = server.map().build().await.unwrap();
        let claim = map.claim("id").await.unwrap().answer;
        assert!(matches!(claim, Claim::InFlight { .. }), "{claim:?}");
        server.text("PEXPIRE test:id 1");
        drop(fresh(map.claim_wait("id").await.unwrap().answer));
    });
}

/// An error type such as that of `anyhow`.
#[derive(Debug)]
struct Any(String);

impl<E: Error + Send + Sync + 'static> From<E> for Any {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

#[test]
fn errors_of_a_commit_are_boxed_and_give_values_back() {
    async fn boxed(map: &Map, expire: impl Fn()) -> Result<(), Box<dyn Error + Send + Sync>> {
        let reply = "reply".to_owned();
        let ticket = fresh(map.claim("boxed").await?.answer);
        expire();
        ticket.commit(&reply).await?;
        Ok(())
    }
    async fn any(map: &Map, expire: impl Fn()) -> Result<(), Any> {
        let reply = "reply".to_owned();
        let ticket = fresh(map.claim("any").await?.answer);
        ticket.extend(super::server::LEASE).await?;
        expire();
        ticket.commit(reply).await?;
        Ok(())
    }
    on_server(async |server| {
        let map = server.map().build().await.unwrap();
        let error = boxed(&map, || drop(server.text("DEL test:boxed"))).await;
        assert!(error.unwrap_err().to_string().contains("lease"));
        let error = any(&map, || drop(server.text("DEL test:any"))).await;
        assert!(error.unwrap_err().0.contains("lease"));
        let ticket = fresh(map.claim("id").await.unwrap().answer);
        server.text("DEL test:id");
        let error = ticket.commit("mine".to_owned()).await.unwrap_err();
        assert!(matches!(error, CommitError::LeaseExpired { .. }));
        assert_eq!(error.into_value(), "mine");
    });
}

#[test]
fn futures_and_tickets_can_be_spawned() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    on_server(async |server| {
        let map = server.map().build().await.unwrap();
        let set = server.set().build().await.unwrap();
        drop(is_send(server.map().build()));
        drop(is_send(map.claim("id")));
        drop(is_send(map.record("id", String::new())));
        drop(is_send(map.contains_key("id")));
        drop(is_send(map.remove("id")));
        drop(is_send(set.insert_batch(["id"])));
        let ticket = fresh(is_send(map.claim_wait("id")).await.unwrap().answer);
        drop(is_send(ticket.extend(super::server::LEASE)));
        let reply = "reply".to_owned();
        let tier = is_send(is_send(ticket).commit(&reply)).await;
        assert_eq!(tier, Ok(Tier::Shared));
        let ticket = fresh(map.claim("other").await.unwrap().answer);
        tokio::spawn(ticket.release()).await.unwrap().unwrap();
    });
}
