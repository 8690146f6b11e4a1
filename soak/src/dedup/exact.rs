//! A `DedupSet` with room for all ids, so earlier recordings and claims decide every answer.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use leakproof::{Claim, DedupSet, Recorded, SetTicket, Sweeper};

use super::{HELD, Held, account, observe};
use crate::cell::{Cell, Visit};
use crate::round::{Dice, Round, Tally, Time, nanos};

struct Exact<'a> {
    round: &'a Round,
    time: Time,
    set: Arc<DedupSet<str>>,
    ids: Vec<String>,
    cells: Vec<Cell>,
    ttl: u64,
    lease: u64,
}

pub(super) fn soak(round: &mut Round, ttl: Duration, lease: Duration, causes: &mut Tally) -> Tally {
    let dice = &mut round.dice;
    let (ids, shards) = (dice.between(50, 2_000) as usize, 1 + dice.below(8));
    let time = Time::new(&[ttl, lease]);
    let set = DedupSet::<str>::builder()
        .ttl(ttl)
        .lease(lease)
        // One shard may have all ids.
        .max_entries(ids * shards)
        .max_in_flight(dice.between(1, 100) as usize)
        .shards(shards)
        .clock(time.clock())
        .build()
        .expect("valid limits");
    let set = Arc::new(set);
    let sweeper = Sweeper::new();
    sweeper.watch("exact", &*set, Duration::from_millis(1));
    let exact = Exact {
        round,
        time,
        set,
        ids: (0..ids)
            .map(|id| format!("1203630@g.us:{id:08X}"))
            .collect(),
        cells: (0..ids).map(|_| Cell::default()).collect(),
        ttl: nanos(ttl),
        lease: nanos(lease),
    };
    let tally = round.play(|_| {
        let mut held = Vec::new();
        let exact = &exact;
        move |dice: &mut Dice, tally: &mut Tally| exact.step(dice, tally, &mut held)
    });
    drop(sweeper);
    exact.set.validate();
    let stats = exact.set.stats();
    account(round, "exact set", &stats, causes);
    round.check_equal("exact set: evicted", stats.evicted, 0);
    round.check_equal(
        "exact set: inserted",
        stats.inserted,
        tally.get("ids new") + tally.get("claims committed"),
    );
    round.check_equal(
        "exact set: claims rejected",
        stats.claims_rejected,
        tally.get("claims rejected"),
    );
    let ended = tally.get("claims committed")
        + stats.released
        + stats.leases_expired
        + stats.in_flight as u64;
    round.check_equal(
        "exact set: claims, compared with those that ended",
        tally.get("claims"),
        ended,
    );
    round.check(stats.in_flight <= stats.max_in_flight, || {
        format!("claims above the bound: {stats}")
    });
    tally
}

impl<'a> Exact<'a> {
    fn step(
        &'a self,
        dice: &mut Dice,
        tally: &mut Tally,
        held: &mut Vec<Held<SetTicket<'a, str>>>,
    ) {
        self.time.pass(dice, tally);
        let id = dice.below(self.ids.len());
        match dice.below(100) {
            0..30 => self.record(id, tally),
            30..42 => {
                let visit = self.cells[id].visit(&self.time);
                tally.count("ids inserted");
                if self.set.insert(&self.ids[id]) {
                    self.is_new(id, &visit, tally);
                }
            }
            42..47 => self.insert_batch(dice, tally),
            47..55 => self.look(id, tally),
            55..75 if held.len() < HELD => self.claim(id, dice, tally, held),
            75..95 if !held.is_empty() => {
                let which = dice.below(held.len());
                self.finish(held.swap_remove(which), dice, tally);
            }
            95 => {
                tally.count("sweeps of ids");
                self.set.sweep();
            }
            _ => {
                tally.count("readings of stats of ids");
                observe(self.round, &self.set.stats(), self.ttl);
            }
        }
    }

    fn record(&self, id: usize, tally: &mut Tally) {
        let visit = self.cells[id].visit(&self.time);
        tally.count("ids recorded");
        match self.set.record(&self.ids[id]) {
            Recorded::New => self.is_new(id, &visit, tally),
            Recorded::Duplicate { age, .. } => self.is_duplicate(id, &visit, age),
            Recorded::InFlight => self.is_in_flight(id, &visit),
            Recorded::Rejected { .. } => unreachable!("there is no bound on bytes"),
        }
    }

    fn insert_batch(&self, dice: &mut Dice, tally: &mut Tally) {
        let ids: Vec<usize> = (0..1 + dice.below(40))
            .map(|_| dice.below(self.ids.len()))
            .collect();
        let visits: Vec<Visit<'_>> = ids
            .iter()
            .map(|&id| self.cells[id].visit(&self.time))
            .collect();
        tally.count_many("ids inserted in batches", ids.len() as u64);
        let answers = self
            .set
            .insert_batch(ids.iter().map(|&id| self.ids[id].as_str()));
        for ((&id, visit), is_new) in ids.iter().zip(&visits).zip(answers) {
            if is_new {
                self.is_new(id, visit, tally);
            }
        }
    }

