//! Two instances of a service that share their responses over a real server.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use leakproof::http::{IdempotencyLayer, StoredResponse};
use leakproof::redis::{SharedDedup, Unavailable};
use tokio::sync::Semaphore;

use super::server::{Client, Runs, VERSIONS, Version, payment, serve, tenant};
use crate::redis::server::{LEASE, Server, TTL, on_server};

type Shared = SharedDedup<StoredResponse>;

async fn store(server: &Server, unavailable: Unavailable, timeout: Duration) -> Shared {
    let builder = SharedDedup::builder().redis(server.url()).namespace("http");
    let builder = builder.ttl(TTL).lease(LEASE).timeout(timeout);
    let store = builder.when_unavailable(unavailable).build().await;
    store.expect("the server runs")
}

/// An instance of a service whose handler waits for a permit.
struct Instance {
    layer: IdempotencyLayer<Shared>,
    client: Client,
}

impl Instance {
    async fn start(store: Shared, runs: &Runs, gate: &Arc<Semaphore>, version: Version) -> Self {
        let handler = |State((runs, gate)): State<(Runs, Arc<Semaphore>)>| async move {
            let number = runs.begin();
            gate.acquire().await.expect("it is open").forget();
            (
                StatusCode::CREATED,
                [("location", "/payments/1")],
                format!("payment {number}"),
            )
        };
        let state = (runs.clone(), Arc::clone(gate));
        let app = Router::new()
            .route("/payments", post(handler))
            .with_state(state);
        let layer = IdempotencyLayer::builder(store).scope(tenant).build();
        let layer = layer.expect("valid options");
        let client = Client::connect(serve(app.layer(layer.clone())).await, version).await;
        Self { layer, client }
    }

    async fn two(server: &Server, runs: &Runs, gate: &Arc<Semaphore>) -> [Self; 2] {
        let [first, second] = VERSIONS;
        let refuse = Unavailable::Refuse;
        let timeout = Duration::from_secs(8);
        let store = async || store(server, refuse, timeout).await;
        [
            Self::start(store().await, runs, gate, first).await,
            Self::start(store().await, runs, gate, second).await,
        ]
    }
}

#[test]
fn retry_at_another_instance_gets_the_stored_response() {
    on_server(async |server| {
        let (runs, gate) = (Runs::default(), Arc::new(Semaphore::new(9)));
        let mut instances = Instance::two(server, &runs, &gate).await;
        for round in 0..2 {
            for (at, instance) in instances.iter_mut().enumerate() {
                let answer = instance.client.send(payment("a", "10")).await;
                assert_eq!(
                    (answer.status, answer.text()),
                    (StatusCode::CREATED, "payment 1")
                );
                assert_eq!(answer.header("location"), Some("/payments/1"));
                assert_eq!(answer.is_replayed(), round + at > 0);
                let other = instance.client.send(payment("a", "11")).await;
                assert_eq!(other.problem(), "other-payload");
            }
        }
        assert_eq!(runs.count(), 1);
        let stats = instances[0].layer.store().stats();
        assert!(stats.shared > 0 && stats.local_hits > 0, "{stats}");
    });
}

#[test]
fn key_in_flight_at_another_instance_is_409() {
    on_server(async |server| {
        let (runs, gate) = (Runs::default(), Arc::new(Semaphore::new(0)));
        let [mut first, mut second] = Instance::two(server, &runs, &gate).await;
        let task = tokio::spawn(async move { first.client.send(payment("a", "")).await });
        runs.reach(1).await;
        let answer = second.client.send(payment("a", "")).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::CONFLICT, "in-progress")
        );
        let retry_after = answer
            .header("retry-after")
            .and_then(|it| it.parse::<u64>().ok());
        assert!(
            retry_after.is_some_and(|it| (1..=LEASE.as_secs()).contains(&it)),
            "{retry_after:?}"
        );
        gate.add_permits(1);
        assert_eq!(task.await.expect("no panic").text(), "payment 1");
        assert!(second.client.send(payment("a", "")).await.is_replayed());
        assert_eq!(runs.count(), 1);
    });
}

#[test]
fn failed_response_releases_the_key_in_all_instances() {
    on_server(async |server| {
        let (runs, closed) = (Runs::default(), Arc::new(Semaphore::new(0)));
        closed.close(); // the handler panics
        let open = Arc::new(Semaphore::new(1));
        let timeout = Duration::from_secs(8);
        let failing = store(server, Unavailable::Refuse, timeout).await;
        let mut failing = Instance::start(failing, &runs, &closed, Version::Http1).await;
        let working = store(server, Unavailable::Refuse, timeout).await;
        let mut working = Instance::start(working, &runs, &open, Version::Http1).await;
        assert!(
            failing.client.start(payment("a", "")).await.is_err(),
            "the handler panics"
        );
        // The release is on its way.
        let mut answer = working.client.send(payment("a", "")).await;
        while answer.status == StatusCode::CONFLICT {
            answer = working.client.send(payment("a", "")).await;
        }
        assert_eq!(answer.text(), "payment 2");
    });
}

#[test]
fn unavailable_server_is_503_if_it_must_not_be_missing() {
    on_server(async |server| {
        let (runs, gate) = (Runs::default(), Arc::new(Semaphore::new(9)));
        let timeout = Duration::from_millis(100);
        let refusing = store(server, Unavailable::Refuse, timeout).await;
        let mut refusing = Instance::start(refusing, &runs, &gate, Version::Http1).await;
        let degrading = store(server, Unavailable::Degrade, timeout).await;
        let mut degrading = Instance::start(degrading, &runs, &gate, Version::Http1).await;
        server.kill();
        let answer = refusing.client.send(payment("a", "")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            (answer.problem().as_str(), runs.count()),
            ("store-unavailable", 0)
        );
        for is_replayed in [false, true] {
            let answer = degrading.client.send(payment("a", "")).await;
            assert_eq!(
                (answer.text(), answer.is_replayed()),
                ("payment 1", is_replayed)
            );
        }
        assert_eq!(runs.count(), 1);
    });
}

#[test]
fn response_that_cannot_be_stored_keeps_the_key_for_its_lease() {
    on_server(async |server| {
        let (runs, gate) = (Runs::default(), Arc::new(Semaphore::new(0)));
        let timeout = Duration::from_millis(200);
        let store = store(server, Unavailable::Refuse, timeout).await;
        let Instance { mut client, .. } =
            Instance::start(store, &runs, &gate, Version::Http1).await;
        let mut retrying = Client::connect(client.address, Version::Http1).await;
        let task = tokio::spawn(async move { client.send(payment("a", "")).await });
        runs.reach(1).await;
        // A full server refuses a commit, and executes a release.
        server.text("CONFIG SET maxmemory 1");
        gate.add_permits(2);
        let first = task.await.expect("no panic");
        assert_eq!((first.text(), first.is_unstored()), ("payment 1", true));
        server.text("CONFIG SET maxmemory 0");
        // A release would be on its way, so one retry is not enough.
        let mut in_progress = 0;
        while in_progress < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let retry = retrying.send(payment("a", "")).await;
            match retry.status {
                // The circuit breaker is open.
                StatusCode::SERVICE_UNAVAILABLE => {}
                _ => {
                    assert_eq!(retry.problem(), "in-progress");
                    in_progress += 1;
                }
            }
        }
        assert_eq!(runs.count(), 1);
    });
}
