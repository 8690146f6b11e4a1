//! `POST /messages`: handles each message once, however often it is delivered.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use leakproof::{Claim, CompoundKey};
use serde_json::json;
use tokio::time::timeout;

use crate::service::{Failed, Message, Reply, Service};

/// The parts of a message's key.
const PARTS: [&str; 2] = ["chat", "id"];
/// The most bytes of each part. Without a limit, one id takes as much memory as thousands.
const MAX_PART: usize = 128;
/// The time for which a redelivery waits for the reply. Senders time out after a few seconds.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Seconds after which a sender retries a message that is still in flight.
const SOON: &str = "1";
/// Seconds after which a sender retries a message that was refused.
const LATER: &str = "10";

pub(crate) async fn message(
    State(service): State<Service>,
    Json(message): Json<Message>,
) -> Response {
    for (name, part) in PARTS.iter().zip([&message.chat, &message.id]) {
        if part.len() > MAX_PART {
            let got = part.len();
            let text = format!("`{name}` must be at most {MAX_PART} bytes (got {got})");
            return error(StatusCode::BAD_REQUEST, &text);
        }
    }
    let key = match CompoundKey::new([&message.chat, &message.id]) {
        Ok(key) => key,
        // An empty id would be a duplicate of every other empty id.
        Err(empty) => {
            let text = format!("`{}` is missing", PARTS[empty.index]);
            return error(StatusCode::BAD_REQUEST, &text);
        }
    };
    // Exactly one of several concurrent deliveries gets the ticket. The others wait for its reply.
    // If their senders hang up, their futures are dropped, which leaves nothing behind.
    let claim = timeout(MAX_WAIT, service.seen.claim_wait(&key)).await;
    let ticket = match claim {
        Ok(Ok(Claim::Fresh(ticket))) => ticket,
        Ok(Ok(Claim::Duplicate { value, .. })) => return answer(&value, true),
        Ok(Ok(Claim::InFlight { .. })) | Err(_) => {
            return retry(
                SOON,
                error(StatusCode::CONFLICT, "the message is in flight"),
            );
        }
        Ok(Ok(Claim::Full)) => {
            let text = "too many messages are in flight";
            return retry(LATER, error(StatusCode::SERVICE_UNAVAILABLE, text));
        }
        Ok(Err(failed)) => {
            let text = failed.to_string();
            return retry(LATER, error(StatusCode::SERVICE_UNAVAILABLE, &text));
        }
    };
    // A task of its own, because the request ends if its sender hangs up. The sender gets the reply
    // when it delivers the message again. A shutdown waits for the tasks of this tracker.
    let work = service.work.clone().spawn(async move {
        // An error or a panic drops the ticket, so the next delivery is handled.
        let reply = service
            .with_lease(&ticket, service.handle(&message))
            .await?;
        if !ticket.commit(reply.clone()).await {
            // The message was handled, so its reply is recorded even though the lease expired.
            // Another delivery may have been handled as well.
            tracing::warn!(
                chat = message.chat,
                id = message.id,
                "handled after its lease expired"
            );
            service.seen.record(&key, reply.clone()).await;
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

fn retry(after: &'static str, response: Response) -> Response {
    ([(RETRY_AFTER, after)], response).into_response()
}

fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}
