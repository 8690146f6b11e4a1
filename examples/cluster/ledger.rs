//! The ledger: what the workers did, and the promises that it must show.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::time::Duration;

use example_support::Result;

use crate::faults::Counts;

/// A claim that was fresh. Times are microseconds of one clock.
#[derive(Debug)]
struct Claim {
    name: String,
    asked: u128,
    answered: u128,
    is_shared: bool,
    /// The time before the release.
    released: Option<u128>,
    is_handled: bool,
    commit: Option<Commit>,
}

#[derive(Debug)]
struct Commit {
    asked: u128,
    answered: u128,
    is_ok: bool,
    is_late: bool,
    is_shared: bool,
}

#[derive(Default)]
pub struct Ledger {
    /// Claims by id.
    ids: BTreeMap<String, Vec<Claim>>,
    /// The id and the position of each claim.
    by_name: HashMap<String, (String, usize)>,
    /// Answered deliveries by id: handled, and duplicate.
    answered: BTreeMap<u64, (u64, u64)>,
    unanswered: u64,
    duplicates_shared: u64,
    duplicates_local: u64,
    /// The claims whose values duplicates had, with their ids.
    values: BTreeSet<(String, u64)>,
    /// Degraded answers by worker: those that it saw, and its counter at the last one.
    degraded: BTreeMap<String, (u64, u64)>,
    miscounted: Vec<String>,
    pub faults: Counts,
}

pub struct Report {
    pub text: String,
    pub violations: Vec<String>,
}

impl Ledger {
    pub fn answered(&mut self, id: u64, answer: &str, tier: Option<&str>, value: Option<&str>) {
        if let Some(value) = value {
            self.values.insert((value.to_owned(), id));
        }
        let counts = self.answered.entry(id).or_default();
        match (answer, tier) {
            ("duplicate", Some("local")) => self.duplicates_local += 1,
            ("duplicate", _) => self.duplicates_shared += 1,
            _ => {}
        }
        if answer == "duplicate" {
            counts.1 += 1;
        } else {
            counts.0 += 1;
        }
    }

    /// Notes a delivery that no worker answered by the end.
    pub fn unanswered(&mut self, _id: u64) {
        self.unanswered += 1;
    }

    /// Adds a line of a worker.
    pub fn add(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u128>();
        match words[..] {
            ["F", _, id, name, _, _, tier] => {
                let claims = self.ids.entry(id.to_owned()).or_default();
                let place = (id.to_owned(), claims.len());
                self.by_name.insert(name.to_owned(), place);
                claims.push(Claim {
                    name: name.to_owned(),
                    asked: number(4)?,
                    answered: number(5)?,
                    is_shared: tier == "shared",
                    released: None,
                    is_handled: false,
                    commit: None,
                });
            }
            ["H", name] => self.claim(name)?.is_handled = true,
            ["R", name, _] => self.claim(name)?.released = Some(number(2)?),
            ["C", name, _, _, result, tier] => {
                let (asked, answered) = (number(2)?, number(3)?);
                self.claim(name)?.commit = Some(Commit {
                    asked,
                    answered,
                    is_ok: result == "ok",
                    is_late: result == "late",
                    is_shared: tier == "shared",
                });
            }
            ["D", worker, seen, counted] => {
                let (seen, counted) = (seen.parse()?, counted.parse()?);
                if counted < seen {
                    let line =
                        format!("worker {worker} counted {counted} of {seen} degraded answers");
                    self.miscounted.push(line);
                }
                // Tasks write in any order.
                let last = self.degraded.entry(worker.to_owned()).or_default();
                *last = (last.0.max(seen), last.1.max(counted));
            }
            ["S", worker, unknown, counted] => {
                let (unknown, counted): (u64, u64) = (unknown.parse()?, counted.parse()?);
                let last = self.degraded.entry(worker.to_owned()).or_default();
                let seen = last.0;
                last.1 = last.1.max(counted);
                if counted < seen || counted > seen + unknown {
                    let line = format!("worker {worker} counted {counted}, and saw {seen}");
                    self.miscounted.push(line);
                }
            }
            _ => return Err(format!("a worker wrote {line:?}").into()),
        }
        Ok(())
    }

    fn claim(&mut self, name: &str) -> Result<&mut Claim> {
        let (id, at) = self.by_name.get(name).ok_or("the claim was not fresh")?;
        let claims = self.ids.get_mut(id).ok_or("the id was not claimed")?;
        Ok(&mut claims[*at])
    }

