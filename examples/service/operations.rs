//! Health, metrics and administration.

use std::error::Error;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use leakproof::monitor::Severity;
use serde_json::{Value, json};

use crate::service::Service;

/// `GET /health`: the monitor's report, with status 503 if a finding is critical.
///
/// For a readiness probe or an alert. A liveness probe would restart the process, which forgets
/// every id.
pub(crate) async fn health(State(service): State<Service>) -> Response {
    let report = service.monitor.report();
    let status = match report.severity() {
        Severity::Critical => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    (status, Json(report)).into_response()
}

/// `GET /metrics`: metrics for Prometheus, as they are now.
pub(crate) async fn metrics(State(service): State<Service>) -> Response {
    service.monitor.publish();
    let content_type = (CONTENT_TYPE, "text/plain; version=0.0.4");
    ([content_type], service.metrics.render()).into_response()
}

/// `POST /admin/reconnect`: behaves as if the connection to the gateway were lost.
pub(crate) async fn reconnect(
    State(service): State<Service>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let failed = |error: Box<dyn Error>| (StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    service.reconnect().map_err(failed)?;
    Ok(Json(json!({ "handlers": service.bus.len() })))
}

/// `POST /admin/clear`: removes all messages and sessions, except messages in flight and messages
/// that are shared with other instances.
pub(crate) async fn clear(State(service): State<Service>) -> Response {
    let (messages, sessions) = (service.seen.clear(), service.sessions.len());
    service.sessions.clear();
    Json(json!({ "messages": messages, "sessions": sessions })).into_response()
}
