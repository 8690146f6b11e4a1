//! Random claims, waits, cancellations, commits, releases, lease ends and removals against a
//! reference. Each task is polled only when the test says so.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::support::task::Task;
use leakproof::{Claim, DedupMap, ManualClock, Ticket};
use proptest::prelude::*;

const IDS: [&str; 3] = ["a", "b", "c"];
const LEASE: u64 = 100;
const TTL: u64 = 1_000;

#[derive(Clone, Debug)]
enum Op {
    Wait(usize),
    Poll(usize),
    Cancel(usize),
    Commit(usize),
    Release(usize),
    Extend(usize, u64),
    Advance(u64),
    Remove(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..IDS.len()).prop_map(Op::Wait),
        6 => (0..64_usize).prop_map(Op::Poll),
        3 => (0..64_usize).prop_map(Op::Cancel),
        2 => (0..64_usize).prop_map(Op::Commit),
        3 => (0..64_usize).prop_map(Op::Release),
        1 => ((0..64_usize), (0..3 * LEASE)).prop_map(|(at, by)| Op::Extend(at, by)),
        2 => (0..2 * LEASE).prop_map(Op::Advance),
        1 => (0..IDS.len()).prop_map(Op::Remove),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    /// A ticket that the caller with this number has.
    Ticket(u32),
    /// The claim was given to this waiter, which did not take it yet.
    Given(u32),
}

/// The state of a waiter, which determines the result of its next poll.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Waiter {
    Waiting,
    Given,
    Done(u32),
    /// Its lease ended before it was polled. It starts again.
    Lapsed,
}

#[derive(Default)]
struct Id {
    owner: Option<(Owner, u64)>,
    queue: VecDeque<u32>,
    /// Lapsed waiters of the present flight. They get the value of its commit.
    lapsed: Vec<u32>,
    recorded: Option<(u32, u64)>,
}

#[derive(Default)]
struct Reference {
    now: u64,
    ids: [Id; IDS.len()],
    waiters: BTreeMap<u32, (Waiter, usize)>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Fresh,
    Duplicate(u32),
    Pending,
}

impl Reference {
    /// Ends the claim of an id without a commit. Returns the waiter that is woken.
    fn hand_over(&mut self, id: usize) -> Option<u32> {
        let it = &mut self.ids[id];
        let next = it.queue.pop_front();
        it.owner = next.map(|next| (Owner::Given(next), self.now + LEASE));
        match next {
            Some(next) => self.waiters.insert(next, (Waiter::Given, id)),
            None => {
                // The flight ends with the claim.
                it.lapsed.clear();
                None
            }
        };
        next
    }

    fn claim(&mut self, id: usize, caller: u32) -> Answer {
        let it = &mut self.ids[id];
        if let Some((value, _)) = it.recorded.filter(|&(_, at)| self.now < at + TTL) {
            return Answer::Duplicate(value);
        }
        if it.owner.is_some() {
            it.queue.push_back(caller);
            self.waiters.insert(caller, (Waiter::Waiting, id));
            return Answer::Pending;
        }
        it.recorded = None;
        it.owner = Some((Owner::Ticket(caller), self.now + LEASE));
        Answer::Fresh
    }

    fn poll(&mut self, caller: u32) -> Answer {
        let (waiter, id) = self.waiters[&caller];
        match waiter {
            Waiter::Waiting => return Answer::Pending,
            Waiter::Done(value) => {
                self.waiters.remove(&caller);
                return Answer::Duplicate(value);
            }
            Waiter::Given => {
                self.waiters.remove(&caller);
                let owner = self.ids[id].owner.as_mut().expect("it was given");
                owner.0 = Owner::Ticket(caller);
                return Answer::Fresh;
            }
            Waiter::Lapsed => {}
        }
        self.waiters.remove(&caller);
        self.ids[id].lapsed.retain(|&it| it != caller);
        self.claim(id, caller)
    }

    fn cancel(&mut self, caller: u32) -> Option<u32> {
        let (waiter, id) = self.waiters.remove(&caller).expect("it is known");
        self.ids[id].queue.retain(|&it| it != caller);
        self.ids[id].lapsed.retain(|&it| it != caller);
        (waiter == Waiter::Given)
            .then(|| self.hand_over(id))
            .flatten()
    }

    fn is_owner(&self, id: usize, caller: u32) -> bool {
        matches!(self.ids[id].owner, Some((Owner::Ticket(owner), _)) if owner == caller)
    }

    /// Returns the waiters that are woken.
    fn commit(&mut self, id: usize, value: u32) -> Vec<u32> {
        let it = &mut self.ids[id];
        it.owner = None;
        it.recorded = Some((value, self.now));
        let woken: Vec<u32> = it.queue.drain(..).collect();
        for &waiter in woken.iter().chain(&it.lapsed) {
            self.waiters.insert(waiter, (Waiter::Done(value), id));
        }
        it.lapsed.clear();
        woken
    }

    fn advance(&mut self, by: u64) -> Vec<u32> {
        self.now += by;
        let mut woken = Vec::new();
        for id in 0..IDS.len() {
            let Some((owner, until)) = self.ids[id].owner else {
                continue;
            };
            if until > self.now {
                continue;
            }
            if let Owner::Given(late) = owner {
                self.waiters.insert(late, (Waiter::Lapsed, id));
                self.ids[id].lapsed.push(late);
            }
            woken.extend(self.hand_over(id));
        }
        woken
    }
}

