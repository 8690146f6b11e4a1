//! A server and clients for the tests of the layer.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use axum::routing::post;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use leakproof::http::{IdempotencyBuilder, IdempotencyLayer, StoredResponse};
use leakproof::{DedupMap, ManualClock};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub const HOUR: Duration = Duration::from_secs(3600);
pub const LEASE: Duration = Duration::from_secs(60);
pub const KEY: &str = "idempotency-key";

pub type Store = DedupMap<[u8], StoredResponse>;
pub type Layer = IdempotencyLayer<Store>;

/// Runs a test on a runtime of its own, for at most a minute.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let limit = Duration::from_secs(60);
        let result = tokio::time::timeout(limit, test).await;
        result.expect("it comes to an end");
    });
}

pub fn store(clock: &ManualClock) -> Store {
    let builder = DedupMap::builder().ttl(HOUR).max_entries(1_000);
    let store = builder.lease(LEASE).clock(clock).build();
    store.expect("valid options")
}

/// Returns the client that the field `x-tenant` names, or `alice`.
pub fn tenant(request: &Parts) -> String {
    let tenant = request.headers.get("x-tenant");
    tenant
        .map_or("alice", |it| it.to_str().expect("ASCII"))
        .to_owned()
}

pub fn builder(clock: &ManualClock) -> IdempotencyBuilder<Store> {
    IdempotencyLayer::builder(store(clock)).scope(tenant)
}

pub fn layer() -> Layer {
    builder(&ManualClock::new()).build().expect("valid options")
}

/// Returns the responses that were not stored: too large, streamed, without room, refused.
pub fn unstored(layer: &Layer) -> [u64; 4] {
    let stats = layer.stats();
    let counts = [stats.too_large, stats.streamed, stats.no_room];
    let refused = stats.refused;
    let text = stats.to_string();
    assert!(text.ends_with(&format!("{refused} refused by the store")));
    [counts[0], counts[1], counts[2], refused]
}

/// Counts the runs of a handler.
#[derive(Clone, Default)]
pub struct Runs(Arc<AtomicUsize>);

impl Runs {
    /// Counts a run, and returns the number of runs with it.
    pub fn begin(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until the handler has begun to run this often.
    pub async fn reach(&self, count: usize) {
        until(|| self.count() >= count).await;
    }
}

/// Returns an app whose handler counts its runs, waits for a permit, and returns the number of the
/// run.
pub fn gated_app(runs: &Runs, gate: &Arc<Semaphore>) -> Router {
    let handler = |State((runs, gate)): State<(Runs, Arc<Semaphore>)>| async move {
        let number = runs.begin();
        gate.acquire().await.expect("it is open").forget();
        format!("payment {number}")
    };
    Router::new()
        .route("/payments", post(handler))
        .with_state((runs.clone(), Arc::clone(gate)))
}

/// Waits until a condition holds.
pub async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Serves a router on a free port, with HTTP/1.1 and HTTP/2.
pub async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

pub const VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];

/// A connection. Dropping it closes the connection.
pub struct Client {
    pub address: SocketAddr,
    sender: Sender,
    connection: JoinHandle<()>,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Client {
    pub async fn connect(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("the server accepts");
        let io = TokioIo::new(stream);
        match version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(io).await.expect("HTTP/1.1");
                let connection = tokio::spawn(async { drop(connection.await) });
                let sender = Sender::Http1(sender);
                Self {
                    address,
                    sender,
                    connection,
                }
            }
            Version::Http2 => {
                let executor = TokioExecutor::new();
                let (sender, connection) = http2::handshake(executor, io).await.expect("HTTP/2");
                let connection = tokio::spawn(async { drop(connection.await) });
                let sender = Sender::Http2(sender);
                Self {
                    address,
                    sender,
                    connection,
                }
            }
        }
    }

    /// Sends a request and returns the response as soon as its head is there.
    pub async fn start(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Sends a request and returns the whole response.
    pub async fn send(&mut self, request: Request<Body>) -> Answer {
        let response = self.start(request).await.expect("a response");
        Answer::read(response).await.expect("a whole response")
    }
}

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub async fn read(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (parts, mut body) = response.into_parts();
        let (mut data, mut trailers) = (Vec::new(), None);
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            match frame?.into_data() {
                Ok(part) => data.extend_from_slice(&part),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            body: data.into(),
            trailers,
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("ASCII"))
    }

    pub fn is_replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// Returns `true` if the response is marked as not stored.
    pub fn is_unstored(&self) -> bool {
        self.header("idempotent-stored") == Some("false")
    }

    /// Asserts that this is a problem, and returns its name.
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert!(!self.is_replayed());
        let json: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(json["status"], self.status.as_u16());
        for text in ["title", "detail"] {
            assert!(
                json[text].as_str().is_some_and(|text| !text.is_empty()),
                "{json}"
            );
        }
        let page = "https://docs.rs/leakproof/latest/leakproof/docs/http_idempotency/index.html#";
        let name = json["type"].as_str().and_then(|it| it.strip_prefix(page));
        name.expect("a heading on the page").to_owned()
    }
}

/// Returns a `POST /payments` with a key in quotes.
pub fn payment(key: &str, body: impl Into<Body>) -> Request<Body> {
    request(Method::POST, "/payments", Some(key), body)
}

pub fn request(
    method: Method,
    uri: &str,
    key: Option<&str>,
    body: impl Into<Body>,
) -> Request<Body> {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "localhost");
    let request = match key {
        Some(key) => request.header(KEY, format!("\"{key}\"")),
        None => request,
    };
    request.body(body.into()).expect("a valid request")
}
