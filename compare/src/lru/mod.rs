//! Sections: time and hit ratio of "get, or else insert", and bytes per entry.

mod contestant;
mod contestants;
mod event;
pub(crate) mod memory;
pub(crate) mod misses;
mod playing;
pub(crate) mod zipf;

use contestant::Entry;
use contestants::{MANUAL_TTL, MINI_MOKA, MOKA, QUICK, S3_FIFO, SHARED, TTL_CACHE, UNSYNC};
use playing::{Course, Played, THREADS, UNIVERSE};

use crate::chart::{Chart, Plot};
use crate::report::{Section, Table, Target, figure};
use crate::sizes::Sizes;
use example_support::text::thousands;

pub(crate) fn sections(sizes: &Sizes) -> Vec<Section> {
    let entries = contestants::all::<u64>();
    let measured = sizes.cached.map(|capacity| Measured::new(capacity, sizes));
    let mut tables = vec![idioms(&entries)];
    tables.extend(
        measured
            .iter()
            .flat_map(|measured| measured.tables(&entries)),
    );
    let files = ["lru-10k.svg", "lru-1m.svg"];
    let charts = measured
        .iter()
        .zip(files)
        .map(|(measured, file)| measured.chart(&entries, file))
        .collect();
    let targets = measured.iter().flat_map(Measured::targets).collect();
    let speed = Section {
        title: "Cache: get, or else insert",
        text: text(sizes, &measured),
        tables,
        charts,
        targets,
    };
    vec![speed, memory::section(sizes)]
}

/// The measurements of caches of one capacity.
struct Measured {
    course: Course,
    /// Few entries, which fit into the processor caches.
    is_small: bool,
    numbers: Played,
    strings: Played,
}

fn text(sizes: &Sizes, measured: &[Measured]) -> String {
    let filling = |measured: &Measured| {
        let Course {
            capacity, trace, ..
        } = &measured.course;
        let [events, distinct] = [
            measured.course.filling().len(),
            trace.distinct(measured.course.filling()),
        ];
        let [events, distinct, capacity] =
            [events, distinct, *capacity].map(|count| thousands(count as u64));
        format!("{events} events of {distinct} different keys for {capacity} entries")
    };
    let many = &measured[1].course;
    format!(
        "A stream of keys by Zipf's law with an exponent of 1, of {UNIVERSE} times as many keys \
as a cache holds. A key is looked up, and inserted if it is absent. `u64` keys are \
mixed numbers, `String` keys have 24 bytes, and values are `u64`. Caches live through \
all rounds: each of {rounds} rounds times every cache on its next {timed} events \
({slow} for `moka` and `mini-moka`), whose keys are generated before. The median over \
the rounds is shown, and for ratios the median of the ratios of each round. Time is \
per event over all threads, so two threads that do not slow each other down take half \
the time of one.\n\n\
Before, LRU and FIFO are filled to the steady state ({filling}). Other policies learn \
the frequency of keys, and get up to {learning} events, or {learning_slow} if they are \
slow. Their hit ratio rises by some hundredths more in the long run.\n\n\
In the row *manual ttl*, a cache without a ttl stores a timestamp with each value, and \
each event reads the clock. This is the least cost of an exact ttl with this cache. It \
neither reports the age of the oldest entry nor removes expired entries.\n\n\
The *hit ratio* is that of the timed events with `u64` keys. The value of a higher one \
depends on the cost of a miss, which is an insert only here.",
        rounds = sizes.rounds,
        timed = thousands(playing::timed(sizes, false) as u64),
        slow = thousands(playing::timed(sizes, true) as u64),
        filling = measured.iter().map(filling).collect::<Vec<_>>().join(", "),
        learning = thousands(many.learning(false).len() as u64),
        learning_slow = thousands(many.learning(true).len() as u64),
    )
}

