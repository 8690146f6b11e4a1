//! Criterion benches of the dedup collections: one for each operation, to see what a change does to
//! it.
//!
//! `compare` measures against other crates, and in the steady state; these are for quick looks.

use std::cell::Cell;
use std::hint::black_box;
use std::thread;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use leakproof::{Claim, Clock, DedupSet, unsync};

/// Ids that the collections hold at most; several times as many are at hand, so that new ones evict
/// old ones.
const LIVE: usize = 200_000;
const IDS: usize = 4 * LIVE;
const BATCH: usize = 256;
const TTL: Duration = Duration::from_secs(24 * 3600);

/// Ids of 45 bytes, of which ever the next one is handed out, round and round.
struct Ids {
    ids: Vec<String>,
    next: Cell<usize>,
}

impl Ids {
    fn new() -> Self {
        let ids = (0..IDS as u64).map(|number| {
            let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            format!("1203630{:012}@g.us:3EB0{mixed:016X}", mixed >> 40)
        });
        Self {
            ids: ids.collect(),
            next: Cell::new(0),
        }
    }

    /// An id that a full collection has evicted since it was handed out last.
    fn next(&self) -> &str {
        let at = self.next.get();
        self.next.set((at + 1) % IDS);
        &self.ids[at]
    }

    fn batch(&self) -> Vec<&str> {
        (0..BATCH).map(|_| self.next()).collect()
    }
}

fn unsync_set(ids: &Ids) -> unsync::DedupSet<str> {
    let mut set = unsync::DedupSet::new(LIVE, TTL);
    (0..LIVE).for_each(|_| assert!(set.insert(ids.next())));
    set
}

fn shared_set(ids: &Ids) -> DedupSet<str> {
    let set = DedupSet::new(LIVE, TTL);
    (0..LIVE).for_each(|_| assert!(set.insert(ids.next())));
    set
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    group
}

fn unsync(criterion: &mut Criterion) {
    let ids = Ids::new();
    let mut set = unsync_set(&ids);
    let known = ids.ids[LIVE / 2].as_str();
    let mut group = group(criterion, "unsync");
    group.bench_function("insert, new", |bench| {
        bench.iter(|| set.insert(black_box(ids.next())));
    });
    group.bench_function("claim and commit", |bench| {
        bench.iter(|| {
            if let Claim::Fresh(token) = set.claim(black_box(ids.next())) {
                black_box(set.commit(token).is_ok());
            }
        });
    });
    set.insert(known);
    group.bench_function("insert, duplicate", |bench| {
        bench.iter(|| set.insert(black_box(known)));
    });
    group.bench_function("contains", |bench| {
        bench.iter(|| set.contains(black_box(known)));
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("insert_batch of 256, new", |bench| {
        bench.iter_batched(
            || ids.batch(),
            |batch| set.insert_batch(batch),
            BatchSize::SmallInput,
        );
    });
}

fn shared(criterion: &mut Criterion) {
    let ids = Ids::new();
    let set = shared_set(&ids);
    let known = ids.ids[LIVE / 2].as_str();
    let mut group = group(criterion, "shared");
    group.bench_function("insert, new", |bench| {
        bench.iter(|| set.insert(black_box(ids.next())));
    });
    group.bench_function("claim and commit", |bench| {
        bench.iter(|| {
            if let Claim::Fresh(ticket) = set.claim(black_box(ids.next())) {
                black_box(ticket.commit().is_ok());
            }
        });
    });
    set.insert(known);
    group.bench_function("insert, duplicate", |bench| {
        bench.iter(|| set.insert(black_box(known)));
    });
    group.bench_function("contains", |bench| {
        bench.iter(|| set.contains(black_box(known)));
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("insert_batch of 256, new", |bench| {
        bench.iter_batched(
            || ids.batch(),
            |batch| set.insert_batch(batch),
            BatchSize::SmallInput,
        );
    });
}

/// Time for one insert by each of the threads: the same as with one thread where they do not hinder
/// each other.
fn threads(criterion: &mut Criterion) {
    let ids = Ids::new();
    let mut group = group(criterion, "shared, insert of new ids");
    for count in [1, 2] {
        let set = shared_set(&ids);
        let next = Cell::new(ids.next.get());
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("threads: {count}"), |bench| {
            bench.iter_custom(|iterations| {
                let first = next.replace((next.get() + (iterations * count) as usize) % IDS);
                inserted_by(&set, &ids.ids, first, count as usize, iterations as usize)
            });
        });
    }
}

/// Returns the time that `threads` threads take for `each` inserts each, of ids from `first` on.
fn inserted_by(
    set: &DedupSet<str>,
    ids: &[String],
    first: usize,
    threads: usize,
    each: usize,
) -> Duration {
    let clock = Clock::precise();
    let start = clock.now();
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for at in (first + thread..).step_by(threads).take(each) {
                    black_box(set.insert(&ids[at % IDS]));
                }
            });
        }
    });
    clock.now() - start
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    unsync(&mut criterion);
    shared(&mut criterion);
    threads(&mut criterion);
    criterion.final_summary();
}
