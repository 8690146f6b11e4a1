//! A `DedupMap` with small bounds. It evicts, is cleared and swept, has values that panic in
//! `clone`, and must account for each of them.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use leakproof::{Claim, DedupMap, Recorded, Sweeper, Ticket};

use super::{HELD, Held, account, observe};
use crate::round::{Dice, Round, Tally, Time, nanos};
use crate::value::{Alive, Value};

struct Squeezed<'a> {
    round: &'a Round,
    time: Time,
    map: Arc<DedupMap<str, Value>>,
    ids: Vec<String>,
    /// Ids longer than this exceed the byte bound alone.
    longest: usize,
    alive: Alive,
    ttl: u64,
    lease: u64,
}

pub(super) fn soak(round: &mut Round, ttl: Duration, lease: Duration, causes: &mut Tally) -> Tally {
    let dice = &mut round.dice;
    let shards = 1 + dice.below(4);
    let time = Time::new(&[ttl, lease]);
    let mut builder = DedupMap::<str, Value>::builder()
        .ttl(ttl)
        .lease(lease)
        .max_entries(shards + dice.between(1, 2_000) as usize)
        .max_in_flight(dice.between(1, 50) as usize)
        .shards(shards)
        .clock(time.clock());
    let mut longest = usize::MAX;
    if dice.one_in(2) {
        longest = dice.between(200, 20_000) as usize;
        builder = builder.max_bytes(longest * shards);
    }
    let map = Arc::new(builder.build().expect("valid limits"));
    let sweeper = Sweeper::new();
    sweeper.watch("squeezed", &*map, Duration::from_millis(1));
    let id = |id: usize| {
        let long = if longest < usize::MAX && id.is_multiple_of(30) {
            "-".repeat(longest)
        } else {
            String::new()
        };
        format!("{id:0width$}{long}", width = 1 + id % 50)
    };
    let ids = (0..dice.between(10, 5_000) as usize).map(id).collect();
    let squeezed = Squeezed {
        round,
        time,
        map,
        ids,
        longest,
        alive: Alive::default(),
        ttl: nanos(ttl),
        lease: nanos(lease),
    };
    let tally = round.play(|_| {
        let mut held = Vec::new();
        let squeezed = &squeezed;
        move |dice: &mut Dice, tally: &mut Tally| squeezed.step(dice, tally, &mut held)
    });
    drop(sweeper);
    let Squeezed { map, alive, .. } = squeezed;
    map.validate();
    let stats = map.stats();
    account(round, "squeezed map", &stats, causes);
    let came = [
        "ids new",
        "ids rejected",
        "claims committed",
        "claims of long ids",
    ]
    .map(|what| tally.get(what));
    round.check_equal(
        "squeezed map: inserted and rejected",
        stats.inserted + stats.rejected,
        came.iter().sum(),
    );
    let ended = tally.get("claims committed")
        + stats.released
        + stats.leases_expired
        + stats.in_flight as u64;
    round.check_equal(
        "squeezed map: claims, compared with those that ended",
        tally.get("claims"),
        ended,
    );
    map.sweep();
    round.check_equal(
        "values alive, compared with ids",
        alive.count(),
        map.len() as i64,
    );
    drop(map);
    round.check_equal("values of ids alive at the end", alive.count(), 0);
    tally
}

