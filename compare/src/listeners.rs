//! Sections: emitting to listeners, and registering and detaching them.

use std::hint::black_box;
use std::thread;

use leakproof::Clock;

use crate::buses::{Bus, Fresh, Leakproof, ManualSnapshot, Naive, Signals2, Work};
use crate::report::{Section, Table, Target, figure};
use crate::rounds::{Rounds, interleaved};
use crate::sizes::Sizes;
use example_support::text::thousands;

const COUNTS: [usize; 4] = [1, 10, 100, 1_000];
const TOPICS: usize = 1_000;
const NAIVE: usize = 0;
const OURS: usize = 1;

/// Returns the nanoseconds per operation, given the numbers of listeners and of operations.
type Timed = fn(usize, usize) -> f64;

/// A contestant and its timed operations.
#[derive(Clone, Copy)]
struct Entry {
    name: &'static str,
    how: &'static str,
    emit: Timed,
    topics: Timed,
    threads: Timed,
    on_and_detach: Timed,
}

impl Entry {
    fn new<B: Bus>(name: &'static str, how: &'static str) -> Self {
        Self {
            name,
            how,
            emit: emit::<B>,
            topics: topics::<B>,
            threads: threads::<B>,
            on_and_detach: on_and_detach::<B>,
        }
    }
}

fn entries() -> [Entry; 5] {
    [
        Entry::new::<Naive>(
            "naive",
            "`RwLock<HashMap<String, Vec<Box<dyn Fn>>>>`, called under its read lock",
        ),
        Entry::new::<Leakproof>(
            "**leakproof** `ListenerRegistry`",
            "default clock; no listener was detached recently",
        ),
        Entry::new::<Fresh>(
            "the same, one handler held at a time",
            "registers and detaches a listener before each emit, within the time",
        ),
        Entry::new::<ManualSnapshot>(
            "manual snapshot",
            "`Mutex<HashMap<String, Arc<Vec<(u64, Arc<dyn Fn>)>>>>`, copied on write",
        ),
        Entry::new::<Signals2>(
            "`signals2`",
            "a `HashMap` of signals; `emit` clones the event",
        ),
    ]
}

pub(crate) fn sections(sizes: &Sizes) -> Vec<Section> {
    vec![emitting(sizes), registering(sizes)]
}

fn nanos(times: usize, mut work: impl FnMut()) -> f64 {
    let clock = Clock::precise();
    let start = clock.now();
    (0..times).for_each(|_| work());
    (clock.now() - start).as_nanos() as f64 / times as f64
}

fn emit<B: Bus>(listeners: usize, times: usize) -> f64 {
    let bus = B::new(1, listeners, Work::Count);
    nanos(times / 10 + 100, || bus.emit(0));
    nanos(times, || bus.emit(0))
}

fn topics<B: Bus>(listeners: usize, times: usize) -> f64 {
    let bus = B::new(TOPICS, listeners, Work::Count);
    let mut topic = 0;
    let mut emit = || {
        topic = (topic + 7) % TOPICS;
        bus.emit(topic);
    };
    nanos(100 * TOPICS, &mut emit);
    nanos(times, &mut emit)
}

/// Returns the time of one emit on each of two threads.
fn threads<B: Bus>(listeners: usize, times: usize) -> f64 {
    // A shared counter would measure the contention for it.
    let bus = B::new(1, listeners, Work::Look);
    nanos(100, || bus.emit(0));
    let clock = Clock::precise();
    let start = clock.now();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..times).for_each(|_| bus.emit(0)));
        }
    });
    (clock.now() - start).as_nanos() as f64 / times as f64
}

fn on_and_detach<B: Bus>(listeners: usize, times: usize) -> f64 {
    let bus = B::new(1, listeners, Work::Count);
    nanos(times / 10, || bus.on_and_detach());
    black_box(nanos(times, || bus.on_and_detach()))
}

