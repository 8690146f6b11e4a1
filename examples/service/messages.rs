//! `POST /messages`: handles each message once, however often it is delivered.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use leakproof::{Claim, CompoundKey, Serde};
use serde_json::json;
use tokio::time::timeout;

use crate::service::{FAILED, Message, Reply, Service};

/// The most bytes of chat and id. Without a limit, one id takes as much memory as thousands.
const MAX_PART: usize = 128;
/// The time for which a redelivery waits for the reply. Senders time out after a few seconds.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Seconds after which a sender retries a message that is in flight, and one that was refused.
const SOON: u64 = 1;
const LATER: u64 = 10;
const CONFLICT: StatusCode = StatusCode::CONFLICT;
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

pub(crate) async fn message(
    State(service): State<Service>,
    Json(message): Json<Message>,
) -> Response {
    let key = match key_of(&message) {
        Ok(key) => key,
        Err(text) => return error(StatusCode::BAD_REQUEST, &text),
    };
    // Exactly one of several concurrent deliveries gets the ticket. The others wait for its reply.
    // If their senders hang up, their futures are dropped, which leaves nothing behind.
    let claim = timeout(MAX_WAIT, service.seen.claim_wait(&key)).await;
    let ticket = match claim.unwrap_or(Ok(Claim::InFlight { since: MAX_WAIT })) {
        Ok(Claim::Fresh(ticket)) => ticket,
        Ok(Claim::Duplicate { value, .. }) => return answer(&value.0, true),
        Ok(Claim::InFlight { .. }) => return retry(SOON, CONFLICT, "the message is in flight"),
        Ok(Claim::Full) => return retry(LATER, UNAVAILABLE, "too many messages are in flight"),
        Err(failed) => return retry(LATER, UNAVAILABLE, &failed.to_string()),
    };
    // After the claim, because a redelivery takes nothing of the quota. The ticket is dropped.
    if let Some(wait) = service.wait_of(&message.chat) {
        let text = "too many messages in this chat";
        return retry(wait, StatusCode::TOO_MANY_REQUESTS, text);
    }
    // A task of its own, because the request ends if its sender hangs up. The sender gets the reply
    // when it delivers the message again. A shutdown waits for the tasks of this tracker.
    let work = service.work.clone().spawn(async move {
        // An error or a panic drops the ticket, so the next delivery is handled.
        let work = service.handle(&message);
        let reply = service.with_lease(&ticket, work).await?;
        if !ticket.commit(Serde(reply.clone())).await {
            // The message was handled, so its reply is recorded even though the lease expired.
            // Another delivery may have been handled as well.
            let Message { chat, id, .. } = &message;
            tracing::warn!(chat, id, "handled after its lease expired");
            service.seen.record(&key, Serde(reply.clone())).await;
        }
        Ok::<_, &str>(reply)
    });
    // The other error is a panic of the handler.
    match work.await.unwrap_or(Err(FAILED)) {
        Ok(reply) => answer(&reply, false),
        Err(text) => error(StatusCode::INTERNAL_SERVER_ERROR, text),
    }
}

/// Returns the key of a message, or the reason why it has none.
fn key_of(message: &Message) -> Result<CompoundKey, String> {
    let parts = [("chat", &message.chat), ("id", &message.id)];
    if let Some((name, part)) = parts.iter().find(|(_, part)| part.len() > MAX_PART) {
        let got = part.len();
        return Err(format!(
            "`{name}` must be at most {MAX_PART} bytes (got {got})"
        ));
    }
    // An empty id would be a duplicate of every other empty id.
    let key = CompoundKey::new(parts.map(|(_, part)| part));
    key.map_err(|empty| format!("`{}` is missing", parts[empty.index].0))
}

fn answer(reply: &Reply, duplicate: bool) -> Response {
    Json(json!({ "reply": reply, "duplicate": duplicate })).into_response()
}

fn retry(seconds: u64, status: StatusCode, text: &str) -> Response {
    ([(RETRY_AFTER, seconds.to_string())], error(status, text)).into_response()
}

fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}
