//! Responses of every kind: large ones, streams, failures, trailers, and without a body.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, post};
use axum::{Extension, Router};
use http_body_util::channel::{Channel, Sender};
use leakproof::ManualClock;
use leakproof::http::PassThrough;
use tokio::sync::Mutex;
use tower_http::catch_panic::CatchPanicLayer;

use super::server::{Answer, Client, HOUR, KEY, Runs, VERSIONS, Version};
use super::server::{builder, layer, payment, request, run, serve, unstored};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Returns a response with a body that the test writes.
fn channel() -> (Sender<Bytes, Error>, Body) {
    let (sender, body) = Channel::new(4);
    (sender, Body::new(body))
}

#[test]
fn too_large_response_passes_whole_and_never_runs_again() {
    run(async {
        for (version, has_length) in VERSIONS
            .into_iter()
            .flat_map(|it| [(it, true), (it, false)])
        {
            let (runs, layer) = (Runs::default(), builder(&ManualClock::new()));
            let layer = layer
                .max_response_bytes(10_000)
                .build()
                .expect("valid options");
            let handler = move |State(runs): State<Runs>| async move {
                runs.begin();
                let text = "0123456789".repeat(2_000);
                if has_length {
                    return (StatusCode::CREATED, Body::from(text));
                }
                let (mut sender, body) = channel();
                tokio::spawn(async move {
                    for part in text.as_bytes().chunks(3_000) {
                        let _ = sender.send_data(part.to_vec().into()).await;
                    }
                });
                (StatusCode::CREATED, body)
            };
            let app = Router::new()
                .route("/payments", post(handler))
                .with_state(runs.clone());
            let address = serve(app.layer(layer.clone())).await;
            let mut client = Client::connect(address, version).await;
            let first = client.send(payment("a", "x")).await;
            assert_eq!(
                (first.status, first.body.len()),
                (StatusCode::CREATED, 20_000)
            );
            assert_eq!(first.text(), "0123456789".repeat(2_000));
            assert!(first.is_unstored());
            for _retry in 0..2 {
                let retry = client.send(payment("a", "x")).await;
                assert_eq!(
                    (retry.status, retry.problem().as_str()),
                    (StatusCode::CONFLICT, "not-stored")
                );
                assert!(
                    retry.text().contains("\"original_status\":201"),
                    "{}",
                    retry.text()
                );
                assert_eq!(retry.header("retry-after"), None);
            }
            assert_eq!(
                client.send(payment("a", "y")).await.problem(),
                "other-payload"
            );
            assert_eq!((runs.count(), layer.stored_bytes()), (1, 0));
            assert_eq!(unstored(&layer), [1, 0, 0, 0]);
        }
    });
}

#[test]
fn header_fields_count_for_the_size_of_a_response() {
    run(async {
        let (runs, layer) = (Runs::default(), builder(&ManualClock::new()));
        let layer = layer
            .max_response_bytes(1_000)
            .build()
            .expect("valid options");
        let handler = |State(runs): State<Runs>| async move {
            runs.begin();
            ([("location", "/".repeat(1_000))], "small")
        };
        let app = Router::new()
            .route("/payments", post(handler))
            .with_state(runs.clone());
        let mut client = Client::connect(serve(app.layer(layer)).await, Version::Http1).await;
        let first = client.send(payment("a", "")).await;
        assert_eq!((first.text(), first.is_unstored()), ("small", true));
        assert_eq!(client.send(payment("a", "")).await.problem(), "not-stored");
        assert_eq!(runs.count(), 1);
    });
}

#[test]
fn sum_of_stored_responses_is_bounded() {
    run(async {
        let (runs, clock) = (Runs::default(), ManualClock::new());
        let layer = builder(&clock)
            .max_stored_bytes(50_000)
            .build()
            .expect("valid options");
        let handler = |State(runs): State<Runs>| async move {
            runs.begin();
            "0123456789".repeat(1_000)
        };
        let app = Router::new()
            .route("/payments", post(handler))
            .with_state(runs.clone());
        let address = serve(app.layer(layer.clone())).await;
        let mut client = Client::connect(address, Version::Http1).await;
        for number in 0..8 {
            let answer = client.send(payment(&number.to_string(), "")).await;
            assert_eq!(
                (answer.body.len(), answer.is_unstored()),
                (10_000, number >= 4)
            );
            assert!(layer.stored_bytes() <= 50_000);
        }
        assert!(client.send(payment("3", "")).await.is_replayed());
        assert_eq!(client.send(payment("4", "")).await.problem(), "not-stored");
        assert_eq!((runs.count(), unstored(&layer)), (8, [0, 0, 4, 0]));
        // Expired responses make room.
        clock.advance(HOUR);
        layer.store().sweep();
        assert_eq!(layer.stored_bytes(), 0);
        assert!(!client.send(payment("4", "")).await.is_unstored());
    });
}