fn timed(
    name: &str,
    sizes: &Sizes,
    of: fn(&Entry) -> Timed,
    listeners: usize,
    cost: usize,
) -> Rounds {
    let entries = entries();
    let times = (if sizes.quick { 20_000 } else { 4_000_000 } / cost).max(20);
    interleaved(
        &format!("{name}, {listeners}"),
        sizes.rounds,
        entries.len(),
        |at| of(&entries[at])(listeners, times),
    )
}

/// Returns a table with nanoseconds and the ratio to the naive registry for each measurement.
fn table(measured: &[(String, Rounds)], first: &str) -> Table {
    let mut head = vec![first.to_owned()];
    head.extend(
        measured
            .iter()
            .flat_map(|(name, _)| [name.clone(), "to naive".to_owned()]),
    );
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    for (at, entry) in entries().iter().enumerate() {
        let figures = measured
            .iter()
            .flat_map(|(_, it)| [figure(it.median(at)), figure(it.ratio(at, NAIVE))]);
        table.row([entry.name.to_owned()].into_iter().chain(figures));
    }
    table
}

fn contestants() -> String {
    entries()
        .map(|entry| format!("* {}: {}", entry.name, entry.how))
        .join("\n")
}

fn emitting(sizes: &Sizes) -> Section {
    let by_count = COUNTS.map(|count| {
        let rounds = timed("emit", sizes, |entry| entry.emit, count, count + 8);
        (format!("ns, {}", thousands(count as u64)), rounds)
    });
    let others = [
        (
            "ns, 1,000 topics",
            timed("topics", sizes, |entry| entry.topics, 1, 20),
        ),
        (
            "ns, 2 threads, 1",
            timed("threads", sizes, |entry| entry.threads, 1, 40),
        ),
        (
            "ns, 2 threads, 100",
            timed("threads", sizes, |entry| entry.threads, 100, 200),
        ),
    ]
    .map(|(name, rounds)| (name.to_owned(), rounds));
    let targets = COUNTS
        .iter()
        .zip(&by_count)
        .map(|(count, (_, rounds))| Target {
            what: format!(
                "emit to {} listeners, to the naive registry",
                thousands(*count as u64)
            ),
            reached: rounds.ratio(OURS, NAIVE),
            at_most: if *count == 1 { 1.3 } else { 1.1 },
        });
    Section {
        title: "Emit",
        text: format!(
            "One emit on a topic (a `String`) with this many listeners. Each listener adds a \
             number from the event to an atomic counter in an `Arc`, which is the least that a \
             handler does. Each of {} rounds creates every contestant.\n\n\
             {}\n\n\
             Other crates hand each event to a thread, to a channel or to one handler per type, or \
             keep their listeners behind `&mut`. They do something else.",
            sizes.rounds,
            contestants()
        ),
        tables: vec![
            table(&by_count, "listeners"),
            table(&others, "").introduced(
                "One listener on each of a thousand topics in turn; and two threads that emit on \
                 one topic, to handlers that only read the event, with the time of one emit on \
                 each thread.",
            ),
        ],
        charts: Vec::new(),
        targets: targets.collect(),
    }
}

fn registering(sizes: &Sizes) -> Section {
    let by_count = COUNTS.map(|count| {
        let rounds = timed(
            "on and detach",
            sizes,
            |entry| entry.on_and_detach,
            count,
            10 * count + 100,
        );
        (format!("ns, {}", thousands(count as u64)), rounds)
    });
    let signals2 = entries().len() - 1;
    let target = Target {
        what: "`on` and `detach` with 1,000 listeners present, to `signals2`".to_owned(),
        reached: by_count[3].1.ratio(OURS, signals2),
        at_most: 0.05,
    };
    Section {
        title: "On and detach",
        text: "Registers and detaches a listener, on a topic that has this many others.".to_owned(),
        tables: vec![table(&by_count, "present")],
        charts: Vec::new(),
        targets: vec![target],
    }
}
