//! What the service consists of, and what it does with a message.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leakproof::{BuildError, DedupMap, ListenerRegistry, LruCache, Monitor, Scope};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};

use crate::limits::Limits;

const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Work that is slow on demand takes no longer.
const SLOWEST: Duration = Duration::from_secs(60);

/// What is delivered. The last two are for trying things out.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    #[serde(default)]
    pub(crate) chat: String,
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) text: String,
    /// Have the handling fail.
    #[serde(default)]
    fail: bool,
    /// Have it take so long.
    #[serde(default)]
    takes_ms: u64,
}

/// What is answered, and answered again to every redelivery.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reply {
    text: String,
    /// How many have come in its session so far.
    messages: u64,
}

/// A user's session: how many messages have come.
type Session = Arc<AtomicU64>;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    Message,
}

/// A handle on everything.
#[derive(Clone)]
pub(crate) struct Service {
    /// The messages that were handled, with their replies. Ids are unique only within a chat: a key is both.
    pub(crate) seen: Arc<DedupMap<[u8], Reply>>,
    pub(crate) sessions: Arc<LruCache<String, Session>>,
    pub(crate) bus: Arc<ListenerRegistry<Topic, Message>>,
    /// What is registered for the present connection to the gateway goes with it.
    connection: Arc<Mutex<Scope>>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) metrics: PrometheusHandle,
}

impl Service {
    pub(crate) fn new(limits: &Limits, metrics: PrometheusHandle) -> Result<Self, Box<dyn Error>> {
        let seen = Arc::new(DedupMap::builder().config(&limits.dedup).build()?);
        let sessions = Arc::new(LruCache::builder().config(&limits.sessions).build()?);
        let bus = Arc::new(ListenerRegistry::builder().config(&limits.events).build()?);
        let connection = Arc::new(Mutex::new(bus.scope()));
        let monitor = Arc::new(Self::monitor(&seen, &sessions, &bus)?);
        let service = Self {
            seen,
            sessions,
            bus,
            connection,
            monitor,
            metrics,
        };
        service.reconnect()?;
        Ok(service)
    }

    /// Watches everything that could grow. What it finds is told as events.
    fn monitor(
        seen: &Arc<DedupMap<[u8], Reply>>,
        sessions: &Arc<LruCache<String, Session>>,
        bus: &Arc<ListenerRegistry<Topic, Message>>,
    ) -> Result<Monitor, BuildError> {
        let monitor = Monitor::builder().sample_every(SAMPLE_EVERY).build()?;
        monitor.watch("messages", &**seen);
        monitor.watch("sessions", &**sessions);
        monitor.watch("handlers", &**bus);
        Ok(monitor)
    }

    /// The connection to the gateway was lost and made anew. Each handler takes the place of the one with its key, so that
    /// no message goes without; whatever else was registered for the old connection goes with its scope, whether or not
    /// anybody remembers to detach it.
    pub(crate) fn reconnect(&self) -> Result<(), Box<dyn Error>> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let scope = self.bus.scope();
        let sessions = Arc::clone(&self.sessions);
        let count = move |message: &Message| {
            let session = sessions.get_or_insert_with(&message.chat, Session::default);
            session.fetch_add(1, Ordering::Relaxed);
        };
        let log =
            |message: &Message| tracing::debug!(chat = message.chat, id = message.id, "a message");
        self.bus
            .listen(Topic::Message)
            .key("count")
            .scope(&scope)
            .priority(1)
            .on(count)?
            .forget();
        self.bus
            .listen(Topic::Message)
            .key("log")
            .scope(&scope)
            .on(log)?
            .forget();
        *connection = scope;
        Ok(())
    }

    /// Handles a message that was not handled before.
    pub(crate) async fn handle(&self, message: &Message) -> Result<Reply, Failed> {
        tokio::time::sleep(SLOWEST.min(Duration::from_millis(message.takes_ms))).await;
        if message.fail {
            return Err(Failed);
        }
        self.bus
            .emit(&Topic::Message, message)
            .expect("no handler emits");
        let session = self.sessions.get(&message.chat).unwrap_or_default();
        Ok(Reply {
            text: format!("you said: {}", message.text),
            messages: session.load(Ordering::Relaxed),
        })
    }
}

/// A message could not be handled.
#[derive(Debug)]
pub(crate) struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message could not be handled; deliver it again")
    }
}

impl Error for Failed {}