impl<'a> Squeezed<'a> {
    fn step(
        &'a self,
        dice: &mut Dice,
        tally: &mut Tally,
        held: &mut Vec<Held<Ticket<'a, str, Value>>>,
    ) {
        self.time.pass(dice, tally);
        let id = dice.below(self.ids.len());
        let key = &self.ids[id];
        match dice.below(200) {
            0..80 => self.record(id, dice, tally),
            80..110 => {
                tally.count("ids read");
                let before = self.time.now();
                if let Some(value) = self.map.get(key) {
                    self.is_live(id, &value, before);
                }
            }
            110..140 if held.len() < HELD => self.claim(id, tally, held),
            140..170 if !held.is_empty() => {
                let which = dice.below(held.len());
                self.finish(held.swap_remove(which), dice, tally);
            }
            170..180 => {
                tally.count("ids removed by call");
                self.map.remove(key);
            }
            180..182 => {
                tally.count("sweeps of ids");
                self.map.sweep();
            }
            182 if dice.one_in(10) => {
                tally.count("clears of ids");
                self.map.clear();
            }
            183 if dice.one_in(4) => {
                tally.count("walks through ids");
                let before = self.time.now();
                self.map.for_each(|key, value, age| {
                    self.round
                        .check(self.ids[value.id] == key && nanos(age) < self.ttl, || {
                            format!(
                                "a walk visited {key}, aged {age:?}, with the value of id {}",
                                value.id
                            )
                        });
                    self.is_live(value.id, value, before);
                });
            }
            _ => {
                tally.count("readings of stats of ids");
                observe(self.round, &self.map.stats(), self.ttl);
            }
        }
    }

    fn record(&self, id: usize, dice: &mut Dice, tally: &mut Tally) {
        let before = self.time.now();
        let value = Value::new(&self.alive, id, 1, dice.one_in(50), before);
        let history = Arc::clone(&value.history);
        match self.map.record(&self.ids[id], value) {
            Recorded::New => {
                history.after.store(self.time.now(), SeqCst);
                tally.count("ids new");
            }
            Recorded::Duplicate { age, value } => {
                self.round.check(nanos(age) < self.ttl, || {
                    format!("id {id} is {age:?} old, above its ttl")
                });
                self.is_live(id, &value, before);
            }
            Recorded::InFlight => {}
            Recorded::Rejected { .. } => tally.count("ids rejected"),
        }
        tally.count("ids recorded");
    }

    /// Checks that a returned value belongs to this id and had not expired.
    fn is_live(&self, id: usize, value: &Value, before: u64) {
        let at_least = before.saturating_sub(value.history.after.load(SeqCst));
        self.round.check(value.id == id, || {
            format!("id {id} has the value of id {}", value.id)
        });
        self.round.check(at_least < self.ttl, || {
            format!(
                "the value of id {id} was returned {at_least} ns after it was recorded, \
                 with a ttl of {} ns",
                self.ttl
            )
        });
    }

    fn claim(&'a self, id: usize, tally: &mut Tally, held: &mut Vec<Held<Ticket<'a, str, Value>>>) {
        let before = self.time.now();
        match self.map.claim(&self.ids[id]) {
            Claim::Fresh(ticket) => {
                tally.count(if self.is_long(id) {
                    "claims of long ids"
                } else {
                    "claims"
                });
                held.push(Held {
                    ticket,
                    is_owned: false,
                    id,
                    before,
                    after: self.time.now(),
                });
            }
            Claim::Duplicate { value, .. } => self.is_live(id, &value, before),
            Claim::InFlight { .. } => {}
            Claim::Full => tally.count("claims rejected"),
        }
    }

    fn is_long(&self, id: usize) -> bool {
        self.ids[id].len() > self.longest
    }

    fn finish(&self, held: Held<Ticket<'_, str, Value>>, dice: &mut Dice, tally: &mut Tally) {
        let id = held.id;
        if dice.one_in(4) {
            return tally.count("claims dropped");
        }
        let value = Value::new(&self.alive, id, 1, dice.one_in(50), self.time.now());
        let history = Arc::clone(&value.history);
        // A long id is not stored, so its lease cannot expire.
        let lease = if self.is_long(id) {
            u64::MAX
        } else {
            self.lease
        };
        let is_committed = held.commit(
            |ticket| ticket.commit(value),
            lease,
            &self.time,
            &self.round.verdict,
        );
        history.after.store(self.time.now(), SeqCst);
        if is_committed && !self.is_long(id) {
            tally.count("claims committed");
        }
    }
}
