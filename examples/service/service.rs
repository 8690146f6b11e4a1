//! The collections of the service, and `POST /messages`, which handles each message once, however
//! often it is delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{ErrorResponse, IntoResponse};
use axum::{Json, extract::State};
use example_support::Result;
use governor::clock::{Clock, DefaultClock};
use governor::{Quota, RateLimiter};
use leakproof::governor::BoundedStateStore;
use leakproof::monitor::Monitor;
use leakproof::{Claim, CompoundKey, ListenerRegistry, LruCache, LruConfig, RegistryConfig};
use leakproof::{Scope, Serde};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::store::Store;

/// The most bytes of chat and id. Without a limit, one id takes as much memory as thousands.
const MAX_KEY: usize = 256;
/// The most characters of the sender's text in a reply. Replies are kept for the ttl, and no bound
/// of the map counts their text.
const MAX_QUOTE: usize = 100;
/// The time for which a redelivery waits for the reply. Senders time out after a few seconds.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// The time after which work is cancelled. It is shorter than the lease, so an id is claimed until
/// its work ends. Work that may take longer has to call `extend` of its ticket.
const MAX_WORK: Duration = Duration::from_secs(10);
const MESSAGE: &str = "message";
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
const FAILED: &str = "the message could not be handled; deliver it again";

/// A delivered message. The last two fields are for trying things out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    chat: String,
    id: String,
    text: String,
    /// Makes the handler fail.
    fail: bool,
    /// Makes the handler take this long.
    takes_ms: u64,
}

/// The reply to a message and to each of its redeliveries.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Reply {
    text: String,
    /// Messages in the session so far.
    messages: u64,
}

/// Counts the messages of a chat.
type Session = Arc<AtomicU64>;
type ChatLimiter = RateLimiter<String, BoundedStateStore<String>, DefaultClock>;

/// A cheap clone of a handle to everything.
#[derive(Clone)]
pub struct Service {
    pub seen: Store<Serde<Reply>>,
    pub sessions: LruCache<String, Session>,
    pub bus: ListenerRegistry<&'static str, Message>,
    chats: Arc<ChatLimiter>,
    /// The scope of all handlers of the connection to the gateway.
    connection: Arc<Scope>,
    /// The messages in progress.
    pub work: TaskTracker,
    pub monitor: Monitor,
    pub metrics: PrometheusHandle,
}

impl Service {
    pub fn new(seen: Store<Serde<Reply>>, quota: Quota, monitor: &Monitor) -> Result<Self> {
        let mut limits = LruConfig::from_env_lenient("SERVICE_SESSIONS").0;
        // Users disconnect silently, so a session without messages ends.
        limits.idle_timeout.get_or_insert(Duration::from_secs(300));
        let sessions = LruCache::builder().config(&limits).build()?;
        let limits = RegistryConfig::from_env_lenient("SERVICE_EVENTS").0;
        let bus = ListenerRegistry::builder().config(&limits).build()?;
        let chats = BoundedStateStore::new(100_000, quota);
        monitor.watch("sessions", &sessions);
        monitor.watch("handlers", &bus);
        monitor.watch("chats", &chats);
        let service = Self {
            seen,
            sessions,
            connection: Arc::new(bus.scope()),
            bus,
            chats: Arc::new(chats.limiter(DefaultClock::default())),
            work: TaskTracker::new(),
            monitor: monitor.clone(),
            metrics: PrometheusBuilder::new().install_recorder()?,
        };
        service.reconnect()?;
        Ok(service)
    }

    /// Registers the handlers for a new connection to the gateway. Each replaces the one with its
    /// key, so handlers do not pile up, and no message misses one.
    pub fn reconnect(&self) -> Result<()> {
        let sessions = self.sessions.clone();
        let count = move |message: &Message| {
            let add = |session: &Session| session.fetch_add(1, Relaxed);
            sessions.with(&message.chat, add);
        };
        let log = |message: &Message| tracing::debug!(?message);
        let listen = |key| self.bus.listen(MESSAGE).key(key).scope(&self.connection);
        listen("count").priority(1).on(count)?.forget();
        listen("log").on(log)?.forget();
        Ok(())
    }