#[test]
fn stream_passes_while_it_is_written_and_is_not_stored() {
    run(async {
        for (version, is_marked) in VERSIONS
            .into_iter()
            .flat_map(|it| [(it, true), (it, false)])
        {
            let (runs, senders) = (Runs::default(), Arc::new(Mutex::new(Vec::new())));
            let state = (runs.clone(), Arc::clone(&senders));
            type Senders = Arc<Mutex<Vec<Sender<Bytes, Error>>>>;
            let handler = move |State((runs, senders)): State<(Runs, Senders)>| async move {
                runs.begin();
                let (sender, body) = channel();
                senders.lock().await.push(sender);
                if is_marked {
                    (Extension(PassThrough), body).into_response()
                } else {
                    ([("content-type", "Text/Event-Stream; charset=utf-8")], body).into_response()
                }
            };
            let app = Router::new()
                .route("/payments", post(handler))
                .with_state(state);
            let layer = layer();
            let address = serve(app.layer(layer.clone())).await;
            let mut client = Client::connect(address, version).await;
            let response = client.start(payment("a", "")).await.expect("a head");
            let mut sender = senders.lock().await.pop().expect("the handler ran");
            sender
                .send_data("data: 1\n\n".into())
                .await
                .expect("it is read");
            assert_eq!(response.headers()["idempotent-stored"], "false");
            // The head has arrived although the stream has not ended. A retry does not wait for it.
            let mut other = Client::connect(address, version).await;
            assert_eq!(other.send(payment("a", "")).await.problem(), "not-stored");
            sender
                .send_data("data: 2\n\n".into())
                .await
                .expect("it is read");
            drop(sender);
            let whole = Answer::read(response).await.expect("a whole response");
            assert_eq!(whole.text(), "data: 1\n\ndata: 2\n\n");
            assert_eq!(other.send(payment("a", "")).await.problem(), "not-stored");
            assert_eq!((runs.count(), unstored(&layer)), (1, [0, 1, 0, 0]));
        }
    });
}

#[test]
fn failed_response_releases_the_key() {
    run(async {
        for version in VERSIONS {
            let (runs, layer) = (Runs::default(), layer());
            let handler = |State(runs): State<Runs>| async move {
                match runs.begin() {
                    1 => StatusCode::INTERNAL_SERVER_ERROR,
                    2 => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::NOT_FOUND,
                }
            };
            let app = Router::new()
                .route("/payments", post(handler))
                .with_state(runs.clone());
            let mut client = Client::connect(serve(app.layer(layer.clone())).await, version).await;
            for (at, status) in [500, 503, 404, 404].into_iter().enumerate() {
                let answer = client.send(payment("a", "")).await;
                assert_eq!(
                    (answer.status.as_u16(), answer.is_replayed()),
                    (status, at == 3)
                );
            }
            assert_eq!((runs.count(), layer.store().stats().released), (3, 2));
        }
    });
}

#[test]
fn option_decides_which_responses_are_stored() {
    run(async {
        let (runs, layer) = (Runs::default(), builder(&ManualClock::new()));
        let layer = layer.store_if(|response| response.status != StatusCode::TOO_MANY_REQUESTS);
        let handler = |State(runs): State<Runs>| async move {
            match runs.begin() {
                1 => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            }
        };
        let app = Router::new()
            .route("/payments", post(handler))
            .with_state(runs.clone());
        let address = serve(app.layer(layer.build().expect("valid options"))).await;
        let mut client = Client::connect(address, Version::Http1).await;
        for (at, status) in [429, 500, 500].into_iter().enumerate() {
            let answer = client.send(payment("a", "")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.is_replayed()),
                (status, at == 2)
            );
        }
        assert_eq!(runs.count(), 2);
    });
}

#[test]
fn panic_releases_the_key_and_reaches_the_layer_outside() {
    run(async {
        for (version, finishes) in VERSIONS
            .into_iter()
            .flat_map(|it| [(it, true), (it, false)])
        {
            let (runs, builder) = (Runs::default(), builder(&ManualClock::new()));
            let layer = builder
                .finish_disconnected(finishes)
                .build()
                .expect("valid options");
            let handler = |State(runs): State<Runs>| async move {
                match runs.begin() {
                    1 => panic!("the handler panics"),
                    2 => Body::new(PanickingBody),
                    _ => Body::from("paid"),
                }
            };
            let app = Router::new()
                .route("/payments", post(handler))
                .with_state(runs.clone());
            let app = app.layer(layer.clone()).layer(CatchPanicLayer::new());
            let mut client = Client::connect(serve(app).await, version).await;
            for _panic in 0..2 {
                let answer = client.send(payment("a", "")).await;
                assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
            }
            assert_eq!(client.send(payment("a", "")).await.text(), "paid");
            assert!(client.send(payment("a", "")).await.is_replayed());
            assert_eq!((runs.count(), layer.store().stats().released), (3, 2));
        }
    });
}

struct PanickingBody;

impl hyper::body::Body for PanickingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        panic!("the body panics");
    }
}

