//! `POST /messages`: handles each message once, however often it is delivered.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use leakproof::{Claim, CompoundKey};
use serde_json::json;

use crate::service::{Failed, Message, Reply, Service};

/// The parts of a message's key.
const PARTS: [&str; 2] = ["chat", "id"];
/// After so many seconds a message that is being handled may be asked for again.
const SOON: &str = "1";
/// The same, of a message for which there was no room.
const LATER: &str = "10";

pub(crate) async fn message(
    State(service): State<Service>,
    Json(message): Json<Message>,
) -> Response {
    let key = match CompoundKey::new([&message.chat, &message.id]) {
        Ok(key) => key,
        // An empty id would be a duplicate of every other empty id.
        Err(missing) => {
            return error(
                StatusCode::BAD_REQUEST,
                &format!("`{}` is missing", PARTS[missing.index]),
            );
        }
    };
    // One step: of any number of deliveries at once, one gets the ticket.
    let ticket = match service.seen.claim_owned(&key) {
        Claim::Fresh(ticket) => ticket,
        Claim::Duplicate { value, .. } => return answer(&value, true),
        Claim::InFlight { .. } => {
            return (
                [(RETRY_AFTER, SOON)],
                error(StatusCode::CONFLICT, "it is being handled"),
            )
                .into_response();
        }
        Claim::Full => {
            let full = error(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many messages are being handled",
            );
            return ([(RETRY_AFTER, LATER)], full).into_response();
        }
    };
    // A task of its own: a sender that hangs up ends this request, but not the work, and finds the reply when it delivers
    // the message again.
    let work = tokio::spawn(async move {
        // An error or a panic drops the ticket: the redelivery is handled.
        let reply = service.handle(&message).await?;
        if let Err(lapsed) = ticket.commit(reply.clone()) {
            // It took longer than the lease, and somebody else may be handling it by now: it may be handled twice. If not,
            // it is recorded here, and not handled again.
            tracing::warn!(
                chat = message.chat,
                id = message.id,
                "handled too late for its lease"
            );
            service.seen.record(&key, lapsed.value);
        }
        Ok::<_, Failed>(reply)
    });
    match work.await {
        Ok(Ok(reply)) => answer(&reply, false),
        Ok(Err(failed)) => error(StatusCode::INTERNAL_SERVER_ERROR, &failed.to_string()),
        Err(_) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the handler panicked; deliver the message again",
        ),
    }
}

fn answer(reply: &Reply, duplicate: bool) -> Response {
    Json(json!({ "reply": reply, "duplicate": duplicate })).into_response()
}

fn error(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({ "error": what }))).into_response()
}
