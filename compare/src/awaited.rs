//! Section: the async calls against the plain ones, if they need not wait.

use std::future::ready;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use leakproof::Claim;

use crate::full::{full_cache, full_set};
use crate::report::{Section, Table, Target, figure};
use crate::rounds::{Rounds, timed};
use crate::sizes::Sizes;
use crate::stream::{Ids, mix};
use example_support::text::thousands;

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

fn claims(sizes: &Sizes) -> Rounds {
    let ids = Ids::new(sizes.live + sizes.rounds * sizes.timed);
    let full = || full_set(&ids, sizes.live);
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
    // Both calls read one cache. Two caches differ in the pages that they get from the system.
    let cache = full_cache(sizes.live);
    timed("gets", sizes, &[&cache, &cache], |cache, at, round| {
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
