//! The collections of the service, and how it handles a message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{self, Duration};

use example_support::Result;
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};
use leakproof::{
    BoundedStateStore, ListenerRegistry, LruCache, Monitor, Scope, Serde, Unavailable,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval, sleep};
use tokio_util::task::TaskTracker;

use crate::limits::Limits;
use crate::store::{InProgress, Store};

/// The longest time that a message can ask for.
const MAX_TAKES: Duration = Duration::from_secs(60);
/// The most bytes of the sender's text in a reply. Replies are kept for the ttl, and no bound of
/// the map counts their text: 1,000,000 of them take at most 250 MB.
const MAX_QUOTE: usize = 200;
pub(crate) const FAILED: &str = "the message could not be handled; deliver it again";

/// A delivered message. The last two fields are for trying things out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    pub(crate) chat: String,
    pub(crate) id: String,
    text: String,
    /// Makes the handler fail.
    fail: bool,
    /// Makes the handler take this long.
    takes_ms: u64,
}

/// The reply to a message and to each of its redeliveries.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Reply {
    text: String,
    /// Messages in the session so far.
    messages: u64,
}

/// Counts the messages of a user.
type Session = Arc<AtomicU64>;
type Chats = BoundedStateStore<String>;
type ChatLimiter = RateLimiter<String, Chats, MonotonicClock, NoOpMiddleware<time::Instant>>;

/// The topic of all messages.
const MESSAGE: &str = "message";

/// A cheap clone of a handle to everything.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) seen: Store<Serde<Reply>>,
    pub(crate) sessions: LruCache<String, Session>,
    pub(crate) bus: ListenerRegistry<&'static str, Message>,
    chats: Arc<ChatLimiter>,
    /// The scope of all handlers of the present connection to the gateway.
    connection: Arc<Mutex<Scope>>,
    lease: Duration,
    max_work: Duration,
    /// The messages in progress.
    pub(crate) work: TaskTracker,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) metrics: PrometheusHandle,
}

impl Service {
    pub(crate) async fn new(
        limits: &Limits,
        monitor: Arc<Monitor>,
        metrics: PrometheusHandle,
    ) -> Result<Self> {
        // While Redis is unavailable, each instance decides alone: no message is lost.
        let seen = Store::new(limits, "messages", Unavailable::Degrade, &monitor).await?;
        let sessions = LruCache::builder().config(&limits.sessions).build()?;
        let bus = ListenerRegistry::builder().config(&limits.events).build()?;
        let quota = Quota::per_minute(limits.chat_per_minute);
        let chats = Chats::new(limits.max_chats.get() as usize, quota);
        monitor.watch("sessions", &sessions);
        monitor.watch("handlers", &bus);
        monitor.watch("chats", &chats);
        let service = Self {
            seen,
            sessions,
            connection: Arc::new(Mutex::new(bus.scope())),
            bus,
            chats: Arc::new(chats.limiter(MonotonicClock)),
            lease: limits.dedup.lease,
            max_work: limits.max_work,
            work: TaskTracker::new(),
            monitor,
            metrics,
        };
        service.reconnect()?;
        Ok(service)
    }

    /// Registers the handlers for a new connection to the gateway.
    ///
    /// Each handler replaces the one with its key, so no message misses a handler. The end of the
    /// old scope detaches everything else that was registered for the old connection.
    pub(crate) fn reconnect(&self) -> Result<()> {
        let connection = self.connection.lock();
        let mut connection = connection.unwrap_or_else(PoisonError::into_inner);
        let scope = self.bus.scope();
        let sessions = self.sessions.clone();
        let count = move |message: &Message| {
            sessions.with(&message.chat, |session| {
                session.fetch_add(1, Ordering::Relaxed)
            });
        };
        let log =
            |message: &Message| tracing::debug!(chat = message.chat, id = message.id, "a message");
        let listen = |key| self.bus.listen(MESSAGE).key(key).scope(&scope);
        listen("count").priority(1).on(count)?.forget();
        listen("log").on(log)?.forget();
        *connection = scope;
        Ok(())
    }

    /// Takes a message from the quota of its chat, or returns the seconds to wait for it.
    pub(crate) fn wait_of(&self, chat: &String) -> Option<u64> {
        let denied = self.chats.check_key(chat).err()?;
        let wait = denied.wait_time_from(self.chats.clock().now());
        Some(wait.as_secs_f64().ceil() as u64)
    }

    /// Runs the work of a claim, and extends its lease until the work ends.
    ///
    /// The lease expires if the work takes longer than `max_work`, because a handler that never
    /// ends must not hold its claim forever.
    pub(crate) async fn with_lease<T>(
        &self,
        ticket: &InProgress<Serde<Reply>>,
        work: impl Future<Output = T>,
    ) -> T {
        let started = Instant::now();
        let mut extend = interval(self.lease / 3);
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return result,
                _ = extend.tick(), if started.elapsed() < self.max_work => {
                    ticket.extend(self.lease).await;
                }
            }
        }
    }

    /// Handles a message that was not handled before.
    pub(crate) async fn handle(&self, message: &Message) -> Result<Reply, &'static str> {
        sleep(MAX_TAKES.min(Duration::from_millis(message.takes_ms))).await;
        if message.fail {
            return Err(FAILED);
        }
        // Messages of one chat that arrive at once load its session once.
        let load = load_session(&message.chat);
        let session = self.sessions.get_or_insert_async(&message.chat, load).await;
        self.bus.emit(MESSAGE, message).map_err(|_| FAILED)?;
        let mut quote = message.text.len().min(MAX_QUOTE);
        while !message.text.is_char_boundary(quote) {
            quote -= 1;
        }
        Ok(Reply {
            text: format!("you said: {}", &message.text[..quote]),
            messages: session.load(Ordering::Relaxed),
        })
    }
}

/// Loads the session of a chat. A real service would read it from its database.
async fn load_session(_chat: &str) -> Session {
    tokio::task::yield_now().await;
    Session::default()
}