    /// Handles a message that was not handled before.
    async fn handle(&self, message: &Message) -> Result<Reply, &'static str> {
        sleep(Duration::from_millis(message.takes_ms)).await;
        if message.fail {
            return Err(FAILED);
        }
        // Messages of one chat that arrive at once load its session once. A real service would
        // read it from its database.
        let load = async { Session::default() };
        let session = self.sessions.get_or_insert_async(&message.chat, load).await;
        self.bus.emit(MESSAGE, message).map_err(|_| FAILED)?;
        let quote: String = message.text.chars().take(MAX_QUOTE).collect();
        let (text, messages) = (format!("you said: {quote}"), session.load(Relaxed));
        Ok(Reply { text, messages })
    }
}

pub async fn message(
    State(service): State<Service>,
    Json(message): Json<Message>,
) -> Result<Json<Value>, ErrorResponse> {
    // Ids are unique within a chat only. An empty id would be a duplicate of every other empty id.
    let bad = |text: String| (StatusCode::BAD_REQUEST, text);
    let key = CompoundKey::new([&message.chat, &message.id])
        .map_err(|empty| bad(format!("`{}` is missing", ["chat", "id"][empty.index])))?;
    if key.len() > MAX_KEY {
        return Err(bad(format!("`chat` and `id` exceed {MAX_KEY} bytes")).into());
    }
    // Exactly one of several concurrent deliveries gets the ticket. The others wait for its reply.
    // If their senders hang up, their futures are dropped, which leaves nothing behind.
    let claim = timeout(MAX_WAIT, service.seen.claim_wait(&key)).await;
    let ticket = match claim.unwrap_or(Ok(Claim::InFlight { since: MAX_WAIT })) {
        Ok(Claim::Fresh(ticket)) => ticket,
        Ok(Claim::Duplicate { value, .. }) => return Ok(answer(&value.0, true)),
        Ok(Claim::InFlight { .. }) => return Err(retry(1, StatusCode::CONFLICT, "in flight")),
        Ok(Claim::Full) => return Err(retry(10, UNAVAILABLE, "too many messages are in flight")),
        Err(failed) => return Err(retry(10, UNAVAILABLE, failed.to_string())),
    };
    // After the claim, because a redelivery takes nothing of the quota. The ticket is dropped.
    if let Err(denied) = service.chats.check_key(&message.chat) {
        let wait = denied.wait_time_from(service.chats.clock().now()).as_secs() + 1;
        let text = "too many messages in this chat";
        return Err(retry(wait, StatusCode::TOO_MANY_REQUESTS, text));
    }
    // A task of its own, because the request ends if its sender hangs up. The sender gets the reply
    // when it delivers the message again. A shutdown waits for the tasks of this tracker.
    let work = service.work.clone().spawn(async move {
        // An error, a panic or the timeout drops the ticket, so the next delivery is handled.
        let reply = timeout(MAX_WORK, service.handle(&message)).await;
        let reply = reply.unwrap_or(Err(FAILED))?;
        if !ticket.commit(Serde(reply.clone())).await {
            // The message was handled, so its reply is recorded even though the lease expired.
            // Another delivery may have been handled as well.
            tracing::warn!(?message, "handled after its lease expired");
            service.seen.record(&key, Serde(reply.clone())).await;
        }
        Ok::<_, &str>(reply)
    });
    // The other error is a panic of the handler.
    let reply = work.await.unwrap_or(Err(FAILED));
    let reply = reply.map_err(|text| (StatusCode::INTERNAL_SERVER_ERROR, text))?;
    Ok(answer(&reply, false))
}

fn answer(reply: &Reply, duplicate: bool) -> Json<Value> {
    Json(json!({ "reply": reply, "duplicate": duplicate }))
}

/// Asks the sender to deliver the message again after these seconds.
fn retry(seconds: u64, status: StatusCode, text: impl IntoResponse) -> ErrorResponse {
    (status, [(RETRY_AFTER, seconds)], text).into()
}
