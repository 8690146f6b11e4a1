//! Section: the cost of the layer for idempotent HTTP requests.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request};
use axum::routing::post;
use axum::{Router, extract::State};
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use leakproof::http::{IdempotencyLayer, StoredResponse};
use leakproof::{Clock, DedupMap};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use crate::child;
use crate::memory::resident;
use crate::report::{Section, Table, figure};
use crate::rounds::{Rounds, interleaved};
use crate::sizes::Sizes;
use example_support::text::thousands;

type Store = DedupMap<[u8], StoredResponse>;

/// The body of a request.
const REQUEST: usize = 200;
/// The body of a response.
const RESPONSE: usize = 1_000;
const NAMES: [&str; 4] = [
    "no layer",
    "a request without a key, which passes",
    "a new key: claim, run, store",
    "a retry: replay",
];
/// The bodies of stored responses whose memory is measured.
const STORED: [usize; 4] = [0, 100, 1_000, 10_000];

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let requests = sizes.timed_slow / 50;
    let rounds = requests_over_loopback(sizes.rounds, requests);
    let mut times = Table::new(&["request", "µs", "ratio"]);
    for (at, name) in NAMES.iter().enumerate() {
        times.row([
            (*name).to_owned(),
            figure(rounds.median(at)),
            figure(rounds.ratio(at, 0)),
        ]);
    }
    let responses = sizes.live / 50;
    let mut memory = Table::new(&["body, bytes", "resident bytes", "counted by the layer"]);
    for body in STORED {
        eprint!("\rstored responses: {body:<20}");
        let args = [responses.to_string(), body.to_string()];
        let output = child::run(child::Work::Store, &args.each_ref().map(String::as_str));
        let mut bytes = output.split_whitespace();
        let mut per_response = || {
            let bytes = bytes.next().and_then(|it| it.parse::<f64>().ok());
            figure(bytes.expect("a number of bytes") / responses as f64)
        };
        memory.row([thousands(body as u64), per_response(), per_response()]);
    }
    eprintln!();
    vec![Section {
        title: "Idempotent HTTP requests",
        text: format!(
            "An axum server and a client in one process, over one HTTP/1.1 connection on the \
loopback interface, one request after the other. A request has {REQUEST} bytes, a response \
{response} bytes, and the handler does nothing else. {requests} requests per round, and the median \
of the ratios of each round. The second table has the growth of resident memory in a process of \
its own, per stored response, with {responses} responses whose keys have 36 bytes. A record has \
the bytes of its body, two header fields, its key with scope and path, and its fingerprint.",
            response = thousands(RESPONSE as u64),
            requests = thousands(requests as u64),
            responses = thousands(responses as u64),
        ),
        tables: vec![times, memory],
        charts: Vec::new(),
        targets: Vec::new(),
    }]
}

fn layer(responses: usize) -> IdempotencyLayer<Store> {
    let store = DedupMap::builder()
        .ttl(Duration::from_secs(3600))
        .max_entries(responses)
        .build();
    IdempotencyLayer::builder(store.expect("bounds are set"))
        .scope(|_| "tenant".to_owned())
        .max_stored_bytes(usize::MAX)
        .build()
        .expect("valid options")
}

/// Returns an app whose handler returns a text.
fn app(text: Bytes) -> Router {
    let handler = |State(text): State<Bytes>, body: Bytes| async move {
        black_box(body);
        (
            [
                ("content-type", "application/json"),
                ("location", "/payments/1"),
            ],
            text,
        )
    };
    Router::new()
        .route("/payments", post(handler))
        .with_state(text)
}

fn request(key: Option<&str>, body: &Bytes) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri("/payments");
    let request = request.header("host", "localhost");
    let request = match key {
        Some(key) => request.header("idempotency-key", format!("\"{key}\"")),
        None => request,
    };
    request
        .body(Body::from(body.clone()))
        .expect("a valid request")
}

/// Returns a key that looks like a UUID.
fn key(number: usize) -> String {
    format!("8e03978e-40d5-43e8-bc93-{number:012x}")
}

async fn connect(app: Router) -> SendRequest<Body> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address: SocketAddr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    let stream = TcpStream::connect(address).await.expect("it accepts");
    stream.set_nodelay(true).expect("it is TCP");
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/1.1");
    tokio::spawn(connection);
    sender
}

/// Measures microseconds per request.
fn requests_over_loopback(rounds: usize, requests: usize) -> Rounds {
    let runtime = runtime();
    let body = Bytes::from(vec![b'x'; REQUEST]);
    let text = Bytes::from(vec![b'x'; RESPONSE]);
    let layer = layer(2 * rounds * requests + 1_000);
    let (mut bare, mut layered) = runtime.block_on(async {
        let layered = app(text.clone()).layer(layer);
        (connect(app(text)).await, connect(layered).await)
    });
    let mut number = 0;
    let clock = Clock::precise();
    interleaved("http", rounds, NAMES.len(), |at| {
        let sender = if at == 0 { &mut bare } else { &mut layered };
        let start = clock.now();
        runtime.block_on(async {
            for _ in 0..requests {
                number += usize::from(at == 2);
                let key = match at {
                    0 | 1 => None,
                    2 => Some(key(number)),
                    // Stored by the first of these requests at the latest.
                    _ => Some(key(0)),
                };
                sender.ready().await.expect("it is connected");
                let request = request(key.as_deref(), &body);
                let response = sender.send_request(request).await.expect("a response");
                assert!(response.status().is_success());
                let body = response.into_body().collect().await;
                assert_eq!(body.expect("a whole body").to_bytes().len(), RESPONSE);
            }
        });
        (clock.now() - start).as_secs_f64() * 1e6 / requests as f64
    })
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts")
}

/// Stores responses in a child process. Prints the growth of memory, and the bytes that the layer
/// counts.
pub(crate) fn store(args: &[&str]) {
    let &[responses, body] = args else {
        panic!("two arguments")
    };
    let [responses, body] = [responses, body].map(|it| it.parse::<usize>().expect("a number"));
    let layer = layer(2 * responses);
    let text = Bytes::from(vec![b'x'; body]);
    let app = app(text).layer(layer.clone());
    let empty = Bytes::new();
    runtime().block_on(async {
        let send = |key: String| app.clone().oneshot(request(Some(&key), &empty));
        // The runtime takes its memory before the measurement.
        for number in 0..responses.min(1_000) {
            send(format!("warm-up {number}")).await.expect("a response");
        }
        let (before, counted) = (resident(), layer.stored_bytes());
        for number in 0..responses {
            send(key(number)).await.expect("a response");
        }
        println!("{} {}", resident() - before, layer.stored_bytes() - counted);
    });
}
