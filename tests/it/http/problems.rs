//! Every answer of the layer itself.

use std::future::{Future, poll_fn};
use std::slice;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderName, Method, StatusCode};
use axum::routing::any;
use http_body_util::BodyExt;
use leakproof::http::IdempotencyLayer;
use leakproof::{BuildError, DedupMap, ManualClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::server::{Answer, Client, HOUR, KEY, LEASE, Layer, Runs, VERSIONS, Version};
use super::server::{builder, gated_app, layer, payment, request, run, serve, store, tenant};

/// Serves a handler that counts its runs, behind a layer.
async fn client(runs: &Runs, layer: Layer, version: Version) -> Client {
    let handler = |State(runs): State<Runs>, _: String| async move {
        runs.begin();
        "paid"
    };
    let app = Router::new()
        .fallback(any(handler))
        .with_state(runs.clone())
        .layer(layer);
    Client::connect(serve(app).await, version).await
}

/// Sends a payment with this value of the header field.
async fn with_key(client: &mut Client, key: &str) -> Answer {
    let mut request = request(Method::POST, "/payments", None, "");
    let key = key.parse().expect("a header value");
    request.headers_mut().insert(KEY, key);
    client.send(request).await
}

#[test]
fn required_key_that_is_missing_is_400() {
    run(async {
        for version in VERSIONS {
            let runs = Runs::default();
            let builder = builder(&ManualClock::new()).required(Method::POST, "/payments");
            let builder = builder.required(Method::PUT, "/accounts/{id}/limit");
            let layer = builder.build().expect("valid options");
            let mut client = client(&runs, layer, version).await;
            for (method, path) in [
                (Method::POST, "/payments"),
                (Method::PUT, "/accounts/7/limit"),
            ] {
                let answer = client.send(request(method.clone(), path, None, "")).await;
                assert_eq!(answer.status, StatusCode::BAD_REQUEST);
                assert_eq!(answer.problem(), "key-missing");
                let answer = client.send(request(method, path, Some("a"), "")).await;
                assert_eq!(answer.text(), "paid");
            }
            assert_eq!(runs.count(), 2);
            for (method, path) in [(Method::PATCH, "/payments"), (Method::POST, "/refunds")] {
                let answer = client.send(request(method, path, None, "")).await;
                assert_eq!(answer.text(), "paid");
            }
        }
    });
}

#[test]
fn invalid_key_is_400() {
    run(async {
        for version in VERSIONS {
            let runs = Runs::default();
            let mut client = client(&runs, layer(), version).await;
            let long = format!("\"{}\"", "a".repeat(256));
            for key in ["a", "\"\"", "\"a\", \"b\"", "\"a\\b\"", &long] {
                let answer = with_key(&mut client, key).await;
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{key}");
                assert_eq!(answer.problem(), "key-invalid");
            }
            let mut repeated = payment("a", "");
            repeated
                .headers_mut()
                .append(KEY, "\"a\"".parse().expect("a value"));
            assert_eq!(client.send(repeated).await.problem(), "key-invalid");
            assert_eq!(runs.count(), 0);
            let longest = format!("\"{}\"", "a".repeat(255));
            assert_eq!(with_key(&mut client, &longest).await.text(), "paid");
        }
    });
}

#[test]
fn bare_key_is_accepted_by_option() {
    run(async {
        let runs = Runs::default();
        let layer = builder(&ManualClock::new()).accept_bare_keys(true).build();
        let mut client = client(&runs, layer.expect("valid options"), Version::Http1).await;
        assert!(!with_key(&mut client, "8e03978e").await.is_replayed());
        assert!(with_key(&mut client, "\"8e03978e\"").await.is_replayed());
        assert_eq!(with_key(&mut client, "a b").await.problem(), "key-invalid");
        assert_eq!(runs.count(), 1);
    });
}

#[test]
fn request_without_scope_is_400() {
    run(async {
        let runs = Runs::default();
        let mut client = client(&runs, layer(), Version::Http1).await;
        let mut anonymous = payment("a", "");
        anonymous
            .headers_mut()
            .insert("x-tenant", "".parse().expect("a value"));
        let answer = client.send(anonymous).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.problem(), "scope-missing");
        assert_eq!(runs.count(), 0);
    });
}

#[test]
fn key_in_flight_is_409_with_the_remaining_lease() {
    run(async {
        for (lease, remaining) in [(None, "50"), (Some(2 * LEASE), "110")] {
            let (clock, gate) = (ManualClock::new(), Arc::new(Semaphore::new(0)));
            let builder = builder(&clock);
            let builder = match lease {
                Some(lease) => builder.lease(lease),
                None => builder,
            };
            let runs = Runs::default();
            let app = gated_app(&runs, &gate);
            let address = serve(app.layer(builder.build().expect("valid options"))).await;
            let mut first = Client::connect(address, Version::Http1).await;
            let first = tokio::spawn(async move { first.send(payment("a", "")).await });
            runs.reach(1).await;
            clock.advance(Duration::from_millis(10_500));
            for version in VERSIONS {
                let mut client = Client::connect(address, version).await;
                // The payload of the first request is not known before it ends.
                for body in ["", "other"] {
                    let answer = client.send(payment("a", body)).await;
                    assert_eq!(answer.status, StatusCode::CONFLICT);
                    assert_eq!(answer.problem(), "in-progress");
                    assert_eq!(answer.header("retry-after"), Some(remaining));
                }
            }
            if lease.is_some() {
                clock.advance(LEASE);
                let mut client = Client::connect(address, Version::Http1).await;
                assert_eq!(client.send(payment("a", "")).await.problem(), "in-progress");
            }
            gate.add_permits(1);
            assert_eq!(first.await.expect("no panic").status, StatusCode::OK);
            assert_eq!(runs.count(), 1);
        }
    });
}

