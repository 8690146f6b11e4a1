//! The promises of the layer.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, post};
use leakproof::ManualClock;
use leakproof::http::IdempotencyKey;
use tokio::sync::Semaphore;

use super::server::{Client, KEY, LEASE, Runs, VERSIONS, Version};
use super::server::{builder, gated_app, layer, payment, request, run, serve, unstored};

/// Returns an app whose handler counts its runs and returns their number.
fn counting(runs: &Runs) -> Router {
    let handler = |State(runs): State<Runs>, body: String| async move {
        let number = runs.begin();
        let location = format!("/payments/{number}");
        (
            StatusCode::CREATED,
            [("location", location)],
            format!("payment {number}: {body}"),
        )
    };
    Router::new().fallback(handler).with_state(runs.clone())
}

#[test]
fn retry_gets_the_stored_response() {
    run(async {
        for version in VERSIONS {
            let (runs, layer) = (Runs::default(), layer());
            let address = serve(counting(&runs).layer(layer.clone())).await;
            let mut client = Client::connect(address, version).await;
            let first = client.send(payment("a", "10 €")).await;
            assert_eq!(
                (first.status, first.text()),
                (StatusCode::CREATED, "payment 1: 10 €")
            );
            assert!(!first.is_replayed() && !first.is_unstored());
            for _retry in 0..2 {
                let retry = client.send(payment("a", "10 €")).await;
                assert_eq!((retry.status, retry.text()), (first.status, first.text()));
                assert_eq!(retry.header("location"), Some("/payments/1"));
                assert_eq!(retry.header("content-type"), first.header("content-type"));
                assert!(retry.is_replayed() && !retry.is_unstored());
            }
            assert_eq!(
                client.send(payment("b", "10 €")).await.text(),
                "payment 2: 10 €"
            );
            assert_eq!(runs.count(), 2);
            let stats = layer.store().stats();
            assert_eq!(
                (stats.inserted, stats.duplicates, stats.in_flight),
                (2, 2, 0)
            );
        }
    });
}

#[test]
fn equal_keys_on_100_connections_run_the_handler_once() {
    run(async {
        for version in VERSIONS {
            let (runs, gate) = (Runs::default(), Arc::new(Semaphore::new(0)));
            let app = gated_app(&runs, &gate);
            let address = serve(app.layer(layer())).await;
            let mut clients = Vec::new();
            for _ in 0..100 {
                clients.push(Client::connect(address, version).await);
            }
            let tasks: Vec<_> = clients
                .into_iter()
                .map(|mut client| tokio::spawn(async move { client.send(payment("a", "")).await }))
                .collect();
            let mut answers = Vec::new();
            for task in tasks {
                // The handler ends after all others have their answers, as far as they come first.
                if answers.len() == 50 {
                    gate.add_permits(1);
                }
                if answers.len() < 50 && runs.count() == 1 && task.is_finished() {
                    answers.push(task.await.expect("no panic"));
                    continue;
                }
                gate.add_permits(1);
                answers.push(task.await.expect("no panic"));
            }
            assert_eq!(runs.count(), 1);
            let (mut ran, mut replayed, mut refused) = (0, 0, 0);
            for answer in answers {
                match answer.status {
                    StatusCode::CONFLICT => {
                        assert_eq!(answer.problem(), "in-progress");
                        refused += 1;
                    }
                    _ => {
                        assert_eq!(
                            (answer.status, answer.text()),
                            (StatusCode::OK, "payment 1")
                        );
                        *if answer.is_replayed() {
                            &mut replayed
                        } else {
                            &mut ran
                        } += 1;
                    }
                }
            }
            assert_eq!((ran, ran + replayed + refused), (1, 100));
        }
    });
}

#[test]
fn waiting_retries_get_the_response_of_the_first() {
    run(async {
        let (runs, gate) = (Runs::default(), Arc::new(Semaphore::new(0)));
        let app = gated_app(&runs, &gate);
        let layer = builder(&ManualClock::new())
            .wait(LEASE)
            .build()
            .expect("valid options");
        let address = serve(app.layer(layer.clone())).await;
        let mut tasks = Vec::new();
        for number in 0..100 {
            let mut client = Client::connect(address, VERSIONS[number % 2]).await;
            tasks.push(tokio::spawn(
                async move { client.send(payment("a", "")).await },
            ));
        }
        super::server::until(|| layer.store().stats().waiting == 99).await;
        gate.add_permits(1);
        let mut replayed = 0;
        for task in tasks {
            let answer = task.await.expect("no panic");
            assert_eq!(
                (answer.status, answer.text()),
                (StatusCode::OK, "payment 1")
            );
            replayed += u32::from(answer.is_replayed());
        }
        assert_eq!((runs.count(), replayed), (1, 99));
    });
}

#[test]
fn key_belongs_to_scope_method_and_path() {
    run(async {
        let runs = Runs::default();
        let address = serve(counting(&runs).layer(layer())).await;
        let mut client = Client::connect(address, Version::Http1).await;
        let bob = |mut request: axum::extract::Request| {
            request
                .headers_mut()
                .insert("x-tenant", "bob".parse().expect("a value"));
            request
        };
        let requests = || {
            [
                payment("a", ""),
                bob(payment("a", "")),
                request(Method::PATCH, "/payments", Some("a"), ""),
                request(Method::POST, "/payments/", Some("a"), ""),
                request(Method::POST, "/refunds", Some("a"), ""),
                payment("b", ""),
            ]
        };
        for (at, request) in requests().into_iter().enumerate() {
            let answer = client.send(request).await;
            assert_eq!(answer.text(), format!("payment {}: ", at + 1));
        }
        for (at, request) in requests().into_iter().enumerate() {
            let answer = client.send(request).await;
            assert_eq!(answer.text(), format!("payment {}: ", at + 1));
            assert!(answer.is_replayed());
        }
        assert_eq!(runs.count(), 6);
    });
}

