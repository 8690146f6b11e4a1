//! Criterion benches of the listener registry, one per operation.
//!
//! They show the effect of a change. The program `compare` measures against other crates.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use leakproof::{Clock, ListenerRegistry};

type Bus = ListenerRegistry<u32, u64>;

const COUNTS: [usize; 4] = [1, 10, 100, 1_000];

/// Returns a registry with this number of topics, and of listeners per topic.
fn bus(topics: u32, listeners: usize) -> Bus {
    let bus = Bus::builder()
        .max_listeners(100_000)
        .max_per_topic(10_000)
        .build()
        .unwrap();
    let counter = Arc::new(AtomicU64::new(0));
    for topic in 0..topics {
        for _ in 0..listeners {
            let counter = Arc::clone(&counter);
            let count = move |&event: &u64| {
                counter.fetch_add(event, Ordering::Relaxed);
            };
            bus.on(topic, count).unwrap().forget();
        }
        assert_eq!(bus.emit(&topic, &1).unwrap().called, listeners);
    }
    bus
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    group
}

fn emit(criterion: &mut Criterion) {
    let mut group = group(criterion, "emit");
    for count in COUNTS {
        let bus = bus(1, count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("listeners: {count}"), |bench| {
            bench.iter(|| bus.emit(black_box(&0), black_box(&1)).unwrap());
        });
    }
    let bus = bus(1, 100);
    let _with_ttl = bus
        .listen(0)
        .ttl(Duration::from_secs(3600))
        .on(|_| ())
        .unwrap();
    group.bench_function("listeners: 100, and one with a ttl", |bench| {
        bench.iter(|| bus.emit(black_box(&0), &1).unwrap());
    });
    let paused = bus.on(0, |_| ()).unwrap();
    paused.pause();
    group.bench_function("the same, and one that is paused", |bench| {
        bench.iter(|| bus.emit(black_box(&0), &1).unwrap());
    });
}

fn topics(criterion: &mut Criterion) {
    let mut group = group(criterion, "emit, many topics");
    let bus = bus(1_000, 1);
    let mut topic = 0;
    group.bench_function("1,000 in turn", |bench| {
        bench.iter(|| {
            topic = (topic + 7) % 1_000;
            bus.emit(black_box(&topic), &1).unwrap()
        });
    });
}

/// Measures one emit by each thread. Equal times mean that the threads do not slow each other down.
fn threads(criterion: &mut Criterion) {
    let mut group = group(criterion, "emit by threads, 10 listeners");
    let bus = bus(1, 10);
    for count in [1, 2] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("threads: {count}"), |bench| {
            bench.iter_custom(|iterations| {
                let clock = Clock::precise();
                thread::scope(|scope| {
                    for _ in 0..count {
                        scope.spawn(|| {
                            (0..iterations).for_each(|_| {
                                assert!(bus.emit(black_box(&0), &1).unwrap().called > 0);
                            });
                        });
                    }
                });
                clock.now()
            });
        });
    }
}

/// Measures an emit right after a listener was registered and detached, all three together.
fn after_detach(criterion: &mut Criterion) {
    let mut group = group(criterion, "on, detach and emit");
    for count in COUNTS {
        let bus = bus(1, count);
        group.bench_function(format!("listeners: {count}"), |bench| {
            bench.iter(|| {
                bus.on(0, |_| ()).unwrap().detach();
                bus.emit(black_box(&0), &1).unwrap()
            });
        });
    }
}

fn register(criterion: &mut Criterion) {
    let mut group = group(criterion, "on and detach");
    for count in COUNTS {
        let bus = bus(1, count);
        group.bench_function(format!("present: {count}"), |bench| {
            bench.iter(|| bus.on(black_box(0), |_| ()).unwrap().detach());
        });
        group.bench_function(format!("by key, present: {count}"), |bench| {
            bench.iter(|| {
                bus.listen(black_box(0))
                    .key("key")
                    .on(|_| ())
                    .unwrap()
                    .forget()
            });
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    emit(&mut criterion);
    topics(&mut criterion);
    threads(&mut criterion);
    after_detach(&mut criterion);
    register(&mut criterion);
    criterion.final_summary();
}