    pub fn report(&self, lease: Duration) -> Report {
        let mut violations = self.miscounted.clone();
        for (id, claims) in &self.ids {
            check(id, claims, lease, &mut violations);
        }
        let handled = |claims: &[Claim]| claims.iter().filter(|claim| claim.is_handled).count();
        let (mut once, mut by_lease, mut by_tier) = (0, 0, 0);
        for claims in self.ids.values() {
            let is_local = |claim: &Claim| {
                let local = claim
                    .commit
                    .as_ref()
                    .is_some_and(|commit| commit.is_ok && !commit.is_shared);
                !claim.is_shared || local
            };
            match handled(claims) {
                0 => {}
                1 => once += 1,
                _ if claims.iter().any(is_local) => by_tier += 1,
                _ => by_lease += 1,
            }
        }
        let mut lost = 0;
        for (id, &(acknowledged, duplicates)) in &self.answered {
            let claims = self
                .ids
                .get(&format!("m{id}"))
                .map_or(&[][..], Vec::as_slice);
            if acknowledged + duplicates > 0 && handled(claims) == 0 {
                lost += 1;
                violations.push(format!("m{id} was lost: answered, and never handled"));
            }
        }
        if self.unanswered > 0 {
            violations.push(format!("{} deliveries had no answer", self.unanswered));
        }
        for (name, id) in &self.values {
            self.check_value(name, *id, &mut violations);
        }
        let all = || self.ids.values().flatten();
        let fresh = |shared| all().filter(|claim| claim.is_shared == shared).count();
        let late = all()
            .filter_map(|claim| claim.commit.as_ref())
            .filter(|commit| commit.is_late);
        let seen: u64 = self.degraded.values().map(|&(seen, _)| seen).sum();
        let counted: u64 = self.degraded.values().map(|&(_, counted)| counted).sum();
        let mut text = String::new();
        let faults = &self.faults;
        let rows = [
            ("messages", self.answered.len() as u64),
            ("handled once", once),
            ("handled twice, a lease ended", by_lease),
            ("handled twice, without the server", by_tier),
            ("lost", lost),
            ("duplicates by the server", self.duplicates_shared),
            ("duplicates by the local tier", self.duplicates_local),
            ("fresh by the server", fresh(true) as u64),
            ("fresh by the local tier", fresh(false) as u64),
            ("degraded answers", seen),
            ("degraded answers in the statistics", counted),
            ("late commits", late.count() as u64),
            ("workers killed", faults.killed_workers),
            ("workers frozen", faults.frozen_workers),
            ("servers killed", faults.killed_servers),
            ("servers frozen", faults.frozen_servers),
            ("servers paused", faults.paused_servers),
            ("scripts flushed", faults.flushed_scripts),
            ("broken promises", violations.len() as u64),
        ];
        for (name, number) in rows {
            let _ = writeln!(text, "{name:<36}{number:>10}");
        }
        for violation in violations.iter().take(20) {
            let _ = writeln!(text, "broken: {violation}");
        }
        Report { text, violations }
    }
}

impl Ledger {
    /// Checks that the value of a duplicate is that of a claim of its id, and not of one that was
    /// answered that its commit was late and had changed nothing.
    fn check_value(&self, name: &str, id: u64, violations: &mut Vec<String>) {
        let Some((of, at)) = self.by_name.get(name) else {
            violations.push(format!("m{id} has the value of an unknown claim {name}"));
            return;
        };
        if *of != format!("m{id}") {
            violations.push(format!("m{id} has the value of {of}"));
        }
        let commit = self.ids[of][*at].commit.as_ref();
        if commit.is_some_and(|commit| commit.is_late) {
            violations.push(format!("{of} was changed by the late commit of {name}"));
        }
    }
}

/// Checks each pair of claims that the server granted, at a time between question and answer.
fn check(id: &str, claims: &[Claim], lease: Duration, violations: &mut Vec<String>) {
    let mut shared: Vec<&Claim> = claims.iter().filter(|claim| claim.is_shared).collect();
    shared.sort_by_key(|claim| claim.asked);
    for (at, first) in shared.iter().enumerate() {
        for second in &shared[at + 1..] {
            let mut broken = |rule: &str| {
                violations.push(format!("{id} {rule}: {} and {}", first.name, second.name));
            };
            let in_lease = first.answered.max(second.answered) - first.asked < lease.as_micros();
            let frees = |one: &Claim, other: &Claim| {
                let is_released = one.released.is_some_and(|at| at < other.answered);
                // A commit that failed releases the claim.
                let has_failed = |commit: &Commit| !commit.is_ok && !commit.is_late;
                is_released || one.commit.as_ref().is_some_and(has_failed)
            };
            if in_lease && !frees(first, second) && !frees(second, first) {
                broken("was fresh twice within a lease");
            }
            let commit = first.commit.as_ref();
            if let Some(commit) = commit.filter(|commit| commit.is_ok && commit.is_shared) {
                if second.asked > commit.answered {
                    broken("was fresh after its commit");
                }
                if first.answered < second.asked && second.answered < commit.asked {
                    broken("was committed after the next claim");
                }
            }
        }
    }
}