    fn look(&self, id: usize, tally: &mut Tally) {
        let visit = self.cells[id].visit(&self.time);
        tally.count("ids read");
        match self.set.age(&self.ids[id]) {
            Some(age) => self.is_duplicate(id, &visit, age),
            None => self.is_not_recorded(id, &visit),
        }
    }

    fn claim(
        &'a self,
        id: usize,
        dice: &mut Dice,
        tally: &mut Tally,
        held: &mut Vec<Held<SetTicket<'a, str>>>,
    ) {
        let visit = self.cells[id].visit(&self.time);
        let key = &self.ids[id];
        let is_owned = dice.one_in(4);
        let claim = if is_owned {
            self.set.claim_owned(key)
        } else {
            self.set.claim(key)
        };
        match claim {
            Claim::Fresh(ticket) => {
                tally.count("claims");
                self.is_not_recorded(id, &visit);
                self.is_not_in_flight(id, &visit);
                let apart = self.cells[id].claimed.set(&visit);
                self.round.check(apart >= self.lease, || {
                    format!(
                        "id {id} was claimed twice within {apart} ns, with a lease of {} ns",
                        self.lease
                    )
                });
                held.push(Held {
                    ticket,
                    is_owned,
                    id,
                    before: visit.before,
                    after: self.time.now(),
                });
            }
            Claim::InFlight { since } => {
                self.round.check(nanos(since) < self.lease, || {
                    format!("id {id} in flight for {since:?}, above its lease")
                });
                self.is_in_flight(id, &visit);
            }
            Claim::Duplicate { age, .. } => self.is_duplicate(id, &visit, age),
            Claim::Full => tally.count("claims rejected"),
        }
    }

    fn finish(&self, held: Held<SetTicket<'_, str>>, dice: &mut Dice, tally: &mut Tally) {
        let (id, before) = (held.id, held.before);
        let what = dice.below(10);
        if what == 0 && !held.is_owned {
            // The ticket is leaked.
            tally.count("claims abandoned");
            return mem::forget(held);
        }
        let visit = self.cells[id].visit(&self.time);
        self.cells[id].claimed.forget(before);
        if what < 4 {
            tally.count("claims dropped");
            drop(held);
        } else if held.commit(
            SetTicket::commit,
            self.lease,
            &self.time,
            &self.round.verdict,
        ) {
            tally.count("claims committed");
            self.keeps_apart(id, &visit);
        } else {
            tally.count("claims committed too late");
        }
    }

    /// Checks an id that the set called new and recorded.
    fn is_new(&self, id: usize, visit: &Visit<'_>, tally: &mut Tally) {
        tally.count("ids new");
        self.is_not_in_flight(id, visit);
        self.keeps_apart(id, visit);
    }

    fn keeps_apart(&self, id: usize, visit: &Visit<'_>) {
        let apart = self.cells[id].recorded.set(visit);
        self.round.check(apart >= self.ttl, || {
            format!(
                "id {id} was new twice within {apart} ns, with a ttl of {} ns",
                self.ttl
            )
        });
    }

    fn is_duplicate(&self, id: usize, visit: &Visit<'_>, age: Duration) {
        let (recorded, age) = (&self.cells[id].recorded, nanos(age));
        let (at_least, at_most) = (
            recorded.at_least(visit.before),
            recorded.at_most(&self.time),
        );
        let holds = age < self.ttl
            && (!visit.is_alone() || (at_least..=at_most).contains(&age) && recorded.is_set());
        self.round.check(holds, || {
            format!(
                "id {id} is {age} ns old; it was recorded {at_least} to {at_most} ns ago, \
                 the ttl is {} ns",
                self.ttl
            )
        });
    }

    fn is_not_recorded(&self, id: usize, visit: &Visit<'_>) {
        let at_most = visit.recorded_at_most();
        self.round.check(at_most >= self.ttl, || {
            format!(
                "id {id} is not known {at_most} ns after it was recorded, with a ttl of {} ns",
                self.ttl
            )
        });
    }

    fn is_in_flight(&self, id: usize, visit: &Visit<'_>) {
        let claimed = &self.cells[id].claimed;
        let (is_set, at_least) = (claimed.is_set(), claimed.at_least(visit.before));
        self.round
            .check(!visit.is_alone() || is_set && at_least < self.lease, || {
                format!(
                    "id {id} is in flight, though its last claim is older than its lease of {} ns",
                    self.lease
                )
            });
    }

    fn is_not_in_flight(&self, id: usize, visit: &Visit<'_>) {
        let claimed = &self.cells[id].claimed;
        let at_most = claimed.at_most(&self.time);
        self.round
            .check(!visit.is_alone() || at_most >= self.lease, || {
                format!(
                    "id {id} is new {at_most} ns after it was claimed, with a lease of {} ns",
                    self.lease
                )
            });
    }
}
