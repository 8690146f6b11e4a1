//! The contestants of the listener sections.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use leakproof::ListenerRegistry;
use signals2::{Connect1, Emit1, Signal};

pub(crate) struct Event {
    number: u64,
}

const EVENT: Event = Event { number: 1 };

/// The work of a handler.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Adds to a counter.
    Count,
    /// Reads the event.
    Look,
}

pub(crate) trait Bus: Sync {
    /// Creates a bus with a number of topics, and of listeners on each.
    fn new(topics: usize, listeners: usize, work: Work) -> Self;

    fn emit(&self, topic: usize);

    fn on_and_detach(&self);
}

fn names(topics: usize) -> Vec<String> {
    (0..topics)
        .map(|topic| format!("message-{topic}"))
        .collect()
}

/// Registers the handlers of each topic with `on`.
fn fill(
    names: &[String],
    listeners: usize,
    work: Work,
    mut on: impl FnMut(&str, Arc<AtomicU64>, Work),
) {
    let counter = Arc::new(AtomicU64::new(0));
    for name in names {
        (0..listeners).for_each(|_| on(name, Arc::clone(&counter), work));
    }
}

/// The same handlers for all contestants. One closure per kind of work, so that no handler
/// branches.
macro_rules! handler {
    ($counter:expr, $work:expr, |$handler:ident| $on:expr) => {{
        let counter = $counter;
        match $work {
            Work::Count => {
                let $handler = move |event: &Event| {
                    counter.fetch_add(event.number, Ordering::Relaxed);
                };
                $on
            }
            Work::Look => {
                let $handler = move |event: &Event| {
                    let _counter = &counter;
                    black_box(event.number);
                };
                $on
            }
        }
    }};
}

type Handler = dyn Fn(&Event) + Send + Sync;

pub(crate) struct Naive {
    topics: RwLock<HashMap<String, Listed>>,
    names: Vec<String>,
}

#[derive(Default)]
struct Listed {
    handlers: Vec<Box<Handler>>,
    /// Separate from the listeners that emits call.
    ids: Vec<u64>,
}

impl Listed {
    fn push(&mut self, id: u64, handler: Box<Handler>) {
        self.handlers.push(handler);
        self.ids.push(id);
    }
}

impl Bus for Naive {
    fn new(topics: usize, listeners: usize, work: Work) -> Self {
        let mut all = HashMap::<String, Listed>::new();
        let names = names(topics);
        fill(&names, listeners, work, |name, counter, work| {
            let listed = all.entry(name.to_owned()).or_default();
            handler!(counter, work, |it| listed.push(0, Box::new(it)));
        });
        Self {
            topics: RwLock::new(all),
            names,
        }
    }

    fn emit(&self, topic: usize) {
        if let Some(listed) = self
            .topics
            .read()
            .expect("not poisoned")
            .get(black_box(&self.names[topic]))
        {
            for handler in &listed.handlers {
                handler(black_box(&EVENT));
            }
        }
    }

    fn on_and_detach(&self) {
        let id = u64::MAX;
        let new = Box::new(|_: &Event| ());
        self.topics
            .write()
            .expect("not poisoned")
            .entry(self.names[0].clone())
            .or_default()
            .push(id, new);
        let mut topics = self.topics.write().expect("not poisoned");
        let listed = topics.get_mut(&self.names[0]).expect("it is there");
        let at = listed
            .ids
            .iter()
            .position(|it| *it == id)
            .expect("it is there");
        listed.ids.remove(at);
        drop(listed.handlers.remove(at));
    }
}

pub(crate) struct Leakproof {
    bus: ListenerRegistry<String, Event>,
    names: Vec<String>,
}

impl Bus for Leakproof {
    fn new(topics: usize, listeners: usize, work: Work) -> Self {
        let builder = ListenerRegistry::builder()
            .max_listeners(100_000)
            .max_per_topic(10_000);
        let bus = builder.build().expect("sound limits");
        let names = names(topics);
        fill(&names, listeners, work, |name, counter, work| {
            handler!(counter, work, |it| bus
                .on(name.to_owned(), it)
                .expect("room")
                .forget());
        });
        Self { bus, names }
    }

