//! An `IdempotencyLayer` over a service of this process, whose clients and handlers fail.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use leakproof::DedupMap;
use leakproof::http::{IdempotencyBody, IdempotencyLayer, IdempotencyService, StoredResponse};
use tokio::task::yield_now;
use tower::util::ServiceExt;
use tower::{Layer, Service};

use crate::cache::UnderWay;
use crate::round::{Dice, Round, Tally, Verdict, panic_deliberately};
use crate::tasks::{Counts, runtime, sleep};

const STEPS: usize = 250;

type Store = DedupMap<[u8], StoredResponse>;
type Body = Full<bytes::Bytes>;

/// The state of a key, as the handler knows it.
#[derive(Default)]
struct OfKey {
    running: AtomicUsize,
    /// The response of the handler, which is to be the only one.
    response: Mutex<Option<String>>,
}

/// The handlers, and what they have done.
struct Handlers {
    verdict: Arc<Verdict>,
    counts: Arc<Counts>,
    keys: Vec<OfKey>,
    longest: usize,
}

#[derive(Clone)]
struct Handler(Arc<Handlers>);

struct Requests {
    handlers: Arc<Handlers>,
    layer: IdempotencyLayer<Store>,
    service: IdempotencyService<Handler, Store>,
    max_stored: usize,
}

pub(crate) fn soak(round: &mut Round, causes: &mut Tally) -> Tally {
    let dice = &mut round.dice;
    let (keys, shards) = (dice.between(5, 500) as usize, 1 + dice.below(4));
    let (max_response, max_stored) = (dice.between(100, 10_000), dice.between(1_000, 1_000_000));
    let store = Store::builder()
        .ttl(Duration::from_secs(24 * 3600))
        .lease(Duration::from_secs(3600))
        // One shard may have all keys.
        .max_entries(keys * shards)
        .max_in_flight(dice.between(2, 100) as usize)
        .shards(shards)
        .build()
        .expect("valid limits");
    let mut builder = IdempotencyLayer::builder(store)
        .scope(|_| "tenant".to_owned())
        .max_response_bytes(max_response as usize)
        .max_stored_bytes(max_stored as usize);
    if dice.one_in(2) {
        builder = builder.wait(Duration::from_millis(dice.between(1, 100)));
    }
    let layer = builder.build().expect("valid options");
    let handlers = Arc::new(Handlers {
        verdict: Arc::clone(&round.verdict),
        counts: Arc::default(),
        keys: (0..keys).map(|_| OfKey::default()).collect(),
        longest: 2 * max_response as usize,
    });
    let requests = Arc::new(Requests {
        service: layer.layer(Handler(Arc::clone(&handlers))),
        handlers,
        layer,
        max_stored: max_stored as usize,
    });
    let runtime = runtime();
    let step = {
        let requests = Arc::clone(&requests);
        move |dice| Arc::clone(&requests).step(dice)
    };
    let counts = &requests.handlers.counts;
    round.play_async(&runtime, (STEPS, counts), step, || {
        sleep(Duration::from_millis(1));
    });
    runtime.block_on(requests.layer.idle());
    drop(runtime);
    requests.account(round, causes);
    counts.take()
}

impl OfKey {
    fn response(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.response.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Request<IdempotencyBody<Body>>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<IdempotencyBody<Body>>) -> Self::Future {
        let handlers = Arc::clone(&self.0);
        Box::pin(async move { Ok(handlers.handle(request.headers()).await) })
    }
}

/// Returns a number that the client sent to the handler.
fn number(headers: &HeaderMap, name: &str) -> usize {
    let text = headers.get(name).and_then(|it| it.to_str().ok());
    text.and_then(|it| it.parse().ok())
        .expect("the client sends it")
}

impl Handlers {
    async fn handle(&self, request: &HeaderMap) -> Response<Body> {
        let key = number(request, "x-key");
        let of_key = &self.keys[key];
        let others = of_key.running.fetch_add(1, SeqCst);
        let _running = UnderWay(&of_key.running);
        let has_response = of_key.response().is_some();
        self.verdict.check(others == 0 && !has_response, || {
            format!("the handler of request {key} runs twice; response before: {has_response}")
        });
        for _ in 0..number(request, "x-pauses") {
            yield_now().await;
        }
        match number(request, "x-outcome") {
            0 => panic_deliberately(),
            1 => {
                self.counts.count("handlers that failed");
                let mut response = Response::new(Body::default());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
            _ => {
                self.counts.count("handlers that ended");
                let length = number(request, "x-length").min(self.longest);
                let text = format!("{key}:{}", "x".repeat(length));
                *of_key.response() = Some(text.clone());
                Response::new(Body::from(text))
            }
        }
    }
}

impl Requests {
    async fn step(self: Arc<Self>, mut dice: Dice) {
        let handlers = &self.handlers;
        let check = |holds, promise: &dyn Fn() -> String| handlers.verdict.check(holds, promise);
        let key = dice.below(handlers.keys.len());
        let is_other = dice.one_in(20);
        let payload = if is_other { "another" } else { "the same" };
        let request = Request::builder()
            .method(Method::POST)
            .uri("/payments")
            .header("idempotency-key", format!("\"{key}\""))
            .header("x-key", key)
            .header("x-pauses", dice.below(10))
            .header("x-outcome", dice.below(10))
            .header("x-length", dice.between(1, handlers.longest as u64))
            .body(Body::from(payload))
            .expect("a valid request");
        let Ok(response) = self.service.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return check(false, &|| format!("a body ends early: {error}")),
        };
        let has = |name: &str, value: &str| head.headers.get(name).is_some_and(|it| it == value);
        match head.status {
            StatusCode::OK => {
                let is_replayed = has("idempotent-replayed", "true");
                handlers.counts.count(match is_replayed {
                    true => "responses replayed",
                    false if has("idempotent-stored", "false") => "responses not stored",
                    false => "responses",
                });
                let expected = handlers.keys[key].response().clone();
                check(expected.is_some_and(|it| it.as_bytes() == body), &|| {
                    format!("another body for request {key}, replayed: {is_replayed}")
                });
            }
            StatusCode::CONFLICT => handlers.counts.count("requests in conflict"),
            StatusCode::UNPROCESSABLE_ENTITY => handlers.counts.count("other payloads"),
            StatusCode::SERVICE_UNAVAILABLE => handlers.counts.count("requests above a bound"),
            StatusCode::INTERNAL_SERVER_ERROR => {}
            status => check(false, &|| {
                format!("request {key} was answered with {status}")
            }),
        }
        let stored = self.layer.stored_bytes();
        check(stored <= self.max_stored, &|| {
            format!("{stored} bytes of responses, above {}", self.max_stored)
        });
    }

    /// Checks that each response of a handler is stored, or known not to be.
    fn account(&self, round: &Round, causes: &mut Tally) {
        let store = self.layer.store();
        store.validate();
        let stats = store.stats();
        let keys = &self.handlers.keys;
        let ended = keys.iter().filter(|it| it.response().is_some()).count();
        round.check_equal("records of responses", stats.len, ended);
        round.check_equal("requests in flight", stats.in_flight, 0);
        causes.count_many("keys of requests released", stats.released);
    }
}
