//! The same client three times. Only its registration of handlers differs.

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
    /// Connects again and registers a handler per topic, without detaching the old handlers.
    fn reconnect(&mut self);

    /// Returns how many handlers one message calls.
    fn message(&self) -> usize;

    fn handlers(&self) -> usize;
}

/// The state that the handlers of a connection share.
struct Connection {
    _buffer: Vec<u8>,
    calls: Arc<AtomicUsize>,
}

impl Connection {
    fn new(calls: &Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            _buffer: vec![0; 4096],
            calls: Arc::clone(calls),
        })
    }

    fn handler(self: &Arc<Self>) -> impl Fn(&String) + Send + Sync + 'static {
        let connection = Arc::clone(self);
        move |_| {
            connection.calls.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn count_calls(calls: &AtomicUsize, emit: impl FnOnce(&String)) -> usize {
    let before = calls.load(Ordering::Relaxed);
    emit(&"hello".to_owned());
    calls.load(Ordering::Relaxed) - before
}

type Handlers = HashMap<Topic, Vec<Box<dyn Fn(&String) + Send + Sync>>>;

/// Handlers in a plain list.
#[derive(Default)]
pub(crate) struct Naive {
    handlers: RwLock<Handlers>,
    calls: Arc<AtomicUsize>,
}

impl Client for Naive {
    fn reconnect(&mut self) {
        let connection = Connection::new(&self.calls);
        let mut handlers = self.handlers.write().expect("no handler panics");
        for topic in TOPICS {
            let list = handlers.entry(topic).or_default();
            list.push(Box::new(connection.handler()));
        }
    }

    fn message(&self) -> usize {
        count_calls(&self.calls, |text| {
            let handlers = self.handlers.read().expect("no handler panics");
            for handler in handlers.get(&Topic::Message).into_iter().flatten() {
                handler(text);
            }
        })
    }

    fn handlers(&self) -> usize {
        let handlers = self.handlers.read().expect("no handler panics");
        handlers.values().map(Vec::len).sum()
    }
}

/// Handlers with keys: a handler replaces the one with the same key.
#[derive(Default)]
pub(crate) struct Keyed {
    bus: ListenerRegistry<Topic, String>,
    calls: Arc<AtomicUsize>,
}

impl Client for Keyed {
    fn reconnect(&mut self) {
        let connection = Connection::new(&self.calls);
        for topic in TOPICS {
            let listen = self.bus.listen(topic).key("client");
            let subscription = listen.on(connection.handler());
            subscription.expect("a replacement needs no room").forget();
        }
    }

    fn message(&self) -> usize {
        count_calls(&self.calls, |text| emit(&self.bus, text))
    }

    fn handlers(&self) -> usize {
        self.bus.len()
    }
}

/// Handlers in a scope per connection: the end of the scope detaches them.
#[derive(Default)]
pub(crate) struct Scoped {
    bus: ListenerRegistry<Topic, String>,
    connection: Option<Scope>,
    calls: Arc<AtomicUsize>,
}

impl Client for Scoped {
    fn reconnect(&mut self) {
        let connection = Connection::new(&self.calls);
        let scope = self.bus.scope();
        for topic in TOPICS {
            let listen = self.bus.listen(topic).scope(&scope);
            let subscription = listen.on(connection.handler());
            subscription.expect("two connections fit").forget();
        }
        // The assignment drops the old scope.
        self.connection = Some(scope);
    }

    fn message(&self) -> usize {
        count_calls(&self.calls, |text| emit(&self.bus, text))
    }

    fn handlers(&self) -> usize {
        self.bus.len()
    }
}

fn emit(bus: &ListenerRegistry<Topic, String>, text: &String) {
    let summary = bus.emit(&Topic::Message, text);
    assert_eq!(summary.map(|summary| summary.failed), Ok(0));
}
