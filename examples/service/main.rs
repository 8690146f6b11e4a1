//! A small service on the three collections. It takes messages by HTTP, handles each once, keeps
//! sessions, and registers its handlers again at every reconnect. It has a health page, metrics for
//! Prometheus, and limits from the environment.
//!
//! ```text
//! cargo run --release --features metrics,redis,serde,tracing --example service
//! curl -H 'content-type: application/json' -d '{"chat":"a","id":"1","text":"hi"}' \
//!     localhost:8080/messages
//! curl localhost:8080/health
//! ```

mod limits;
mod operations;
mod receive;
mod seen;
mod serve;
mod service;

use std::env;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Router, middleware};
use clap::Parser;
use example_support::output::print;
use example_support::{Result, exit};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::ctrl_c;
use tokio::time::timeout;

use limits::Limits;
use serve::Server;
use service::Service;

/// Takes messages by HTTP and handles each once, however often it is delivered.
///
/// Environment: SERVICE_ADDR              Address to listen on [default: 127.0.0.1:8080]. Every
/// client that can
///                             connect can call /admin
///   SERVICE_REDIS_URL         Redis or Valkey server that instances share; without it, each
///                             instance handles every message that it receives
///   SERVICE_MAX_CONNECTIONS   Connections at a time [default: 1024]
///   SERVICE_MAX_WORK_MS       Time for which the lease of a message in progress is extended
///                             [default: 300000]
///   SERVICE_DEDUP_*           Limits of the message ids, such as SERVICE_DEDUP_TTL_MS
///   SERVICE_SESSIONS_*        Limits of the sessions, such as SERVICE_SESSIONS_IDLE_TIMEOUT_MS
///   SERVICE_EVENTS_*          Limits of the handlers, such as SERVICE_EVENTS_MAX_PER_TOPIC
///   SERVICE_LIMITS=strict     Refuses to start with an invalid limit, instead of using its default
///
/// SIGTERM or Ctrl-C stops the service. It completes the requests and the work in progress within
/// 20 seconds, and prints a last report.
#[derive(Parser)]
#[command(name = "service", verbatim_doc_comment)]
struct Options {}

/// The time to complete work after a signal. Kubernetes kills a process 30 seconds after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    Options::parse();
    exit("service", run().await)
}

async fn run() -> Result<()> {
    // First, because an invalid limit is an event.
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let limits = Limits::from_env()?;
    let service = Service::new(&limits, PrometheusBuilder::new().install_recorder()?).await?;

    let app = Router::new()
        .route("/messages", post(receive::message))
        .route("/health", get(operations::health))
        .route("/metrics", get(operations::metrics))
        .route("/admin/reconnect", post(operations::reconnect))
        .route("/admin/clear", post(operations::clear))
        .layer(middleware::from_fn(serve::read_body))
        .with_state(service.clone());
    let address = env::var("SERVICE_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|error| format!("cannot listen on SERVICE_ADDR ({address}): {error}"))?;
    // Before the address is printed, because its reader may send a signal at once.
    let stop = stop_signal()?;
    print(format_args!(
        "listening on http://{}\n",
        listener.local_addr()?
    ))?;

    let server = Server::new(app, limits.max_connections);
    let connections = server.accept_until(listener, stop).await;
    let complete = async {
        connections.shutdown().await;
        service.work.close();
        service.work.wait().await;
    };
    if timeout(STOP_WITHIN, complete).await.is_err() {
        let (messages, within) = (service.work.len(), STOP_WITHIN.as_secs());
        tracing::warn!("{messages} messages are not completed within {within} s");
    }
    print(service.monitor.report())
}

/// Listens for Ctrl-C and SIGTERM from now on. The future ends with the first of them.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Listens for Ctrl-C from now on. The future ends with it.
#[cfg(windows)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
