//! For whoever is on call: health, metrics, and what can be done by hand.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use leakproof::monitor::Severity;
use serde_json::json;

use crate::service::Service;

/// `GET /health`: the monitor's report; 503 where something is critical. For a readiness probe or an alert, not for
/// a liveness probe: a restart would forget every id.
pub(crate) async fn health(State(service): State<Service>) -> Response {
    let report = service.monitor.report();
    let is_well = report.severity() < Severity::Critical;
    let status = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}

/// `GET /metrics`: for Prometheus. The figures are those of this moment, not of the last sample.
pub(crate) async fn metrics(State(service): State<Service>) -> Response {
    service.monitor.publish();
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        service.metrics.render(),
    )
        .into_response()
}

/// `POST /admin/reconnect`: as if the connection to the gateway had been lost.
pub(crate) async fn reconnect(State(service): State<Service>) -> Response {
    match service.reconnect() {
        Ok(()) => Json(json!({ "handlers": service.bus.len() })).into_response(),
        Err(error) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "error": error.to_string() })),
        )
            .into_response(),
    }
}

/// `POST /admin/clear`: forgets all messages and sessions. What is being handled is not affected.
pub(crate) async fn clear(State(service): State<Service>) -> Response {
    let (messages, sessions) = (service.seen.len(), service.sessions.len());
    service.seen.clear();
    service.sessions.clear();
    Json(json!({ "messages": messages, "sessions": sessions })).into_response()
}
