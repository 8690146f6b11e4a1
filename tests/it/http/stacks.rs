//! The layer together with other layers, nested routers, and services without axum.

use std::convert::Infallible;
use std::io::Read;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, State};
use axum::http::request::Parts;
use axum::http::{Method, Request, Response};
use axum::routing::post;
use flate2::read::GzDecoder;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use leakproof::ManualClock;
use leakproof::http::IdempotencyBody;
use tokio::net::TcpListener;
use tower::Layer as _;
use tower_http::compression::CompressionLayer;

use super::server::{Answer, Client, Runs, VERSIONS, Version};
use super::server::{builder, layer, payment, request, run, serve};

const TEXT: &str = "a text that is long enough to be compressed by the layer";

fn paying(runs: &Runs) -> Router {
    let handler = |State(runs): State<Runs>| async move {
        runs.begin();
        TEXT
    };
    Router::new()
        .route("/payments", post(handler))
        .with_state(runs.clone())
}

fn accepting(encoding: &str) -> Request<Body> {
    let mut request = payment("a", "");
    let encoding = encoding.parse().expect("a value");
    request.headers_mut().insert("accept-encoding", encoding);
    request
}

/// Returns the text of an answer that may be compressed.
fn decoded(answer: &Answer) -> String {
    match answer.header("content-encoding") {
        None => answer.text().to_owned(),
        Some(encoding) => {
            assert_eq!(encoding, "gzip");
            let mut text = String::new();
            let mut decoder = GzDecoder::new(&answer.body[..]);
            decoder.read_to_string(&mut text).expect("a whole stream");
            text
        }
    }
}

#[test]
fn compression_outside_compresses_each_answer_for_its_client() {
    run(async {
        for version in VERSIONS {
            let runs = Runs::default();
            let app = paying(&runs).layer(layer()).layer(CompressionLayer::new());
            let mut client = Client::connect(serve(app).await, version).await;
            for encoding in ["gzip", "identity", "gzip"] {
                let answer = client.send(accepting(encoding)).await;
                assert_eq!(
                    answer.header("content-encoding").is_some(),
                    encoding == "gzip"
                );
                assert_eq!(decoded(&answer), TEXT);
            }
            assert_eq!(runs.count(), 1);
        }
    });
}

#[test]
fn compression_inside_stores_what_every_client_can_read() {
    run(async {
        for version in VERSIONS {
            let runs = Runs::default();
            let app = paying(&runs).layer(CompressionLayer::new()).layer(layer());
            let mut client = Client::connect(serve(app).await, version).await;
            for encoding in ["gzip", "identity"] {
                let answer = client.send(accepting(encoding)).await;
                assert_eq!(
                    (answer.header("content-encoding"), answer.text()),
                    (None, TEXT)
                );
            }
            assert_eq!(runs.count(), 1);
            // A request that passes is compressed.
            let mut without = accepting("gzip");
            without.headers_mut().remove(super::server::KEY);
            let answer = client.send(without).await;
            assert_eq!(
                (answer.header("content-encoding"), decoded(&answer).as_str()),
                (Some("gzip"), TEXT)
            );
        }
    });
}

#[test]
fn layer_outside_of_nested_routers_tells_them_apart() {
    run(async {
        let (a, b) = (Runs::default(), Runs::default());
        let app = Router::new().nest("/a", paying(&a)).nest("/b", paying(&b));
        let layer = builder(&ManualClock::new())
            .required(Method::POST, "/a/payments")
            .build();
        let address = serve(app.layer(layer.expect("valid options"))).await;
        let mut client = Client::connect(address, Version::Http1).await;
        for _request in 0..2 {
            for path in ["/a/payments", "/b/payments"] {
                client
                    .send(request(Method::POST, path, Some("a"), ""))
                    .await;
            }
        }
        assert_eq!((a.count(), b.count()), (1, 1));
        let without = request(Method::POST, "/a/payments", None, "");
        assert_eq!(client.send(without).await.problem(), "key-missing");
    });
}

