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

mod alerts;
mod limits;
mod messages;
mod operations;
mod payments;
mod serve;
mod service;
mod store;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, io};

use axum::routing::{get, post};
use axum::{Router, middleware};
use clap::Parser;
use example_support::output::print;
use example_support::{Result, exit};
use leakproof::{Monitor, Unavailable};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::time::timeout;

use limits::Limits;
use service::Service;
use store::Store;

/// Takes messages and payments by HTTP and handles each once, however often it is delivered.
///
/// Environment: SERVICE_ADDR              Address to listen on [default: 127.0.0.1:8080]. Every
/// client that can
///                             connect can call /admin
///   SERVICE_REDIS_URL         Redis or Valkey server that instances share; without it, each
///                             instance handles every message that it receives
///   SERVICE_JOURNAL           Folder that keeps messages and payments over a restart; without it,
///                             a restart forgets them. Not used with SERVICE_REDIS_URL
///   SERVICE_MAX_CONNECTIONS   Connections at a time [default: 1024]
///   SERVICE_MAX_WORK_MS       Time for which the lease of a message in progress is extended
///                             [default: 300000]
///   SERVICE_CHAT_PER_MINUTE   New messages of a chat per minute [default: 600]
///   SERVICE_MAX_CHATS         Chats that are limited at a time [default: 100000]
///   SERVICE_DEDUP_*           Limits of messages and payments, such as SERVICE_DEDUP_TTL_MS
///   SERVICE_SESSIONS_*        Limits of the sessions, such as SERVICE_SESSIONS_IDLE_TIMEOUT_MS
///   SERVICE_EVENTS_*          Limits of the handlers, such as SERVICE_EVENTS_MAX_PER_TOPIC
///   SERVICE_LIMITS=strict     Refuses to start with an invalid limit, instead of using its default
///
/// SIGTERM or Ctrl-C stops the service. It completes the requests and the work in progress within
/// 20 seconds, and prints a last report.
#[derive(Parser)]
#[command(name = "service", verbatim_doc_comment)]
struct Options {
    /// Posts each finding of the monitor as JSON, for example to a webhook of a chat
    #[arg(long, value_name = "URL")]
    alert_url: Option<String>,
}

const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// The time to complete work after a signal. Kubernetes kills a process 30 seconds after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> ExitCode {
    exit("service", run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    // First, because an invalid limit is an event.
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let limits = Limits::from_env()?;
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let mut monitor = Monitor::builder().sample_every(SAMPLE_EVERY);
    if let Some(url) = options.alert_url {
        monitor = monitor.on_change(alerts::post_to(url));
    }
    let monitor = Arc::new(monitor.build()?);
    let service = Service::new(&limits, Arc::clone(&monitor), metrics).await?;
    // While Redis is unavailable, no instance pays: another one may have paid already.
    let payments = Store::new(&limits, "payments", Unavailable::Refuse, &monitor).await?;

    let app = Router::new()
        .route("/messages", post(messages::message))
        .merge(payments::routes(payments)?)
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

    let max = limits.max_connections.get() as usize;
    let connections = serve::accept_until(stop, listener, max, app).await;
    let complete = async {
        connections.shutdown().await;
        service.work.close();
        service.work.wait().await;
    };
    if timeout(STOP_WITHIN, complete).await.is_err() {
        let (messages, within) = (service.work.len(), STOP_WITHIN.as_secs());
        tracing::warn!("{messages} messages are not completed within {within} s");
    }
    print(monitor.report())
}

/// Listens for SIGTERM from now on. The future ends with it or with Ctrl-C.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate())?
    };
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    })
}
