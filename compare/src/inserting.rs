//! Sections: inserting in the steady state, and in batches.

use crate::chart::{Chart, Plot};
use crate::contestant::Entry;
use crate::report::{Section, Table, Target, figure};
use crate::rounds::{Rounds, interleaved};
use crate::sizes::Sizes;
use crate::stream::{Distance, Stream};
use crate::{ours, peers};
use example_support::text::thousands;

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let entries = contestants();
    let stream = Stream::new(sizes, sizes.checked, Distance::LogUniform);
    let rounds = timed("insert", &entries, &stream, sizes);
    let wrong = checked(&entries, &stream, sizes);
    let worst = uniform(sizes);
    let steady = Section {
        title: "Insert, steady state",
        text: text(sizes, &stream),
        tables: vec![table(&entries, &rounds, &wrong), worst],
        charts: vec![chart(&entries, &rounds)],
        targets: targets(&entries, &rounds, &wrong),
    };
    vec![steady, batches(&entries, &rounds)]
}

fn contestants() -> Vec<Entry> {
    [
        ours::entries(),
        peers::unbounded(),
        peers::bounded(),
        peers::shared(),
    ]
    .concat()
}

fn position(entries: &[Entry], name: &str) -> usize {
    entries
        .iter()
        .position(|entry| entry.name == name)
        .expect("a contestant of this name")
}

fn timed(name: &str, entries: &[Entry], stream: &Stream, sizes: &Sizes) -> Rounds {
    interleaved(name, sizes.rounds, entries.len(), |at| {
        (entries[at].time)(stream, sizes, entries[at].events(sizes))
    })
}

fn checked(entries: &[Entry], stream: &Stream, sizes: &Sizes) -> Vec<usize> {
    let wrong = entries.iter().map(|entry| {
        eprint!("\rwrong answers: {:<60}", entry.name);
        (entry.check)(stream, sizes)
    });
    let wrong = wrong.collect();
    eprintln!();
    wrong
}

fn text(sizes: &Sizes, stream: &Stream) -> String {
    format!(
        "A stream of ids of 45 bytes, one event per tick. 15% of the events are redeliveries of \
a live id, at log-uniform distances, like retries with exponential backoff. An id is \
remembered for {window} ticks, so just under {live} ids are live. Each of {rounds} \
rounds creates every contestant, fills it to the steady state with {warm} events, and \
times the next {timed} ({slow} for `moka` and `mini-moka`). A contestant gets a `&str` \
and creates a `String` if it needs one. The median over the rounds is shown, and for \
ratios the median of the ratios of each round.\n\n\
Contestants with an entry bound hold {live} ids: caches, and ours with the default \
clock and a ttl of a day. They evict an id per new id. The rows *expiring* are the \
same sets with a ttl of {window} ticks, a bound that is a tenth higher, and a \
`ManualClock` that each event sets, so all removals are expiries. Each call has an id \
to expire, which is the highest cost of expiry. A real clock advances in steps of \
milliseconds.\n\n\
*Wrong answers* are counted over {events} events, of which {redelivered} are \
redeliveries: an id called new though it was recorded less than {window} ticks ago, or \
a new id called a duplicate. Contestants whose clock a test cannot set have a ttl of a \
day, so their wrong answers are evictions below {live} ids.",
        window = thousands(sizes.window),
        live = thousands(sizes.live as u64),
        rounds = sizes.rounds,
        warm = thousands(sizes.warm_up as u64),
        timed = thousands(sizes.timed as u64),
        slow = thousands(sizes.timed_slow as u64),
        events = thousands(stream.len() as u64),
        redelivered = thousands(stream.redeliveries(0..stream.len()) as u64),
    )
}

fn table(entries: &[Entry], rounds: &Rounds, wrong: &[usize]) -> Table {
    let ours = position(entries, ours::UNSYNC);
    let mut table = Table::new(&[
        "contestant",
        "ns an insert",
        "to leakproof",
        "wrong answers",
        "how",
    ]);
    for (at, entry) in entries.iter().enumerate() {
        table.row([
            entry.name.to_owned(),
            figure(rounds.median(at)),
            figure(rounds.ratio(at, ours)),
            thousands(wrong[at] as u64),
            entry.idiom.to_owned(),
        ]);
    }
    table
}

