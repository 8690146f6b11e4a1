//! Section: the cost of an insert and of an id as a set grows to ten million ids.

use crate::chart::{Chart, OURS, PEER, Plot, plain};
use crate::contestant::{Entry, Grown};
use crate::report::{Section, Table, figure};
use crate::rounds::{interleaved, median};
use crate::sizes::Sizes;
use crate::{child, ours, peers};
use example_support::svg::Line;
use example_support::text::thousands;

const NAMES: [&str; 3] = [ours::UNSYNC, ours::SHARED, peers::STD_GROWING];

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    // Indexed by contestant, round and size.
    let mut grown: [Vec<Vec<Grown>>; NAMES.len()] = Default::default();
    interleaved("growth", sizes.growth_rounds, NAMES.len(), |at| {
        grown[at].push(grow(NAMES[at], &sizes.growth));
        0.0
    });
    let by_size = |of: fn(&Grown, usize) -> f64| -> Vec<Vec<f64>> {
        let of_one = |rounds: &Vec<Vec<Grown>>| {
            let at_size = |(at, &size)| median(rounds.iter().map(|round| of(&round[at], size)));
            sizes.growth.iter().enumerate().map(at_size).collect()
        };
        grown.iter().map(of_one).collect()
    };
    let nanos = by_size(|grown, _| grown.nanos);
    let bytes = by_size(|grown, size| grown.bytes as f64 / size as f64);
    vec![Section {
        title: "As a set grows",
        text: text(sizes),
        tables: vec![table(sizes, &nanos, &bytes)],
        charts: vec![
            chart(sizes, "growth-time.svg", "ns per insert, by ids", &nanos),
            chart(sizes, "growth-memory.svg", "bytes per id, by ids", &bytes),
        ],
        targets: Vec::new(),
    }]
}

fn text(sizes: &Sizes) -> String {
    let [first, .., last] = sizes.growth;
    format!(
        "Sets grow from nothing to {last} distinct ids of 45 bytes. Ours has a bound of twice \
as many. Each set and round has its own process, and medians of {rounds} rounds are \
shown. *ns per insert* is the mean of all inserts since the size in the row above, the \
cost of growth included. *Bytes per id* is the growth of resident memory, so single \
pages still count at {first} ids.\n\n\
The time rises when the tables exceed a cache of the processor, and again when the \
page tables do. Ours reads 5 to 11 bytes of index per id at random, and writes ids in \
sequence. The `HashSet` reads and writes 25 bytes at random and allocates 45 bytes per \
id. It doubles its table at 7/8 of a power of two and rehashes all ids. Here, this \
cost is spread over all inserts; see *Longest single call* for the one insert that waits. Ours \
moves to an index of twice the size a few entries per call, so its bytes per id vary \
by about 5, and by 12 while both indexes exist. Those of the `HashSet` vary by 29, and \
by 57.",
        first = thousands(first as u64),
        last = thousands(last as u64),
        rounds = sizes.growth_rounds,
    )
}

fn table(sizes: &Sizes, nanos: &[Vec<f64>], bytes: &[Vec<f64>]) -> Table {
    let mut head = vec!["ids".to_owned()];
    head.extend(
        NAMES
            .iter()
            .flat_map(|name| [format!("ns, {name}"), format!("bytes, {name}")]),
    );
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = Table::new(&head);
    for (at, &size) in sizes.growth.iter().enumerate() {
        let cells = nanos
            .iter()
            .zip(bytes)
            .flat_map(|(nanos, bytes)| [figure(nanos[at]), figure(bytes[at])]);
        table.row(std::iter::once(thousands(size as u64)).chain(cells));
    }
    table
}

fn chart(sizes: &Sizes, file: &'static str, title: &str, values: &[Vec<f64>]) -> Chart {
    let mut ours = 0;
    let mut line = |(name, values): (&&str, &Vec<f64>)| {
        let is_ours = name.contains("**");
        ours += usize::from(is_ours);
        let sizes = sizes.growth.iter().map(|&size| size as f64);
        Line {
            name: plain(name),
            colour: if is_ours { OURS } else { PEER },
            // The second line of ours has the same colour as the first.
            dashed: is_ours && ours > 1,
            points: sizes.zip(values.iter().copied()).collect(),
        }
    };
    let lines = NAMES.iter().zip(values).map(&mut line).collect();
    Chart {
        file,
        title: title.to_owned(),
        plot: Plot::Lines {
            caption: "entries",
            lines,
        },
    }
}

fn grow(name: &str, sizes: &[usize]) -> Vec<Grown> {
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    let printed = child::run(child::Work::Grow, &[name, &sizes.join(" ")]);
    let grown = |line: &str| {
        let (nanos, bytes) = line.split_once(' ')?;
        Some(Grown {
            nanos: nanos.parse().ok()?,
            bytes: bytes.parse().ok()?,
        })
    };
    printed
        .lines()
        .map(|line| grown(line).expect("nanoseconds and bytes"))
        .collect()
}

/// In a child process: grows a contestant, and prints nanoseconds and bytes for each size.
pub(crate) fn print(args: &[&str]) {
    let &[name, sizes] = args else {
        panic!("two arguments")
    };
    let sizes: Vec<usize> = sizes
        .split(' ')
        .map(|size| size.parse().expect("a number"))
        .collect();
    let all: Vec<Entry> = [ours::entries(), peers::unbounded()].concat();
    let entry = all
        .iter()
        .find(|entry| entry.name == name)
        .expect("a contestant of this name");
    for Grown { nanos, bytes } in (entry.grow)(&sizes) {
        println!("{nanos} {bytes}");
    }
}