#[test]
fn request_that_waits_too_long_is_409() {
    run(async {
        let (runs, gate) = (Runs::default(), Arc::new(Semaphore::new(0)));
        let app = gated_app(&runs, &gate);
        let layer = builder(&ManualClock::new())
            .wait(Duration::from_millis(1))
            .build();
        let address = serve(app.layer(layer.expect("valid options"))).await;
        let mut first = Client::connect(address, Version::Http1).await;
        let first = tokio::spawn(async move { first.send(payment("a", "")).await });
        runs.reach(1).await;
        let mut client = Client::connect(address, Version::Http1).await;
        assert_eq!(client.send(payment("a", "")).await.problem(), "in-progress");
        gate.add_permits(1);
        first.await.expect("no panic");
    });
}

#[test]
fn other_payload_is_422() {
    run(async {
        for version in VERSIONS {
            let runs = Runs::default();
            let layer = builder(&ManualClock::new())
                .fingerprint_headers([CONTENT_TYPE])
                .build();
            let mut client = client(&runs, layer.expect("valid options"), version).await;
            let send = |uri, body: &'static str, fields: &[(HeaderName, &str)]| {
                let mut request = request(Method::POST, uri, Some("a"), body);
                for (name, value) in fields {
                    let value = value.parse().expect("a value");
                    request.headers_mut().insert(name, value);
                }
                request
            };
            let json = (CONTENT_TYPE, "application/json");
            let any = (ACCEPT, "*/*");
            let first = send("/payments?a=1", "10", slice::from_ref(&json));
            assert_eq!(client.send(first).await.text(), "paid");
            for other in [
                send("/payments?a=1", "11", slice::from_ref(&json)),
                send("/payments?a=1", "", slice::from_ref(&json)),
                send("/payments?a=2", "10", slice::from_ref(&json)),
                send("/payments", "10", slice::from_ref(&json)),
                send("/payments?a=1", "10", &[]),
                send("/payments?a=1", "10", &[(CONTENT_TYPE, "text/plain")]),
            ] {
                let answer = client.send(other).await;
                assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
                assert_eq!(answer.problem(), "other-payload");
            }
            // A field that is not chosen may differ.
            let retry = send("/payments?a=1", "10", &[json, any]);
            assert!(client.send(retry).await.is_replayed());
            assert_eq!(runs.count(), 1);
        }
    });
}

#[test]
fn request_over_the_cap_is_413_and_claims_nothing() {
    run(async {
        for version in VERSIONS {
            let runs = Runs::default();
            let layer = builder(&ManualClock::new())
                .max_request_bytes(10_000)
                .build();
            let layer = layer.expect("valid options");
            let mut client = client(&runs, layer.clone(), version).await;
            // With a known length, and without.
            for has_length in [true, false] {
                let body = || match has_length {
                    true => Body::from("x".repeat(10_001)),
                    false => chunked(&"x".repeat(10_001)),
                };
                let Ok(response) = client.start(payment("a", body())).await else {
                    panic!("the answer is lost");
                };
                let answer = Answer::read(response).await.expect("a whole response");
                assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
                assert_eq!(answer.problem(), "body-too-large");
                assert_eq!(
                    (layer.store().stats().in_flight, layer.store().len()),
                    (0, 0)
                );
                client = Client::connect(client.address, version).await;
            }
            assert_eq!(
                client.send(payment("a", "x".repeat(10_000))).await.text(),
                "paid"
            );
            assert_eq!(
                client
                    .send(payment("b", chunked(&"x".repeat(10_000))))
                    .await
                    .text(),
                "paid"
            );
            assert_eq!(runs.count(), 2);
        }
    });
}

#[test]
fn request_whose_body_fails_is_400_and_claims_nothing() {
    run(async {
        let (runs, layer) = (Runs::default(), layer());
        let client = client(&runs, layer.clone(), Version::Http1).await;
        let mut stream = TcpStream::connect(client.address)
            .await
            .expect("it accepts");
        let request = "POST /payments HTTP/1.1\r\nhost: localhost\r\nidempotency-key: \"a\"\r\n\
            transfer-encoding: chunked\r\n\r\n2\r\nab\r\nno number\r\n";
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("a text");
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{answer}"
        );
        assert!(answer.contains("#body-unreadable\""), "{answer}");
        let stats = layer.store().stats();
        assert_eq!((runs.count(), stats.inserted, stats.released), (0, 0, 0));
    });
}

