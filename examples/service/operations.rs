//! Health, metrics, administration and alerts.

use std::error::Error;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{ErrorResponse, IntoResponse};
use axum::{Json, extract::State};
use leakproof::monitor::{Change, Severity};
use serde_json::{Value, json};
use ureq::Agent;

use crate::{service::Service, store::Store};

/// `GET /health`: the monitor's report, with status 503 if a finding of the process is critical.
///
/// For a readiness probe. A finding of a collection is for an alert only, because a flood of ids
/// fills the sets of all replicas. A liveness probe would restart the process, which forgets ids.
pub async fn health(State(service): State<Service>) -> impl IntoResponse {
    let report = service.monitor.report();
    let mut of_process = report.findings.iter().filter(|it| it.collection.is_none());
    let status = match of_process.any(|finding| finding.severity == Severity::Critical) {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    };
    (status, Json(report))
}

/// `GET /metrics`: metrics for Prometheus, as they are now.
pub async fn metrics(State(service): State<Service>) -> impl IntoResponse {
    service.monitor.publish();
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        service.metrics.render(),
    )
}

/// `POST /admin/reconnect`: behaves as if the connection to the gateway were lost.
pub async fn reconnect(State(service): State<Service>) -> Result<Json<Value>, ErrorResponse> {
    let failed = |error: Box<dyn Error>| (StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    service.reconnect().map_err(failed)?;
    Ok(Json(json!({ "handlers": service.bus.len() })))
}

/// `POST /admin/clear`: removes all messages and sessions, except messages in flight and messages
/// that are shared with other instances.
pub async fn clear(State(service): State<Service>) {
    if let Store::Local(map) = &service.seen {
        map.clear();
    }
    service.sessions.clear();
}

/// Returns a callback for the monitor that posts each change. A thread posts one after the other,
/// so a webhook that hangs delays neither the monitor nor a message. Above 100 alerts that wait,
/// further ones are in the log only.
pub fn post_to(url: String) -> impl Fn(&Change) + Send + Sync + 'static {
    let (queue, alerts) = sync_channel::<Value>(100);
    thread::spawn(move || {
        let config = Agent::config_builder().timeout_global(Some(Duration::from_secs(5)));
        let agent = Agent::from(config.build());
        for alert in alerts {
            let post = agent.post(&url).header("content-type", "application/json");
            if let Err(error) = post.send(alert.to_string()) {
                tracing::warn!("cannot post an alert: {error}");
            }
        }
    });
    move |change| {
        // Slack, Mattermost and Google Chat show `text`.
        let (text, finding) = (change.to_string(), change.finding());
        let alert = json!({ "text": text, "change": change.as_str(), "finding": finding });
        if queue.try_send(alert).is_err() {
            tracing::warn!("too many alerts wait, so one is dropped: {change}");
        }
    }
}
