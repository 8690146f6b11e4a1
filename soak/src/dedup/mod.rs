//! A `DedupSet` of which every answer is checked, and a `DedupMap` whose bounds are far too small.

mod exact;
mod squeezed;

use std::time::Duration;

use leakproof::{DedupStats, Ticket};

use crate::round::{Round, Tally, Time, nanos};

/// Claims that a thread holds at most.
const HELD: usize = 8;

pub(crate) fn soak(round: &mut Round, causes: &mut Tally) -> Tally {
    let ttl = Duration::from_nanos(round.dice.between(1_000, 100_000_000_000_000));
    let lease = Duration::from_nanos(round.dice.between(500, 2 * nanos(ttl)));
    let mut tally = exact::soak(round, ttl, lease, causes);
    tally.add(&squeezed::soak(round, ttl, lease, causes));
    tally
}

/// What both have in common: what is left at the end is what came and did not leave.
fn account(round: &Round, what: &str, stats: &DedupStats, causes: &mut Tally) {
    let left = stats.expired + stats.evicted + stats.removed;
    round.check_equal(
        &format!("{what}: inserted, to present and left"),
        stats.inserted,
        stats.len as u64 + left,
    );
    for (cause, count) in [
        ("ids expired", stats.expired),
        ("ids evicted", stats.evicted),
        ("ids removed", stats.removed),
        ("ids rejected", stats.rejected),
        ("claims lapsed", stats.leases_expired),
    ] {
        causes.count_many(cause, count);
    }
}

/// What holds whenever somebody looks.
fn observe(round: &Round, stats: &DedupStats, ttl: u64) {
    round.check(
        stats.len <= stats.max_entries && stats.high_water <= stats.max_entries,
        || format!("ids above the bound: {stats}"),
    );
    round.check(stats.max_bytes.is_none_or(|max| stats.bytes <= max), || {
        format!("bytes of ids above the bound: {stats}")
    });
    for age in stats
        .oldest_entry_age
        .into_iter()
        .chain(stats.shortest_window)
    {
        round.check(nanos(age) < ttl, || {
            format!("an id older than its ttl: {stats}")
        });
    }
}

struct Held<'a, V> {
    ticket: Ticket<'a, str, V>,
    /// A handle on the map, which must not be leaked.
    is_owned: bool,
    id: usize,
    /// Readings before and after it was claimed.
    before: u64,
    after: u64,
}

impl<V> Held<'_, V> {
    /// Whether it was committed: exactly if its lease was not over.
    fn commit(self, value: V, lease: u64, time: &Time, round: &Round) -> bool {
        let Self {
            ticket,
            id,
            before,
            after,
            ..
        } = self;
        let at_least = time.now().saturating_sub(after);
        let is_committed = ticket.commit(value).is_ok();
        let at_most = time.now() - before;
        let is_right = if is_committed {
            at_least < lease
        } else {
            at_most >= lease
        };
        round.check(is_right, || {
            let is = if is_committed { "was" } else { "could not be" };
            format!(
                "id {id} {is} committed {at_least} to {at_most} ns after it was claimed, with a lease of {lease} ns"
            )
        });
        is_committed
    }
}
