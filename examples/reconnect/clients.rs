//! The same client three times: how it registers is all that differs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use leakproof::{ListenerRegistry, Scope};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Topic {
    Message,
    Receipt,
    Creds,
}

const TOPICS: [Topic; 3] = [Topic::Message, Topic::Receipt, Topic::Creds];

pub(crate) trait Client {
    /// Connects anew and registers a handler for each topic. It detaches none of the old ones.
    fn reconnect(&mut self);

    /// How many handlers a message calls.
    fn message(&self) -> usize;

    fn handlers(&self) -> usize;

    /// What the handlers that are alive have captured.
    fn held_bytes(&self) -> usize;
}

/// What a connection's handlers hold: its buffer, and the counts of what is to be shown.
struct Connection {
    buffer: Vec<u8>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    calls: AtomicUsize,
    held_bytes: AtomicUsize,
}

impl Connection {
    fn new(counts: &Arc<Counts>) -> Arc<Self> {
        let buffer = vec![0; 4096];
        counts.held_bytes.fetch_add(buffer.len(), Ordering::Relaxed);
        Arc::new(Self {
            buffer,
            counts: Arc::clone(counts),
        })
    }

    fn handler(self: &Arc<Self>) -> impl Fn(&String) + Send + Sync + 'static {
        let connection = Arc::clone(self);
        move |_| {
            connection.counts.calls.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counts
            .held_bytes
            .fetch_sub(self.buffer.len(), Ordering::Relaxed);
    }
}

fn calls_of(counts: &Counts, emit: impl FnOnce(&String)) -> usize {
    let before = counts.calls.load(Ordering::Relaxed);
    emit(&"hello".to_owned());
    counts.calls.load(Ordering::Relaxed) - before
}

type Handlers = HashMap<Topic, Vec<Box<dyn Fn(&String) + Send + Sync>>>;

/// Handlers in a list, as one writes it.
#[derive(Default)]
pub(crate) struct Naive {
    handlers: RwLock<Handlers>,
    counts: Arc<Counts>,
}

impl Client for Naive {
    fn reconnect(&mut self) {
        let connection = Connection::new(&self.counts);
        for topic in TOPICS {
            let mut handlers = self.handlers.write().expect("no handler panics");
            handlers
                .entry(topic)
                .or_default()
                .push(Box::new(connection.handler()));
        }
    }

    fn message(&self) -> usize {
        calls_of(&self.counts, |text| {
            let handlers = self.handlers.read().expect("no handler panics");
            handlers
                .get(&Topic::Message)
                .into_iter()
                .flatten()
                .for_each(|handler| handler(text));
        })
    }

    fn handlers(&self) -> usize {
        self.handlers
            .read()
            .expect("no handler panics")
            .values()
            .map(Vec::len)
            .sum()
    }

    fn held_bytes(&self) -> usize {
        self.counts.held_bytes.load(Ordering::Relaxed)
    }
}

/// A key for each handler: the next one takes its place.
#[derive(Default)]
pub(crate) struct Keyed {
    bus: ListenerRegistry<Topic, String>,
    counts: Arc<Counts>,
}

impl Client for Keyed {
    fn reconnect(&mut self) {
        let connection = Connection::new(&self.counts);
        for topic in TOPICS {
            let listen = self.bus.listen(topic).key("client");
            listen
                .on(connection.handler())
                .expect("a key needs no free place")
                .forget();
        }
    }

    fn message(&self) -> usize {
        calls_of(&self.counts, |text| {
            assert_eq!(
                self.bus
                    .emit(&Topic::Message, text)
                    .expect("no handler emits")
                    .failed,
                0
            );
        })
    }

    fn handlers(&self) -> usize {
        self.bus.len()
    }

    fn held_bytes(&self) -> usize {
        self.counts.held_bytes.load(Ordering::Relaxed)
    }
}

/// A scope for each connection: with it, all of its handlers go.
#[derive(Default)]
pub(crate) struct Scoped {
    bus: ListenerRegistry<Topic, String>,
    connection: Option<Scope>,
    counts: Arc<Counts>,
}

impl Client for Scoped {
    fn reconnect(&mut self) {
        let connection = Connection::new(&self.counts);
        let scope = self.bus.scope();
        for topic in TOPICS {
            let listen = self.bus.listen(topic).scope(&scope);
            listen
                .on(connection.handler())
                .expect("of each connection there is one")
                .forget();
        }
        // Whatever the last connection registered goes here.
        self.connection = Some(scope);
    }

    fn message(&self) -> usize {
        calls_of(&self.counts, |text| {
            assert_eq!(
                self.bus
                    .emit(&Topic::Message, text)
                    .expect("no handler emits")
                    .failed,
                0
            );
        })
    }

    fn handlers(&self) -> usize {
        self.bus.len()
    }

    fn held_bytes(&self) -> usize {
        self.counts.held_bytes.load(Ordering::Relaxed)
    }
}
