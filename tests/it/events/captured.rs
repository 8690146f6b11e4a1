//! A subscriber that calls, and what it makes of an event.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};

/// An event, its fields as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub level: Level,
    pub target: String,
    pub fields: BTreeMap<String, String>,
}

impl Told {
    /// A field; nothing where it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields
            .insert(field.name().to_owned(), format!("{value:?}"));
    }
}

/// Calls at every event of this crate.
pub struct Calling<F>(pub F);

impl<F: Fn(Told) + 'static> Subscriber for Calling<F> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let (level, target) = (
            *event.metadata().level(),
            event.metadata().target().to_owned(),
        );
        let mut told = Told {
            level,
            target,
            fields: BTreeMap::new(),
        };
        event.record(&mut told);
        if told.target.starts_with("leakproof") {
            (self.0)(told);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What this thread tells while it does something.
pub fn told_by(work: impl FnOnce()) -> Vec<Told> {
    let all: Arc<Mutex<Vec<Told>>> = Arc::default();
    let list = Arc::clone(&all);
    let keep = move |told| list.lock().expect("not poisoned").push(told);
    with_default(Calling(keep), work);
    let all = all.lock().expect("not poisoned");
    all.clone()
}
