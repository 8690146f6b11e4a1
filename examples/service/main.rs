//! A small service on all collections. It takes messages by HTTP, handles each once, limits them
//! per chat, and pays once for each idempotency key. It keeps sessions, registers its handlers
//! again at every reconnect, and has a health page, metrics for Prometheus, and alerts.
//!
//! ```text
//! cargo run --release --all-features --example service
//! curl -H 'content-type: application/json' -d '{"chat":"a","id":"1","text":"hi"}' \
//!     localhost:8080/messages
//! curl -H 'content-type: application/json' -H 'x-account: ada' -H 'idempotency-key: "1"' \
//!     -d '{"cents":100}' localhost:8080/payments
//! curl localhost:8080/health
//! ```

mod operations;
mod payments;
mod service;
mod store;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::Listener;
use clap::Parser;
use example_support::{Result, exit, output::print};
use governor::Quota;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use leakproof::monitor::Monitor;
use leakproof::redis::Unavailable;
use tokio::net::TcpListener;
use tokio::{signal, sync::Semaphore, time::timeout};
use tracing_subscriber::fmt;

use service::Service;
use store::Store;

/// Takes messages and payments by HTTP and handles each once, however often it is delivered.
///
/// Limits are read from the environment: SERVICE_DEDUP_* for messages and payments, such as
/// SERVICE_DEDUP_TTL_MS, SERVICE_SESSIONS_* for sessions, SERVICE_EVENTS_* for handlers. An invalid
/// limit is reported in the log, and its default is used.
///
/// SIGTERM or Ctrl-C stops the service. It completes the requests and the work in progress within
/// 20 seconds, and prints a last report.
#[derive(Parser)]
#[command(name = "service", verbatim_doc_comment)]
struct Options {
    /// Address to listen on. Every client that can connect can call /admin
    #[arg(long, env = "SERVICE_ADDR", default_value = "127.0.0.1:8080")]
    addr: String,
    /// Server, Redis or Valkey, by which instances share messages and payments
    #[arg(long, env = "SERVICE_REDIS_URL", value_name = "URL")]
    redis_url: Option<String>,
    /// Folder that keeps messages and payments over a restart, unless a server does
    #[arg(long, env = "SERVICE_JOURNAL", value_name = "FOLDER")]
    journal: Option<PathBuf>,
    /// Connections at a time
    #[arg(long, env = "SERVICE_MAX_CONNECTIONS", default_value = "1024")]
    max_connections: NonZeroU32,
    /// New messages of a chat that may arrive at once, and that are replenished within a minute
    #[arg(long, env = "SERVICE_CHAT_PER_MINUTE", default_value = "600")]
    chat_per_minute: NonZeroU32,
    /// Posts each finding of the monitor as JSON, for example to a webhook of a chat
    #[arg(long, env = "SERVICE_ALERT_URL", value_name = "URL")]
    alert_url: Option<String>,
}

/// The time for the headers of a request, and for its body. It also ends idle connections.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// The time to complete work after a signal. Kubernetes kills a process 30 seconds after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> std::process::ExitCode {
    exit("service", run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    // First, because an invalid limit is an event.
    fmt().with_writer(std::io::stderr).init();
    let mut monitor = Monitor::builder().sample_every(Duration::from_secs(10));
    if let Some(url) = &options.alert_url {
        monitor = monitor.on_change(operations::post_to(url.clone()));
    }
    let monitor = monitor.build()?;
    // While Redis is unavailable, each instance decides alone about messages, so none is lost. No
    // instance pays, because another one may have paid already.
    let seen = Store::open(&options, "messages", Unavailable::Degrade, &monitor).await?;
    let service = Service::new(seen, Quota::per_minute(options.chat_per_minute), &monitor)?;
    let payments = Store::open(&options, "payments", Unavailable::Refuse, &monitor).await?;
    let (payments, all_paid) = payments::routes(payments)?;

    let app = Router::new()
        .route("/messages", post(service::message))
        .merge(payments)
        .route("/health", get(operations::health))
        .route("/metrics", get(operations::metrics))
        .route("/admin/reconnect", post(operations::reconnect))
        .route("/admin/clear", post(operations::clear))
        .layer(middleware::from_fn(read_body))
        .with_state(service.clone());
    let listener = TcpListener::bind(&options.addr).await;
    let listener =
        listener.map_err(|error| format!("cannot listen on {}: {error}", options.addr))?;
    // Before the address is printed, because its reader may send a signal at once.
    let stop = stop_signal()?;
    let address = listener.local_addr()?;
    print(format_args!("listening on http://{address}\n"))?;

    let connections = serve(app, listener, options.max_connections, stop).await;
    let complete = async {
        connections.shutdown().await;
        all_paid.await;
        service.work.close();
        service.work.wait().await;
    };
    if timeout(STOP_WITHIN, complete).await.is_err() {
        tracing::warn!("work is not completed within {STOP_WITHIN:?}");
    }
    print(monitor.report())
}

/// Accepts connections until `stop` ends. Returns the handle that waits for the open ones.
///
/// `axum::serve` bounds neither connections nor the time to read headers, so a client that sends
/// half a request would hold its connection, and a shutdown, forever.
async fn serve(
    app: Router,
    mut listener: TcpListener,
    max_connections: NonZeroU32,
    stop: impl Future<Output = ()>,
) -> GracefulShutdown {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(READ_WITHIN);
    let open = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(max_connections.get() as usize));
    tokio::pin!(stop);
    loop {
        // First, so that further connections stay in the backlog of the system.
        let permit = Arc::clone(&permits).acquire_owned();
        let (permit, (stream, _)) = tokio::select! {
            () = &mut stop => return open,
            accepted = async { (permit.await, Listener::accept(&mut listener).await) } => accepted,
        };
        let service = TowerToHyperService::new(app.clone());
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        // The permit is returned when the connection ends.
        tokio::spawn(async move { (connection.await, permit) });
    }
}

/// Reads the whole body, of at most 64 KiB, before the handler runs.
async fn read_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match timeout(READ_WITHIN, axum::body::to_bytes(body, 64 << 10)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, bytes.into())).await,
        // The other error is a closed connection, which reads no response.
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// Listens for SIGTERM from now on. The future ends with it or with Ctrl-C.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    #[cfg(windows)]
    let mut terminate = signal::windows::ctrl_shutdown()?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = signal::ctrl_c() => {}
        }
    })
}