fn chart(entries: &[Entry], rounds: &Rounds) -> Chart {
    let bars = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| (entry.name.to_owned(), rounds.median(at)));
    Chart {
        file: "insert.svg",
        title: "ns per insert, 1,000,000 live ids".to_owned(),
        plot: Plot::Bars(bars.collect()),
    }
}

fn targets(entries: &[Entry], rounds: &Rounds, wrong: &[usize]) -> Vec<Target> {
    let at = |name| position(entries, name);
    let peers = peers::bounded();
    let peers = peers
        .iter()
        .filter(|peer| !peer.name.contains("quick_cache"))
        .map(|peer| at(peer.name));
    let fastest = peers
        .min_by(|&a, &b| rounds.median(a).total_cmp(&rounds.median(b)))
        .expect("there are peers");
    let peer = entries[fastest].name;
    let target = |what: &str, ours, to, at_most| Target {
        what: what.to_owned(),
        reached: rounds.ratio(at(ours), to),
        at_most,
    };
    let std = at(peers::STD_RESERVED);
    let moka = at(peers::MOKA);
    vec![
        target(
            "insert, unsync, to the reserved `HashSet<String>`",
            ours::UNSYNC,
            std,
            0.45,
        ),
        target(
            "the same, expiring by `ManualClock`",
            ours::UNSYNC_EXPIRING,
            std,
            0.45,
        ),
        target(
            &format!("insert, unsync, to the fastest bounded peer: {peer}"),
            ours::UNSYNC,
            fastest,
            0.6,
        ),
        target(
            "the same, expiring by `ManualClock`",
            ours::UNSYNC_EXPIRING,
            fastest,
            0.6,
        ),
        target(
            "insert, shared, to `moka` with ttl and capacity",
            ours::SHARED,
            moka,
            0.1,
        ),
        target(
            "the same, expiring by `ManualClock`",
            ours::SHARED_EXPIRING,
            moka,
            0.1,
        ),
        Target {
            what: "wrong answers, expiring, unsync and shared".to_owned(),
            reached: (wrong[at(ours::UNSYNC_EXPIRING)] + wrong[at(ours::SHARED_EXPIRING)]) as f64,
            at_most: 0.0,
        },
    ]
}

/// The same with redeliveries from anywhere in the window, which miss the processor caches.
fn uniform(sizes: &Sizes) -> Table {
    let names = [
        ours::UNSYNC,
        ours::SHARED,
        peers::STD_RESERVED,
        peers::SCHNELLRU,
        peers::HASHLINK,
    ];
    let all = contestants();
    let entries: Vec<Entry> = names.iter().map(|name| all[position(&all, name)]).collect();
    let stream = Stream::new(sizes, sizes.warm_up + sizes.timed, Distance::Uniform);
    let rounds = timed("insert, uniform", &entries, &stream, sizes);
    let mut table = Table::new(&["contestant", "ns an insert", "to leakproof"]).introduced(
        "The worst case for caches: the same with redeliveries from anywhere in the live window.",
    );
    for (at, entry) in entries.iter().enumerate() {
        table.row([
            entry.name.to_owned(),
            figure(rounds.median(at)),
            figure(rounds.ratio(at, 0)),
        ]);
    }
    table
}

fn batches(entries: &[Entry], rounds: &Rounds) -> Section {
    let at = |name| position(entries, name);
    let mut table = Table::new(&["set", "ns, one by one", "ns, batches of 256", "ratio"]);
    let pairs = [
        (ours::UNSYNC, ours::UNSYNC_BATCH),
        (ours::SHARED, ours::SHARED_BATCH),
    ];
    for (single, batch) in pairs {
        let (single_at, batch_at) = (at(single), at(batch));
        table.row([
            single.to_owned(),
            figure(rounds.median(single_at)),
            figure(rounds.median(batch_at)),
            figure(rounds.ratio(batch_at, single_at)),
        ]);
    }
    Section {
        title: "Batches",
        text: "The stream above by `insert_batch`, whose cache misses overlap.".to_owned(),
        tables: vec![table],
        charts: Vec::new(),
        targets: vec![Target {
            what: "`insert_batch` to `insert`, unsync".to_owned(),
            reached: rounds.ratio(at(ours::UNSYNC_BATCH), at(ours::UNSYNC)),
            at_most: 0.6,
        }],
    }
}
