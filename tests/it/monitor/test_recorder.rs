//! Recorders for the facade `metrics`: one keeps all values, one calls a closure.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Values by series, with labels.
pub type Figures = BTreeMap<String, f64>;

/// Keeps all values and descriptions, as an exporter does.
#[derive(Default)]
pub struct KeepingRecorder {
    series: Mutex<BTreeMap<String, Series>>,
    descriptions: Mutex<BTreeMap<String, (Option<Unit>, String)>>,
}

struct Series {
    key: Key,
    is_counter: bool,
    value: Arc<AtomicU64>,
}

/// The name, labels and description of a series.
pub struct Described {
    pub name: String,
    pub labels: Vec<String>,
    pub is_counter: bool,
    pub unit: Option<Unit>,
    pub description: String,
}

impl KeepingRecorder {
    pub fn figures(&self) -> Figures {
        let series = self.series.lock().expect("not poisoned");
        let value = |series: &Series| {
            let bits = series.value.load(Ordering::SeqCst);
            if series.is_counter {
                bits as f64
            } else {
                f64::from_bits(bits)
            }
        };
        series
            .iter()
            .map(|(name, series)| (name.clone(), value(series)))
            .collect()
    }

    pub fn described(&self) -> Vec<Described> {
        let (series, descriptions) = (self.series.lock(), self.descriptions.lock());
        let (series, descriptions) = (
            series.expect("not poisoned"),
            descriptions.expect("not poisoned"),
        );
        let told = series.values().map(
            |Series {
                 key, is_counter, ..
             }| {
                let (unit, description) = descriptions.get(key.name()).cloned().unwrap_or_default();
                let labels = key.labels().map(|label| label.key().to_owned()).collect();
                Described {
                    name: key.name().to_owned(),
                    labels,
                    is_counter: *is_counter,
                    unit,
                    description,
                }
            },
        );
        told.collect()
    }

    fn register(&self, key: &Key, is_counter: bool) -> Arc<AtomicU64> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let name = format!("{}{name}", key.name());
        let mut series = self.series.lock().expect("not poisoned");
        let series = series.entry(name).or_insert_with(|| Series {
            key: key.clone(),
            is_counter,
            value: Arc::default(),
        });
        Arc::clone(&series.value)
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, description: &SharedString) {
        let told = (unit, description.to_string());
        self.descriptions
            .lock()
            .expect("not poisoned")
            .insert(name.as_str().to_owned(), told);
    }
}

impl Recorder for KeepingRecorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, unit, &description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&name, unit, &description);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("there is none");
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.register(key, true))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.register(key, false))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("there is none");
    }
}

/// Calls a closure for each gauge and counter.
pub struct CallingRecorder<F>(pub F);

impl<F: Fn()> Recorder for CallingRecorder<F> {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.0();
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.0();
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
