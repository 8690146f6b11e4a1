//! A small real service on the three collections: it takes messages by HTTP, handles each once, keeps sessions, and calls
//! handlers that are registered anew at every reconnect; with a health page, metrics for Prometheus, and limits from the
//! environment.
//!
//! ```text
//! cargo run --release --features metrics,serde,tracing --example service
//! curl -H 'content-type: application/json' -d '{"chat":"1203630@g.us","id":"3EB0C767","text":"hi"}' localhost:8080/messages
//! curl localhost:8080/health
//! ```
//!
//! It listens on `SERVICE_ADDR`, `127.0.0.1:8080` unless given: whoever can reach it can reconnect and clear it. Limits
//! come from `SERVICE_DEDUP_…`, `SERVICE_SESSIONS_…` and `SERVICE_EVENTS_…` (see `limits.rs`). Ctrl-C or SIGTERM end it
//! once the requests under way are answered, and it prints a last report.

mod limits;
mod operations;
mod receive;
mod service;

use std::env;
use std::error::Error;
use std::io;
use std::process::ExitCode;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::ctrl_c;

use example_support::output::{note, print};
use limits::Limits;
use service::Service;

/// No message is longer, in bytes.
const LONGEST_BODY: usize = 64 << 10;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        // As text: the errors of limits say which variable it is, and what would be right.
        Err(error) => {
            note(format_args!("service: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    // Before all else: what is wrong with the limits is an event already.
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let limits = Limits::from_env()?;
    let service = Service::new(&limits, PrometheusBuilder::new().install_recorder()?)?;

    let app = Router::new()
        .route("/messages", post(receive::message))
        .route("/health", get(operations::health))
        .route("/metrics", get(operations::metrics))
        .route("/admin/reconnect", post(operations::reconnect))
        .route("/admin/clear", post(operations::clear))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(service.clone());
    let address = env::var("SERVICE_ADDR").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(&address).await?;
    // Before it says that it runs: whoever reads that may stop it at once.
    let stop = asked_to_stop()?;
    print(format_args!(
        "listening on http://{}\n",
        listener.local_addr()?
    ))?;
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await?;

    print(service.monitor.report())
}

/// Listens for Ctrl-C and SIGTERM from now on; what is returned ends with the first of them.
#[cfg(unix)]
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Listens for Ctrl-C from now on; what is returned ends with it.
#[cfg(windows)]
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