    fn emit(&self, topic: usize) {
        let summary = self
            .bus
            .emit(black_box(&*self.names[topic]), black_box(&EVENT));
        black_box(summary).expect("not nested");
    }

    fn on_and_detach(&self) {
        self.bus
            .on(self.names[0].clone(), |_| ())
            .expect("room")
            .detach();
    }
}

/// Our bus, with a listener that is detached before each emit.
pub(crate) struct Fresh(Leakproof);

impl Bus for Fresh {
    fn new(topics: usize, listeners: usize, work: Work) -> Self {
        Self(Leakproof::new(topics, listeners, work))
    }

    fn emit(&self, topic: usize) {
        self.0
            .bus
            .on(self.0.names[topic].clone(), |_| ())
            .expect("room")
            .detach();
        self.0.emit(topic);
    }

    fn on_and_detach(&self) {
        self.0.on_and_detach();
    }
}

type Pairs = Vec<(u64, Arc<Handler>)>;
type Shared = Arc<Pairs>;

pub(crate) struct ManualSnapshot {
    handlers: Mutex<HashMap<String, Shared>>,
    names: Vec<String>,
}

impl Bus for ManualSnapshot {
    fn new(topics: usize, listeners: usize, work: Work) -> Self {
        let mut handlers = HashMap::<String, Shared>::new();
        let names = names(topics);
        fill(&names, listeners, work, |name, counter, work| {
            let all = Arc::make_mut(handlers.entry(name.to_owned()).or_default());
            handler!(counter, work, |it| all
                .push((all.len() as u64, Arc::new(it))));
        });
        Self {
            handlers: Mutex::new(handlers),
            names,
        }
    }

    fn emit(&self, topic: usize) {
        let handlers = self
            .handlers
            .lock()
            .expect("not poisoned")
            .get(black_box(&self.names[topic]))
            .cloned();
        for (_, handler) in handlers.iter().flat_map(|all| all.iter()) {
            handler(black_box(&EVENT));
        }
    }

    fn on_and_detach(&self) {
        let id = u64::MAX;
        let with_all = |change: &dyn Fn(&mut Pairs)| {
            let mut handlers = self.handlers.lock().expect("not poisoned");
            // A copy, as if an emit were in progress.
            let mut all = (**handlers.get(&self.names[0]).expect("it is there")).clone();
            change(&mut all);
            handlers.insert(self.names[0].clone(), Arc::new(all));
        };
        with_all(&|all| all.push((id, Arc::new(|_: &Event| ()))));
        with_all(&|all| all.retain(|(it, _)| *it != id));
    }
}

pub(crate) struct Signals2 {
    signals: RwLock<HashMap<String, Signal<(u64,)>>>,
    names: Vec<String>,
}

impl Bus for Signals2 {
    fn new(topics: usize, listeners: usize, work: Work) -> Self {
        let mut signals = HashMap::<String, Signal<(u64,)>>::new();
        let names = names(topics);
        fill(&names, listeners, work, |name, counter, work| {
            let signal = signals.entry(name.to_owned()).or_default();
            match work {
                Work::Count => drop(signal.connect(move |number| {
                    counter.fetch_add(number, Ordering::Relaxed);
                })),
                Work::Look => drop(signal.connect(|number| {
                    black_box(number);
                })),
            }
        });
        Self {
            signals: RwLock::new(signals),
            names,
        }
    }

    fn emit(&self, topic: usize) {
        let signal = self
            .signals
            .read()
            .expect("not poisoned")
            .get(black_box(&self.names[topic]))
            .cloned();
        if let Some(signal) = signal {
            signal.emit(black_box(EVENT.number));
        }
    }

    fn on_and_detach(&self) {
        let signal = self
            .signals
            .read()
            .expect("not poisoned")
            .get(&self.names[0])
            .cloned();
        signal.expect("it is there").connect(|_| ()).disconnect();
    }
}
