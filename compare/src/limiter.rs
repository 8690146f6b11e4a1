//! Section: rate limits per key, against the stores of `governor`.

use std::hint::black_box;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, MonotonicClock};
use governor::state::keyed::KeyedStateStore;
use governor::{Quota, RateLimiter};
use leakproof::Clock;
use leakproof::governor::{BoundedStateStore, WhenFull};

use crate::child;
use crate::memory::resident;
use crate::report::{Section, Table, figure};
use crate::rounds::interleaved;
use crate::sizes::Sizes;
use crate::stream::mix;
use example_support::text::thousands;

const NAMES: [&str; 4] = [
    "**leakproof** `BoundedStateStore`",
    "**leakproof** `BoundedStateStore`, `WhenFull::EvictLru`",
    "`governor`'s `HashMap` store",
    "`governor`'s `DashMap` store",
];
const HASH_MAP: usize = 2;
const DASH_MAP: usize = 3;
/// Keys of a flood for each key that a bounded store holds.
const FLOOD: usize = 10;

/// Checks the keys of these numbers, and returns the allowed ones.
type Check = Box<dyn Fn(&[u64]) -> usize>;

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let keys = [sizes.live / 1_000, sizes.live / 10];
    // Every check is allowed, or only the first of each key.
    let courses = [
        (keys[0], quota(u32::MAX, true), "allowed"),
        (keys[1], quota(u32::MAX, true), "allowed"),
        (keys[0], quota(1, false), "limited"),
    ];
    let mut times = Table::new(&[
        "keys",
        "checks are",
        "contestant",
        "ns",
        "to `HashMap`",
        "to `DashMap`",
    ]);
    for (keys, quota, outcome) in courses {
        let checks: Vec<Check> = (0..NAMES.len())
            // Shards fill unevenly.
            .map(|at| limiter(at, quota, 2 * keys))
            .collect();
        let numbers: Vec<u64> = (0..sizes.timed as u64)
            .map(|at| mix(at) % keys as u64)
            .collect();
        for check in &checks {
            check(&(0..keys as u64).collect::<Vec<_>>());
        }
        let clock = Clock::precise();
        let rounds = interleaved("limiter", sizes.rounds, NAMES.len(), |at| {
            let start = clock.now();
            let allowed = checks[at](&numbers);
            let took = clock.now() - start;
            let expected = if outcome == "allowed" {
                numbers.len()
            } else {
                0
            };
            assert_eq!(allowed, expected, "{}", NAMES[at]);
            took.as_nanos() as f64 / numbers.len() as f64
        });
        for (at, name) in NAMES.iter().enumerate() {
            times.row([
                thousands(keys as u64),
                outcome.to_owned(),
                (*name).to_owned(),
                figure(rounds.median(at)),
                figure(rounds.ratio(at, HASH_MAP)),
                figure(rounds.ratio(at, DASH_MAP)),
            ]);
        }
    }
    let mut memory = Table::new(&["contestant", "keys held", "resident MB"]);
    for (at, name) in NAMES.iter().enumerate() {
        eprint!("\rlimiter, flood: {name:<60}");
        let args = [at.to_string(), keys[1].to_string()];
        let output = child::run(child::Work::Flood, &args.each_ref().map(String::as_str));
        let figures: Vec<f64> = output
            .split_whitespace()
            .map(|it| it.parse().expect("a number"))
            .collect();
        memory.row([
            (*name).to_owned(),
            thousands(figures[0] as u64),
            figure(figures[1] / 1e6),
        ]);
    }
    eprintln!();
    vec![Section {
        title: "Rate limits per key",
        text: format!(
            "One thread checks `u64` keys at random, each key equally often, against limiters of \
`governor` with `MonotonicClock`. Each store holds all keys. Medians of {rounds} rounds of {timed} \
checks, and the median of the ratios of each round. The second table has the growth of resident \
memory, in a process of its own, while {flood} distinct keys are checked once each, and the number \
of keys that are held afterwards. The bounded stores hold up to {bound}.",
            rounds = sizes.rounds,
            timed = thousands(sizes.timed as u64),
            flood = thousands((FLOOD * keys[1]) as u64),
            bound = thousands(keys[1] as u64),
        ),
        tables: vec![times, memory],
        charts: Vec::new(),
        targets: Vec::new(),
    }]
}

fn quota(burst: u32, per_second: bool) -> Quota {
    let burst = NonZeroU32::new(burst).expect("above zero");
    if per_second {
        Quota::per_second(burst)
    } else {
        Quota::per_hour(burst)
    }
}

/// Returns the contestant of this number.
fn limiter(at: usize, quota: Quota, max_entries: usize) -> Check {
    match at {
        HASH_MAP => checks(RateLimiter::hashmap_with_clock(quota, MonotonicClock)),
        DASH_MAP => checks(RateLimiter::dashmap_with_clock(quota, MonotonicClock)),
        _ => checks(bounded(at, quota, max_entries).limiter(MonotonicClock)),
    }
}

fn bounded(at: usize, quota: Quota, max_entries: usize) -> BoundedStateStore<u64> {
    let when_full = [WhenFull::Reject, WhenFull::EvictLru][at];
    let builder = BoundedStateStore::builder().max_entries(max_entries);
    let builder = builder.quota(quota).when_full(when_full);
    builder.build().expect("valid options")
}

fn checks<S>(limiter: RateLimiter<u64, S, MonotonicClock>) -> Check
where
    S: KeyedStateStore<u64> + 'static,
{
    Box::new(move |keys| {
        let allowed = keys.iter().filter(|key| limiter.check_key(key).is_ok());
        allowed.count()
    })
}

/// Floods a contestant with distinct keys in a child process. Prints the keys that are held, and
/// the growth of memory.
pub(crate) fn flood(args: &[&str]) {
    let &[at, bound] = args else {
        panic!("two arguments")
    };
    let [at, bound] = [at, bound].map(|number| number.parse::<usize>().expect("a number"));
    let quota = quota(20, false);
    let keys = (0..(FLOOD * bound) as u64).map(mix);
    let _ = black_box(MonotonicClock.now());
    let before = resident();
    match at {
        HASH_MAP => {
            let limiter = RateLimiter::hashmap_with_clock(quota, MonotonicClock);
            keys.for_each(|key| drop(limiter.check_key(&key)));
            print_growth(before, limiter.len(), &limiter);
        }
        DASH_MAP => {
            let limiter = RateLimiter::dashmap_with_clock(quota, MonotonicClock);
            keys.for_each(|key| drop(limiter.check_key(&key)));
            print_growth(before, limiter.len(), &limiter);
        }
        _ => {
            let store = bounded(at, quota, bound);
            let limiter = store.limiter(MonotonicClock);
            keys.for_each(|key| drop(limiter.check_key(&key)));
            print_growth(before, store.len(), &limiter);
        }
    }
}

/// Prints the keys and the bytes of a limiter that is alive.
fn print_growth<T>(before: u64, keys: usize, limiter: &T) {
    println!("{keys} {}", resident() - before);
    black_box(limiter);
}
