//! The collections of the service, and how it handles a message.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leakproof::{BuildError, ListenerRegistry, LruCache, Monitor, Scope};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, interval};
use tokio_util::task::TaskTracker;

use crate::limits::Limits;
use crate::seen::{InProgress, Seen};

const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// The longest time that a message can ask for.
const MAX_TAKES: Duration = Duration::from_secs(60);
/// The most bytes of the sender's text in a reply. Replies are kept for the ttl, and no bound of
/// the map counts their text: 1,000,000 of them take at most 250 MB.
const MAX_QUOTE: usize = 200;

/// A delivered message. The last two fields are for trying things out.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    #[serde(default)]
    pub(crate) chat: String,
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) text: String,
    /// Makes the handler fail.
    #[serde(default)]
    fail: bool,
    /// Makes the handler take this long.
    #[serde(default)]
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

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    Message,
}

/// A cheap clone of a handle to everything.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) seen: Seen,
    pub(crate) sessions: LruCache<String, Session>,
    pub(crate) bus: ListenerRegistry<Topic, Message>,
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
        metrics: PrometheusHandle,
    ) -> Result<Self, Box<dyn Error>> {
        let seen = Seen::new(limits).await?;
        let sessions = LruCache::builder().config(&limits.sessions).build()?;
        let bus = ListenerRegistry::builder().config(&limits.events).build()?;
        let connection = Arc::new(Mutex::new(bus.scope()));
        let monitor = Arc::new(Self::monitor(&seen, &sessions, &bus)?);
        let service = Self {
            seen,
            sessions,
            bus,
            connection,
            lease: limits.dedup.lease,
            max_work: limits.max_work,
            work: TaskTracker::new(),
            monitor,
            metrics,
        };
        service.reconnect()?;
        Ok(service)
    }

    /// Watches every collection. Findings become events.
    fn monitor(
        seen: &Seen,
        sessions: &LruCache<String, Session>,
        bus: &ListenerRegistry<Topic, Message>,
    ) -> Result<Monitor, BuildError> {
        let monitor = Monitor::builder().sample_every(SAMPLE_EVERY).build()?;
        seen.watch(&monitor);
        monitor.watch("sessions", sessions);
        monitor.watch("handlers", bus);
        Ok(monitor)
    }

    /// Registers the handlers for a new connection to the gateway.
    ///
    /// Each handler replaces the one with its key, so no message misses a handler. The end of the
    /// old scope detaches everything else that was registered for the old connection.
    pub(crate) fn reconnect(&self) -> Result<(), Box<dyn Error>> {
        let connection = self.connection.lock();
        let mut connection = connection.unwrap_or_else(PoisonError::into_inner);
        let scope = self.bus.scope();
        let sessions = self.sessions.clone();
        let count = move |message: &Message| {
            if let Some(session) = sessions.get(&message.chat) {
                session.fetch_add(1, Ordering::Relaxed);
            }
        };
        let log =
            |message: &Message| tracing::debug!(chat = message.chat, id = message.id, "a message");
        let listen = |key| self.bus.listen(Topic::Message).key(key).scope(&scope);
        listen("count").priority(1).on(count)?.forget();
        listen("log").on(log)?.forget();
        *connection = scope;
        Ok(())
    }

    /// Runs the work of a claim, and extends its lease until the work ends.
    ///
    /// The lease expires if the work takes longer than `max_work`, because a handler that never
    /// ends must not hold its claim forever.
    pub(crate) async fn with_lease<T>(
        &self,
        ticket: &InProgress,
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
    pub(crate) async fn handle(&self, message: &Message) -> Result<Reply, Failed> {
        tokio::time::sleep(MAX_TAKES.min(Duration::from_millis(message.takes_ms))).await;
        if message.fail {
            return Err(Failed);
        }
        // Messages of one chat that arrive at once load its session once.
        let load = load_session(&message.chat);
        let session = self.sessions.get_or_insert_async(&message.chat, load).await;
        let emitted = self.bus.emit(&Topic::Message, message);
        emitted.map_err(|_| Failed)?;
        Ok(Reply {
            text: format!("you said: {}", shortened(&message.text)),
            messages: session.load(Ordering::Relaxed),
        })
    }
}

/// Loads the session of a chat. A real service would read it from its database.
async fn load_session(_chat: &str) -> Session {
    tokio::task::yield_now().await;
    Session::default()
}

/// Returns the longest prefix of at most `MAX_QUOTE` bytes.
fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MAX_QUOTE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The message could not be handled.
#[derive(Debug)]
pub(crate) struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message could not be handled; deliver it again")
    }
}

impl Error for Failed {}
