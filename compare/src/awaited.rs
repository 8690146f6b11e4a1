//! Section: the async calls against the plain ones, if they need not wait.

use std::future::ready;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leakproof::{Claim, Clock, DedupSet, LruCache};

use crate::report::{Section, Table, Target, figure};
use crate::rounds::{Rounds, interleaved};
use crate::sizes::Sizes;
use crate::stream::{Ids, mix};
use example_support::text::thousands;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn section(sizes: &Sizes) -> Vec<Section> {
    let claims = claims(sizes);
    let gets = gets(sizes);
    let mut table = Table::new(&["call", "ns", "plain call", "ns", "ratio"]);
    for (call, plain, rounds) in [
        (
            "`claim_wait` on a new id, and `commit`",
            "`claim`, and `commit`",
            &claims,
        ),
        ("`get_or_insert_async` on a present key", "`get`", &gets),
    ] {
        table.row([
            call.to_owned(),
            figure(rounds.median(1)),
            plain.to_owned(),
            figure(rounds.median(0)),
            figure(rounds.ratio(1, 0)),
        ]);
    }
    let target = |what: &str, rounds: &Rounds, at_most| Target {
        what: what.to_owned(),
        reached: rounds.ratio(1, 0),
        at_most,
    };
    let targets = vec![
        target("`claim_wait` on a new id / `claim`", &claims, 1.1),
        target("hit of `get_or_insert_async` / `get`", &gets, 1.3),
    ];
    vec![Section {
        title: "Async calls that need not wait",
        text: format!(
            "One thread claims and commits new ids of 45 bytes in a shared set at its bound of \
{live} ids, and reads keys that are present in a shared cache of {live} entries. A future is \
polled once, without a runtime. Medians of {rounds} rounds of {timed} calls, and the median of \
the ratios of each round.",
            live = thousands(sizes.live as u64),
            rounds = sizes.rounds,
            timed = thousands(sizes.timed as u64),
        ),
        tables: vec![table],
        charts: Vec::new(),
        targets,
    }]
}

/// Polls a future that is ready.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is nothing to wait for"),
    }
}

fn timed<C>(
    what: &str,
    sizes: &Sizes,
    collections: &[C; 2],
    mut work: impl FnMut(&C, usize, usize),
) -> Rounds {
    let mut done = [0; 2];
    let clock = Clock::precise();
    interleaved(what, sizes.rounds, 2, |at| {
        let start = clock.now();
        work(&collections[at], at, done[at]);
        let took = clock.now() - start;
        done[at] += 1;
        took.as_nanos() as f64 / sizes.timed as f64
    })
}

fn claims(sizes: &Sizes) -> Rounds {
    let ids = Ids::new(sizes.live + sizes.rounds * sizes.timed);
    let full = || {
        let set = DedupSet::<str>::new(sizes.live, DAY);
        (0..sizes.live).for_each(|at| assert!(set.insert(ids.get(at))));
        set
    };
    timed("claims", sizes, &[full(), full()], |set, at, round| {
        let first = sizes.live + round * sizes.timed;
        for number in first..first + sizes.timed {
            let id = ids.get(number);
            let claim = if at == 0 {
                set.claim(id)
            } else {
                now(set.claim_wait(id))
            };
            let Claim::Fresh(ticket) = claim else {
                panic!("it is new");
            };
            black_box(ticket.commit()).expect("the lease is long enough");
        }
    })
}

fn gets(sizes: &Sizes) -> Rounds {
    let full = || {
        // Shards fill unevenly. With a tenth more room, no shard evicts.
        let cache = LruCache::<u64, u64>::new(sizes.live * 11 / 10, DAY);
        for key in 0..sizes.live as u64 {
            cache.insert(key, key);
        }
        cache
    };
    timed("gets", sizes, &[full(), full()], |cache, at, round| {
        let first = (round * sizes.timed) as u64;
        for number in first..first + sizes.timed as u64 {
            let key = mix(number) % sizes.live as u64;
            if at == 0 {
                black_box(cache.get(&key));
            } else {
                black_box(now(cache.get_or_insert_async(&key, ready(0))));
            }
        }
    })
}