#[test]
fn response_is_forgotten_at_its_ttl() {
    run(async {
        let (runs, clock) = (Runs::default(), ManualClock::new());
        let layer = builder(&clock).build().expect("valid options");
        let address = serve(counting(&runs).layer(layer)).await;
        let mut client = Client::connect(address, Version::Http2).await;
        client.send(payment("a", "")).await;
        clock.advance(super::server::HOUR - std::time::Duration::from_nanos(1));
        assert!(client.send(payment("a", "")).await.is_replayed());
        clock.advance(std::time::Duration::from_nanos(1));
        assert!(!client.send(payment("a", "")).await.is_replayed());
        assert_eq!(runs.count(), 2);
    });
}

#[test]
fn request_without_key_or_with_a_safe_method_passes() {
    run(async {
        let (runs, layer) = (Runs::default(), layer());
        let address = serve(counting(&runs).layer(layer.clone())).await;
        let mut client = Client::connect(address, Version::Http1).await;
        for _request in 0..2 {
            let answer = client
                .send(request(Method::POST, "/payments", None, "x"))
                .await;
            assert!(answer.text().ends_with(": x") && !answer.is_replayed());
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                let answer = client
                    .send(request(method, "/payments", Some("a"), ""))
                    .await;
                assert_eq!(answer.status, StatusCode::CREATED);
                assert!(!answer.is_replayed());
            }
        }
        assert_eq!(runs.count(), 8);
        assert!(layer.store().is_empty());
    });
}

#[test]
fn late_response_is_stored_unless_the_key_has_another_owner() {
    run(async {
        for has_rival in [false, true] {
            let (runs, clock) = (Runs::default(), ManualClock::new());
            let gate = Arc::new(Semaphore::new(0));
            let state = (runs.clone(), Arc::clone(&gate));
            let handler = |State((runs, gate)): State<(Runs, Arc<Semaphore>)>| async move {
                let number = runs.begin();
                if number == 1 {
                    gate.acquire().await.expect("it is open").forget();
                }
                format!("payment {number}")
            };
            let app = Router::new()
                .route("/payments", post(handler))
                .with_state(state);
            let layer = builder(&clock).build().expect("valid options");
            let address = serve(app.layer(layer.clone())).await;
            let mut slow = Client::connect(address, Version::Http1).await;
            let mut client = Client::connect(address, Version::Http1).await;
            let late = tokio::spawn(async move { slow.send(payment("a", "")).await });
            runs.reach(1).await;
            clock.advance(LEASE);
            if has_rival {
                assert_eq!(client.send(payment("a", "")).await.text(), "payment 2");
            }
            gate.add_permits(1);
            let late = late.await.expect("no panic");
            assert_eq!((late.text(), late.is_unstored()), ("payment 1", has_rival));
            assert_eq!(unstored(&layer), [0, 0, 0, u64::from(has_rival)]);
            let retry = client.send(payment("a", "")).await;
            assert!(retry.is_replayed());
            assert_eq!(
                retry.text(),
                if has_rival { "payment 2" } else { "payment 1" }
            );
        }
    });
}

#[test]
fn handler_can_read_the_key() {
    run(async {
        let handler = |request: axum::extract::Request| async move {
            let key = request.extensions().get::<IdempotencyKey>();
            key.map_or("none".into_response(), |key| {
                key.as_str().to_owned().into_response()
            })
        };
        let address = serve(Router::new().fallback(any(handler)).layer(layer())).await;
        let mut client = Client::connect(address, Version::Http1).await;
        let mut quoted = payment("", "");
        quoted
            .headers_mut()
            .insert(KEY, r#""a\"b""#.parse().expect("a value"));
        assert_eq!(client.send(quoted).await.text(), "a\"b");
        let without = request(Method::POST, "/payments", None, "");
        assert_eq!(client.send(without).await.text(), "none");
    });
}

#[test]
fn only_allowed_header_fields_are_replayed() {
    run(async {
        let handler = || async {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("content-type", "text/plain"),
                ("location", "/payments/1"),
                ("etag", "\"1\""),
                ("x-trace", "t"),
                ("x-note", "n"),
                ("set-cookie", "session=secret"),
                ("authorization", "secret"),
                ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
                ("age", "7"),
                ("keep-alive", "timeout=5"),
                ("link", "</hop>"),
                ("connection", "Link, keep-alive"),
                ("vary", "a"),
            ] {
                headers.insert(name, value.parse().expect("a value"));
            }
            headers.append("vary", "b".parse().expect("a value"));
            (headers, "paid")
        };
        let app = Router::new().route("/payments", post(handler));
        let note = "x-note".parse().expect("a name");
        let layer = builder(&ManualClock::new()).replay_headers([note]).build();
        let address = serve(app.layer(layer.expect("valid options"))).await;
        let mut client = Client::connect(address, Version::Http1).await;
        let first = client.send(payment("a", "")).await;
        assert_eq!(first.header("set-cookie"), Some("session=secret"));
        assert_eq!(first.header("x-trace"), Some("t"));
        let retry = client.send(payment("a", "")).await;
        let mut names: Vec<_> = retry.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "content-length",
                "content-type",
                "date",
                "etag",
                "idempotent-replayed",
                "location",
                "vary",
                "x-note"
            ]
        );
        // The server sets the date anew.
        assert_ne!(retry.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(retry.headers.get_all("vary").iter().count(), 2);
    });
}
