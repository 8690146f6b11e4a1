//! A `DedupSet` with a check of every answer, and a `DedupMap` with small bounds.

mod exact;
mod squeezed;

use std::time::Duration;

use leakproof::DedupStats;

use crate::round::{Round, Tally, Time, Verdict, nanos};

/// The most claims of a thread.
const HELD: usize = 8;

pub(crate) fn soak(round: &mut Round, causes: &mut Tally) -> Tally {
    let ttl = Duration::from_nanos(round.dice.between(1_000, 100_000_000_000_000));
    let lease = Duration::from_nanos(round.dice.between(500, 2 * nanos(ttl)));
    let mut tally = exact::soak(round, ttl, lease, causes);
    tally.add(&squeezed::soak(round, ttl, lease, causes));
    tally
}

/// Checks that all inserted ids are present or were removed, and adds up the causes.
pub(crate) fn account(round: &Round, what: &str, stats: &DedupStats, causes: &mut Tally) {
    let left = stats.expired + stats.evicted + stats.removed;
    round.check_equal(
        &format!("{what}: inserted, compared with present and removed"),
        stats.inserted,
        stats.len as u64 + left,
    );
    for (cause, count) in [
        ("ids expired", stats.expired),
        ("ids evicted", stats.evicted),
        ("ids removed", stats.removed),
        ("ids rejected", stats.rejected),
        ("leases expired", stats.leases_expired),
    ] {
        causes.count_many(cause, count);
    }
}

/// Checks the invariants of stats at any time.
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

pub(crate) struct Held<T> {
    pub(crate) ticket: T,
    /// A handle to the map, which must not be leaked.
    pub(crate) is_owned: bool,
    pub(crate) id: usize,
    /// The readings before and after the claim.
    pub(crate) before: u64,
    pub(crate) after: u64,
}

impl<T> Held<T> {
    /// Commits the ticket. Checks that this fails exactly if the lease has expired, and returns
    /// `true` if it succeeds.
    pub(crate) fn commit<E>(
        self,
        commit: impl FnOnce(T) -> Result<(), E>,
        lease: u64,
        time: &Time,
        verdict: &Verdict,
    ) -> bool {
        let Self {
            ticket,
            id,
            before,
            after,
            ..
        } = self;
        let at_least = time.now().saturating_sub(after);
        let is_committed = commit(ticket).is_ok();
        let at_most = time.now() - before;
        let is_right = if is_committed {
            at_least < lease
        } else {
            at_most >= lease
        };
        verdict.check(is_right, || {
            let is = if is_committed { "was" } else { "could not be" };
            format!(
                "id {id} {is} committed {at_least} to {at_most} ns after its claim, \
                 with a lease of {lease} ns"
            )
        });
        is_committed
    }
}