#[test]
fn body_that_fails_half_way_releases_the_key() {
    run(async {
        for version in VERSIONS {
            let (runs, layer) = (Runs::default(), layer());
            let handler = |State(runs): State<Runs>| async move {
                if runs.begin() > 1 {
                    return Body::from("whole");
                }
                let (mut sender, body) = channel();
                tokio::spawn(async move {
                    let _ = sender.send_data("half".into()).await;
                    sender.abort("the disk is full".into());
                });
                body
            };
            let app = Router::new()
                .route("/payments", post(handler))
                .with_state(runs.clone());
            let address = serve(app.layer(layer.clone())).await;
            let mut client = Client::connect(address, version).await;
            // The error may come before the server has sent the head.
            if let Ok(response) = client.start(payment("a", "")).await {
                let read = Answer::read(response).await;
                assert!(read.is_err(), "the client sees the error");
            }
            assert_eq!(layer.store().stats().released, 1);
            let mut client = Client::connect(address, version).await;
            assert_eq!(client.send(payment("a", "")).await.text(), "whole");
            assert_eq!(runs.count(), 2);
        }
    });
}

#[test]
fn response_without_a_body_is_replayed_as_it_was() {
    run(async {
        for version in VERSIONS {
            let handler = |request: axum::extract::Request| async move {
                let status = request.uri().path().trim_start_matches('/');
                let status = status.parse::<u16>().expect("a status");
                let status = StatusCode::from_u16(status).expect("a status");
                (status, [("etag", "\"1\"")], Body::empty())
            };
            let app = Router::new().fallback(any(handler)).layer(layer());
            let mut client = Client::connect(serve(app).await, version).await;
            for path in ["/200", "/204", "/304", "/303", "/205"] {
                let send = || request(Method::POST, path, Some("a"), "");
                let first = client.send(send()).await;
                let mut retry = client.send(send()).await;
                assert_eq!((retry.status, retry.body.len()), (first.status, 0));
                assert!(retry.headers.remove("idempotent-replayed").is_some());
                for headers in [&first.headers, &retry.headers] {
                    assert_eq!(headers["etag"], "\"1\"");
                }
                let length = |answer: &Answer| answer.header("content-length").map(str::to_owned);
                assert_eq!(length(&first), length(&retry), "{path}");
            }
            // The layer handles no HEAD, so the length of the response to GET is kept.
            let head = client
                .send(request(Method::HEAD, "/200", Some("a"), ""))
                .await;
            assert!(!head.is_replayed());
        }
    });
}

#[test]
fn trailers_are_replayed() {
    run(async {
        for version in VERSIONS {
            let runs = Runs::default();
            let handler = |State(runs): State<Runs>| async move {
                runs.begin();
                let (mut sender, body) = channel();
                tokio::spawn(async move {
                    let _ = sender.send_data("message".into()).await;
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().expect("a value"));
                    trailers.insert("set-cookie", "secret".parse().expect("a value"));
                    let _ = sender.send_trailers(trailers).await;
                });
                let head = Response::builder().header("trailer", "grpc-status, set-cookie");
                head.header("content-type", "application/grpc")
                    .body(body)
                    .expect("valid")
            };
            let app = Router::new()
                .route("/payments", post(handler))
                .with_state(runs.clone());
            let mut client = Client::connect(serve(app.layer(layer())).await, version).await;
            for is_replayed in [false, true] {
                let mut request = payment("a", "");
                request
                    .headers_mut()
                    .insert("te", "trailers".parse().expect("a value"));
                let answer = client.send(request).await;
                assert_eq!(
                    (answer.text(), answer.is_replayed()),
                    ("message", is_replayed)
                );
                let trailers = answer.trailers.expect("there are trailers");
                assert_eq!(trailers["grpc-status"], "0");
                assert_eq!(
                    trailers.contains_key("set-cookie"),
                    version == Version::Http2 && !is_replayed
                );
            }
            assert_eq!(runs.count(), 1);
        }
    });
}

#[test]
fn trailers_of_a_request_reach_the_handler() {
    run(async {
        let handler = |request: axum::extract::Request| async move {
            let body = http_body_util::BodyExt::collect(request.into_body()).await;
            let body = body.expect("a whole body");
            let checksum = body
                .trailers()
                .map(|it| it["x-checksum"].to_str().expect("ASCII"));
            let checksum = checksum.unwrap_or("none").to_owned();
            format!("{} bytes, {checksum}", body.to_bytes().len())
        };
        let app = Router::new()
            .route("/payments", post(handler))
            .layer(layer());
        let mut client = Client::connect(serve(app).await, Version::Http2).await;
        let (mut sender, body) = channel();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "7".parse().expect("a value"));
        tokio::spawn(async move {
            for part in ["a", "", "bc"] {
                sender.send_data(part.into()).await.expect("it is read");
            }
            sender.send_trailers(trailers).await.expect("it is read");
        });
        let mut request = payment("a", "");
        assert!(request.headers_mut().contains_key(KEY));
        *request.body_mut() = body;
        assert_eq!(client.send(request).await.text(), "3 bytes, 7");
    });
}