type TestTicket<'a> = Ticket<'a, str, u32>;
type Tasks<'a> = BTreeMap<u32, (Task<'a, Claim<TestTicket<'a>, u32>>, usize)>;

/// Compares an answer with the reference, and keeps ticket or task.
fn check<'a>(
    id: usize,
    caller: u32,
    mut task: Task<'a, Claim<TestTicket<'a>, u32>>,
    expected: &Answer,
    tickets: &mut Vec<(u32, usize, TestTicket<'a>)>,
    tasks: &mut Tasks<'a>,
) {
    match task.poll() {
        None => {
            assert_eq!(*expected, Answer::Pending);
            tasks.insert(caller, (task, id));
        }
        Some(Claim::Fresh(ticket)) => {
            assert_eq!(*expected, Answer::Fresh);
            tickets.push((caller, id, ticket));
        }
        Some(Claim::Duplicate { value, .. }) => assert_eq!(*expected, Answer::Duplicate(value)),
        Some(other) => panic!("{other:?}"),
    }
}

fn run(ops: Vec<Op>) {
    let time = ManualClock::new();
    let seen = DedupMap::<str, u32>::builder()
        .ttl(Duration::from_nanos(TTL))
        .lease(Duration::from_nanos(LEASE))
        .max_entries(10)
        .shards(1)
        .clock(&time)
        .build()
        .expect("valid limits");
    let mut reference = Reference::default();
    let mut tasks = Tasks::new();
    let mut tickets = Vec::new();
    let mut wakes = BTreeMap::<u32, usize>::new();
    for (number, op) in (0..).zip(ops) {
        let pick = |at: usize, of: usize| (of > 0).then(|| at % of.max(1));
        let woken = match op {
            Op::Wait(id) => {
                let expected = reference.claim(id, number);
                let task = Task::new(seen.claim_wait(IDS[id]));
                check(id, number, task, &expected, &mut tickets, &mut tasks);
                Vec::new()
            }
            Op::Poll(at) => {
                let Some(&caller) = pick(at, tasks.len()).and_then(|at| tasks.keys().nth(at))
                else {
                    continue;
                };
                let (task, id) = tasks.remove(&caller).expect("it was picked");
                let expected = reference.poll(caller);
                check(id, caller, task, &expected, &mut tickets, &mut tasks);
                Vec::new()
            }
            Op::Cancel(at) => {
                let Some(&caller) = pick(at, tasks.len()).and_then(|at| tasks.keys().nth(at))
                else {
                    continue;
                };
                tasks.remove(&caller);
                reference.cancel(caller).into_iter().collect()
            }
            Op::Commit(at) => {
                let Some(at) = pick(at, tickets.len()) else {
                    continue;
                };
                let (caller, id, ticket) = tickets.swap_remove(at);
                let is_owner = reference.is_owner(id, caller);
                assert_eq!(ticket.commit(number).is_ok(), is_owner);
                if is_owner {
                    reference.commit(id, number)
                } else {
                    Vec::new()
                }
            }
            Op::Release(at) => {
                let Some(at) = pick(at, tickets.len()) else {
                    continue;
                };
                let (caller, id, ticket) = tickets.swap_remove(at);
                drop(ticket);
                let is_owner = reference.is_owner(id, caller);
                is_owner
                    .then(|| reference.hand_over(id))
                    .flatten()
                    .into_iter()
                    .collect()
            }
            Op::Extend(at, by) => {
                let Some(at) = pick(at, tickets.len()) else {
                    continue;
                };
                let (caller, id, ticket) = &tickets[at];
                let is_owner = reference.is_owner(*id, *caller);
                assert_eq!(ticket.extend(Duration::from_nanos(by)).is_ok(), is_owner);
                if let Some((_, until)) = reference.ids[*id].owner.as_mut().filter(|_| is_owner) {
                    *until = (*until).max(reference.now + by);
                }
                Vec::new()
            }
            Op::Advance(by) => {
                time.advance(Duration::from_nanos(by));
                reference.advance(by)
            }
            Op::Remove(id) => {
                let live = reference.ids[id].recorded.take();
                let live = live.filter(|&(_, at)| reference.now < at + TTL);
                assert_eq!(seen.remove(IDS[id]), live.map(|(value, _)| value));
                Vec::new()
            }
        };
        for waiter in woken {
            *wakes.entry(waiter).or_default() += 1;
        }
        for (caller, (task, _)) in &tasks {
            assert_eq!(task.wakes(), wakes.get(caller).copied().unwrap_or(0));
        }
        seen.validate();
        let stats = seen.stats();
        let in_flight = reference.ids.iter().filter(|id| id.owner.is_some()).count();
        assert_eq!((stats.waiting, stats.in_flight), (tasks.len(), in_flight));
    }
    drop(tasks);
    drop(tickets);
    let stats = seen.stats();
    assert_eq!((stats.waiting, stats.in_flight), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn waiting_agrees_with_the_reference(ops in prop::collection::vec(op(), 1..200)) {
        run(ops);
    }
}