/// Returns the table of the contestants.
fn idioms(entries: &[Entry<u64>]) -> Table {
    let mut table = Table::new(&["contestant", "how it is used", "hasher", "policy"])
        .introduced("Each uses its fastest calls and its default hasher.");
    for entry in entries {
        let cells = [
            entry.name,
            entry.traits.how,
            entry.traits.hasher,
            entry.traits.policy,
        ];
        table.row(cells.map(str::to_owned));
    }
    table
}

impl Measured {
    fn new(capacity: usize, sizes: &Sizes) -> Self {
        let course = Course::new(capacity, sizes);
        let [numbers, strings] =
            [Played::new::<u64>, Played::new::<String>].map(|play| play(&course, sizes));
        Self {
            course,
            is_small: capacity == sizes.cached[0],
            numbers,
            strings,
        }
    }

    fn capacity(&self) -> String {
        thousands(self.course.capacity as u64)
    }

    fn tables(&self, entries: &[Entry<u64>]) -> Vec<Table> {
        let mut tables = vec![self.table(entries, false, 1)];
        tables.extend(THREADS.map(|threads| self.table(entries, true, threads)));
        tables
    }

    /// Unsync caches, or shared ones with this many threads.
    fn table(&self, entries: &[Entry<u64>], shared: bool, threads: usize) -> Table {
        let kind = match (shared, threads) {
            (false, _) => "caches for one thread".to_owned(),
            (true, 1) => "shared caches, one thread".to_owned(),
            (true, threads) => format!("shared caches, {threads} threads"),
        };
        let head = [
            "contestant",
            "ns, `u64`",
            "to leakproof",
            "ns, `String`",
            "to leakproof",
            "hit ratio",
        ];
        let mut table =
            Table::new(&head).introduced(&format!("{} entries, {kind}:", self.capacity()));
        let ours = if shared { SHARED } else { UNSYNC };
        for entry in entries.iter().filter(|entry| entry.is_shared == shared) {
            table.row([
                entry.name.to_owned(),
                figure(self.numbers.nanos(entry.name, threads)),
                figure(self.numbers.ratio(entry.name, ours, threads)),
                figure(self.strings.nanos(entry.name, threads)),
                figure(self.strings.ratio(entry.name, ours, threads)),
                figure(self.numbers.hit_ratio(entry.name, threads)),
            ]);
        }
        table
    }

    fn chart(&self, entries: &[Entry<u64>], file: &'static str) -> Chart {
        let bars = entries
            .iter()
            .map(|entry| (entry.name.to_owned(), self.numbers.nanos(entry.name, 1)));
        let title = format!(
            "ns per get, or else insert, u64 keys, {} entries, one thread",
            self.capacity()
        );
        Chart {
            file,
            title,
            plot: Plot::Bars(bars.collect()),
        }
    }

    fn targets(&self) -> Vec<Target> {
        let capacity = self.capacity();
        let played = &self.numbers;
        let target = |what: &str, ours, to, threads, at_most| Target {
            what: format!("get or insert, {capacity} entries, {what}"),
            reached: played.ratio(ours, to, threads),
            at_most,
        };
        let manual = if self.is_small { 1.2 } else { 1.0 };
        let mut with_ttl = [TTL_CACHE, MINI_MOKA, MOKA];
        with_ttl.sort_by(|a, b| played.nanos(a, 1).total_cmp(&played.nanos(b, 1)));
        let fastest = format!("unsync, to the fastest peer with a ttl: {}", with_ttl[0]);
        let mut targets = vec![
            target(
                "unsync, to `schnellru` with a manual ttl",
                UNSYNC,
                MANUAL_TTL,
                1,
                manual,
            ),
            target(&fastest, UNSYNC, with_ttl[0], 1, 0.4),
        ];
        for threads in THREADS {
            let what = format!("shared with `ttl`, threads: {threads}, to {QUICK} without");
            targets.push(target(&what, SHARED, QUICK, threads, 1.15));
            let what = format!("{S3_FIFO} with `ttl`, threads: {threads}, to {QUICK} without");
            targets.push(target(&what, S3_FIFO, QUICK, threads, 1.0));
        }
        targets
    }
}