#[test]
fn layer_in_nested_routers_can_use_the_original_path() {
    run(async {
        let original = |request: &Parts| match request.extensions.get::<OriginalUri>() {
            Some(uri) => uri.path().to_owned(),
            None => request.uri.path().to_owned(),
        };
        let (a, b) = (Runs::default(), Runs::default());
        let layer = builder(&ManualClock::new()).path(original);
        let layer = layer.required(Method::POST, "/{router}/payments").build();
        let layer = layer.expect("valid options");
        let app = Router::new()
            .nest("/a", paying(&a).layer(layer.clone()))
            .nest("/b", paying(&b).layer(layer));
        let mut client = Client::connect(serve(app).await, Version::Http1).await;
        for _request in 0..2 {
            for path in ["/a/payments", "/b/payments"] {
                client
                    .send(request(Method::POST, path, Some("a"), ""))
                    .await;
            }
        }
        assert_eq!((a.count(), b.count()), (1, 1));
        let without = request(Method::POST, "/b/payments", None, "");
        assert_eq!(client.send(without).await.problem(), "key-missing");
    });
}

#[test]
fn second_layer_inside_lets_the_request_pass() {
    run(async {
        let (runs, layer) = (Runs::default(), layer());
        let app = paying(&runs).layer(layer.clone()).layer(layer.clone());
        let mut client = Client::connect(serve(app).await, Version::Http1).await;
        for is_replayed in [false, true] {
            let answer = client.send(payment("a", "")).await;
            assert_eq!((answer.text(), answer.is_replayed()), (TEXT, is_replayed));
        }
        assert_eq!((runs.count(), layer.store().len()), (1, 1));
    });
}

#[test]
fn two_stores_know_nothing_of_each_other() {
    run(async {
        let runs = Runs::default();
        let (first, second) = (layer(), layer());
        let mut first_client =
            Client::connect(serve(paying(&runs).layer(first)).await, Version::Http1).await;
        let mut second_client =
            Client::connect(serve(paying(&runs).layer(second)).await, Version::Http1).await;
        for is_replayed in [false, true] {
            for client in [&mut first_client, &mut second_client] {
                assert_eq!(
                    client.send(payment("a", "")).await.is_replayed(),
                    is_replayed
                );
            }
        }
        assert_eq!(runs.count(), 2);
    });
}

#[test]
fn service_of_hyper_needs_no_router() {
    run(async {
        let (runs, layer) = (Runs::default(), layer());
        let counted = runs.clone();
        let service = tower::service_fn(move |request: Request<IdempotencyBody<Incoming>>| {
            let runs = counted.clone();
            async move {
                runs.begin();
                let body = http_body_util::BodyExt::collect(request.into_body()).await;
                let body: Bytes = body.expect("a whole body").to_bytes();
                Ok::<_, Infallible>(Response::new(http_body_util::Full::new(body)))
            }
        });
        let service = TowerToHyperService::new(layer.layer(service));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service.clone()));
            }
        });
        let mut client = Client::connect(address, Version::Http1).await;
        for is_replayed in [false, true] {
            let answer = client.send(payment("a", "echo")).await;
            assert_eq!((answer.text(), answer.is_replayed()), ("echo", is_replayed));
        }
        assert_eq!(runs.count(), 1);
    });
}

#[cfg(feature = "tracing")]
#[test]
fn handler_runs_in_the_span_of_its_request() {
    use tower::ServiceExt;
    use tracing::{Instrument, Span};

    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry());
    // One thread, because the subscriber is that of this thread.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime starts").block_on(async {
        let span = tracing::info_span!("request");
        let expected = span.id();
        assert!(expected.is_some());
        let service = tower::service_fn(move |_: Request<IdempotencyBody<Body>>| {
            let is_inside = Span::current().id() == expected;
            async move { Ok::<_, Infallible>(Response::new(is_inside.to_string())) }
        });
        let service = layer().layer(service);
        let response = service.oneshot(payment("a", "")).instrument(span).await;
        let body = response.expect("a response").into_body();
        let body = http_body_util::BodyExt::collect(body).await;
        assert_eq!(body.expect("a whole body").to_bytes(), "true");
    });
}
