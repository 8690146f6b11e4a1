//! Clients that disconnect at every stage of a request.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use http_body_util::channel::Channel;
use leakproof::ManualClock;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::server::{Answer, Client, Layer, Runs, VERSIONS, Version};
use super::server::{builder, layer, payment, run, serve, until};

/// A server whose handler waits for a permit and returns a text of some length.
struct Server {
    runs: Runs,
    gate: Arc<Semaphore>,
    layer: Layer,
    address: SocketAddr,
}

impl Server {
    async fn start(layer: Layer, length: usize, content_type: &'static str) -> Self {
        let (runs, gate) = (Runs::default(), Arc::new(Semaphore::new(0)));
        let handler = move |State((runs, gate)): State<(Runs, Arc<Semaphore>)>, _: String| async move {
            runs.begin();
            gate.acquire().await.expect("it is open").forget();
            ([("content-type", content_type)], "x".repeat(length))
        };
        let state = (runs.clone(), Arc::clone(&gate));
        let app = Router::new()
            .route("/payments", post(handler))
            .with_state(state);
        let address = serve(app.layer(layer.clone())).await;
        Self {
            runs,
            gate,
            layer,
            address,
        }
    }

    /// Sends a retry on a new connection, which must not run the handler.
    async fn retry(&self, version: Version) -> Answer {
        let mut client = Client::connect(self.address, version).await;
        client.send(payment("a", "body")).await
    }
}

#[test]
fn disconnect_before_or_within_the_body_leaves_nothing_behind() {
    run(async {
        let server = Server::start(layer(), 4, "text/plain").await;
        for part in ["", "bo"] {
            let mut stream = TcpStream::connect(server.address)
                .await
                .expect("it accepts");
            let head = "POST /payments HTTP/1.1\r\nhost: localhost\r\nidempotency-key: \"a\"\r\n\
                content-length: 4\r\n\r\n";
            stream.write_all(head.as_bytes()).await.expect("it reads");
            stream.write_all(part.as_bytes()).await.expect("it reads");
            drop(stream);
        }
        for part in ["", "bo"] {
            let mut client = Client::connect(server.address, Version::Http2).await;
            let (mut sender, body) = Channel::<axum::body::Bytes>::new(1);
            let request = payment("a", Body::new(body));
            let sent = tokio::spawn(async move { client.start(request).await.map(drop) });
            sender.send_data(part.into()).await.expect("it is read");
            // Resets the stream and closes the connection.
            sent.abort();
            assert!(sent.await.is_err());
        }
        server.gate.add_permits(1);
        assert!(!server.retry(Version::Http1).await.is_replayed());
        assert!(server.retry(Version::Http1).await.is_replayed());
        let stats = server.layer.store().stats();
        assert_eq!(
            (server.runs.count(), stats.inserted, stats.released),
            (1, 1, 0)
        );
    });
}

#[test]
fn disconnect_while_the_handler_runs_does_not_free_the_key() {
    run(async {
        for version in VERSIONS {
            let server = Server::start(layer(), 4, "text/plain").await;
            let mut client = Client::connect(server.address, version).await;
            let sent =
                tokio::spawn(async move { client.start(payment("a", "body")).await.map(drop) });
            server.runs.reach(1).await;
            sent.abort();
            assert!(sent.await.is_err());
            assert_eq!(server.retry(version).await.problem(), "in-progress");
            server.gate.add_permits(1);
            server.layer.idle().await;
            let retry = server.retry(version).await;
            assert_eq!((retry.text(), retry.is_replayed()), ("xxxx", true));
            assert_eq!(server.runs.count(), 1);
        }
    });
}

#[test]
fn reset_of_a_stream_does_not_free_the_key() {
    run(async {
        let server = Server::start(layer(), 4, "text/plain").await;
        let mut client = Client::connect(server.address, Version::Http2).await;
        // The connection stays open, only the stream is reset.
        tokio::select! {
            _ = client.start(payment("a", "body")) => panic!("the handler waits"),
            () = server.runs.reach(1) => {}
        }
        assert_eq!(
            client.send(payment("a", "body")).await.problem(),
            "in-progress"
        );
        server.gate.add_permits(1);
        server.layer.idle().await;
        assert!(client.send(payment("a", "body")).await.is_replayed());
        assert_eq!(server.runs.count(), 1);
    });
}

#[test]
fn disconnect_while_the_response_is_read_keeps_it() {
    run(async {
        for version in VERSIONS {
            let max = 4 << 20;
            let layer = builder(&ManualClock::new()).max_response_bytes(max).build();
            // More than the buffers of a connection.
            let length = 3 << 20;
            let server = Server::start(layer.expect("valid options"), length, "text/plain").await;
            server.gate.add_permits(1);
            let mut client = Client::connect(server.address, version).await;
            let response = client.start(payment("a", "body")).await.expect("a head");
            drop((response, client));
            let retry = server.retry(version).await;
            assert_eq!((retry.body.len(), retry.is_replayed()), (length, true));
            assert_eq!(server.runs.count(), 1);
        }
    });
}

#[test]
fn disconnect_within_an_unstored_response_never_runs_again() {
    run(async {
        for (version, content_type) in VERSIONS
            .into_iter()
            .flat_map(|it| [(it, "text/plain"), (it, "text/event-stream")])
        {
            let server = Server::start(layer(), 3 << 20, content_type).await;
            server.gate.add_permits(1);
            let mut client = Client::connect(server.address, version).await;
            let response = client.start(payment("a", "body")).await.expect("a head");
            assert_eq!(response.headers()["idempotent-stored"], "false");
            drop((response, client));
            assert_eq!(server.retry(version).await.problem(), "not-stored");
            assert_eq!(server.runs.count(), 1);
        }
    });
}

#[test]
fn handler_that_is_not_finished_releases_the_key() {
    run(async {
        for version in VERSIONS {
            let layer = builder(&ManualClock::new())
                .finish_disconnected(false)
                .build();
            let server = Server::start(layer.expect("valid options"), 4, "text/plain").await;
            let mut client = Client::connect(server.address, version).await;
            let sent =
                tokio::spawn(async move { client.start(payment("a", "body")).await.map(drop) });
            server.runs.reach(1).await;
            sent.abort();
            assert!(sent.await.is_err());
            until(|| server.layer.store().stats().released == 1).await;
            server.gate.add_permits(1);
            assert!(!server.retry(version).await.is_replayed());
            assert_eq!(server.runs.count(), 2);
        }
    });
}