/// Returns a body of unknown length.
fn chunked(text: &str) -> Body {
    let (mut sender, body) = http_body_util::channel::Channel::<axum::body::Bytes>::new(1);
    let text = text.to_owned();
    tokio::spawn(async move {
        for part in text.as_bytes().chunks(3_000) {
            if sender.send_data(part.to_vec().into()).await.is_err() {
                return;
            }
        }
    });
    Body::new(body)
}

#[test]
fn full_store_is_503() {
    run(async {
        let (runs, gate) = (Runs::default(), Arc::new(Semaphore::new(0)));
        let store = DedupMap::builder()
            .ttl(HOUR)
            .max_entries(10)
            .max_in_flight(1);
        let store = store.max_bytes(200).build().expect("valid options");
        let layer = IdempotencyLayer::builder(store).scope(tenant).build();
        let app = gated_app(&runs, &gate);
        let address = serve(app.layer(layer.expect("valid options"))).await;
        let mut client = Client::connect(address, Version::Http1).await;
        // A key that cannot be remembered would let every retry run.
        let long = client.send(payment(&"a".repeat(250), "")).await;
        assert_eq!(long.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(long.problem(), "store-full");
        let mut first = Client::connect(address, Version::Http1).await;
        let first = tokio::spawn(async move { first.send(payment("a", "")).await });
        runs.reach(1).await;
        let answer = client.send(payment("b", "")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.problem(), "store-full");
        gate.add_permits(1);
        first.await.expect("no panic");
        assert_eq!(runs.count(), 1);
    });
}

#[test]
fn handler_that_is_stopped_with_its_runtime_is_503() {
    let (runs, gate) = (Runs::default(), Arc::new(Semaphore::new(0)));
    let app = gated_app(&runs, &gate).layer(layer());
    let mut response = Box::pin(app.oneshot(payment("a", "")));
    // The layer runs the handler as a task of the first runtime.
    let first = tokio::runtime::Runtime::new().expect("a runtime starts");
    first.block_on(async {
        let mut polled = poll_fn(|context| Poll::Ready(response.as_mut().poll(context)));
        assert!((&mut polled).await.is_pending());
        runs.reach(1).await;
    });
    drop(first);
    run(async {
        let (head, body) = response.await.expect("a response").into_parts();
        assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE);
        let body = body.collect().await.expect("a whole body").to_bytes();
        let text = std::str::from_utf8(&body).expect("a text");
        assert!(text.contains("#stopped\""), "{text}");
    });
}

#[test]
fn problem_page_is_the_type_of_problems() {
    run(async {
        let layer = builder(&ManualClock::new())
            .problem_page("https://example.com/keys")
            .build();
        let mut client = client(&Runs::default(), layer.expect("valid"), Version::Http1).await;
        let answer = with_key(&mut client, "a").await;
        let expected = "{\"type\":\"https://example.com/keys#key-invalid\",\
            \"title\":\"Idempotency-Key is invalid\",\"status\":400,\"detail\":";
        assert!(answer.text().starts_with(expected), "{}", answer.text());
        assert_eq!(answer.header("content-language"), Some("en"));
    });
}

#[test]
fn option_out_of_range_is_an_error() {
    let build = |set: fn(Builder) -> Builder| {
        let builder = set(IdempotencyLayer::builder(store(&ManualClock::new())).scope(tenant));
        builder
            .build()
            .map(drop)
            .expect_err("the option is out of range")
            .to_string()
    };
    for (error, expected) in [
        (
            build(|it| it.max_request_bytes(0)),
            "`max_request_bytes` must be greater than zero",
        ),
        (
            build(|it| it.max_response_bytes(0)),
            "`max_response_bytes` must be greater than zero",
        ),
        (
            build(|it| it.max_response_bytes((1 << 30) + 1)),
            "`max_response_bytes` must not exceed 1073741824 (got 1073741825)",
        ),
        (
            build(|it| it.max_stored_bytes(0)),
            "`max_stored_bytes` must be greater than zero",
        ),
        (
            build(|it| it.wait(Duration::ZERO)),
            "`wait` must be greater than zero",
        ),
        (
            build(|it| it.lease(Duration::ZERO)),
            "`lease` must be greater than zero",
        ),
        (
            build(|it| it.required(Method::GET, "/")),
            "`required` does not allow this value (got GET)",
        ),
        (
            build(|it| it.required(Method::POST, "payments")),
            "`required` does not allow this value (got payments)",
        ),
        (
            build(|it| it.replay_headers([axum::http::header::SET_COOKIE])),
            "`replay_headers` does not allow this value (got set-cookie)",
        ),
        (
            build(|it| it.problem_page("a\"b")),
            "`problem_page` does not allow this value (got a\"b)",
        ),
    ] {
        assert_eq!(error, expected);
    }
    let short = builder(&ManualClock::new()).lease(LEASE / 2).build();
    assert!(matches!(
        short,
        Err(BuildError::OutOfOrder { upper: "lease", .. })
    ));
}

type Builder = leakproof::http::IdempotencyBuilder<super::server::Store>;
