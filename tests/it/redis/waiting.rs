//! `claim_wait` of several callers and instances, in virtual time.

use std::time::Duration;

use leakproof::redis::{
    CommitError, SharedDedup, SharedDedupBuilder, SharedTicket, Tier, Unavailable,
};
use leakproof::{Claim, DedupMap, ManualClock, Recorded};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::fake::{Fake, in_virtual_time};
use super::server::LEASE;

type Map = SharedDedup<String>;
type Builder = SharedDedupBuilder<Map>;
type Answer = (Claim<SharedTicket<String>, String>, Tier);

async fn fresh(map: &Map, id: &str) -> SharedTicket<String> {
    match map.claim(id).await.expect("the server answers").answer {
        Claim::Fresh(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn wait(map: &Map, id: &str, callers: usize) -> Vec<JoinHandle<Answer>> {
    let callers = (0..callers).map(|_| {
        let (map, id) = (map.clone(), id.to_owned());
        tokio::spawn(async move {
            let decided = map.claim_wait(&id).await.expect("no call is refused");
            (decided.answer, decided.tier)
        })
    });
    callers.collect()
}

/// Lets all tasks run, and a time pass.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn callers_of_one_instance_share_the_pauses_of_one() {
    in_virtual_time(async {
        let server = Fake::default();
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        let ticket = fresh(&one, "id").await;
        let before = server.claims();
        let waiting = wait(&two, "id", 100);
        pass(SECOND).await;
        // At 0, 5, 15, 35, 75, 155, 315, 565 and 815 ms.
        assert_eq!(server.claims() - before, 9);
        assert_eq!(two.stats().local.waiting, 100);
        ticket.commit(&"reply".to_owned()).await.unwrap();
        let mut shared = 0;
        for caller in waiting {
            let (answer, tier) = caller.await.unwrap();
            let Claim::Duplicate { value, .. } = answer else {
                panic!("{answer:?}");
            };
            assert_eq!(value, "reply");
            shared += usize::from(tier == Tier::Shared);
        }
        assert_eq!(shared, 1, "the others learn from the one that asked");
        assert_eq!(server.claims() - before, 10);
        assert_eq!(two.stats().local.waiting, 0);
        assert_eq!(two.stats().local.in_flight, 0);
    });
}

#[test]
fn released_counts_only_claims_that_were_granted() {
    in_virtual_time(async {
        let server = Fake::default();
        let one = server.map().build().await.unwrap();
        let refuse = |map: Builder| map.when_unavailable(Unavailable::Refuse).build();
        let two = refuse(server.map()).await.unwrap();
        let ticket = fresh(&one, "id").await;
        let elsewhere = two.claim("id").await.unwrap().answer;
        assert!(matches!(elsewhere, Claim::InFlight { .. }));
        let limit = tokio::time::timeout(SECOND, two.claim_wait("id"));
        assert!(limit.await.is_err(), "the other instance holds the claim");
        let recorded = two.record("id", String::new()).await.unwrap().answer;
        assert_eq!(recorded, Recorded::InFlight);
        ticket.commit(&"reply".to_owned()).await.unwrap();
        server.set_down(true);
        assert!(two.claim("refused").await.is_err());
        server.set_down(false);
        pass(2 * SECOND).await;
        assert_eq!(
            (one.stats().local.released, two.stats().local.released),
            (0, 0)
        );

        drop(fresh(&two, "dropped").await);
        pass(SECOND).await;
        fresh(&two, "released").await.release().await.unwrap();
        assert_eq!(two.stats().local.released, 2);
        let late = fresh(&two, "late").await;
        server.expire("late");
        assert!(late.commit(String::new()).await.is_err());
        assert_eq!(
            (two.stats().late_commits, two.stats().local.released),
            (1, 2)
        );
    });
}

#[test]
fn claim_of_this_instance_is_awaited_without_the_server() {
    in_virtual_time(async {
        let server = Fake::default();
        let map = server.map().build().await.unwrap();
        for is_committed in [true, false] {
            let id = format!("{is_committed}");
            let ticket = fresh(&map, &id).await;
            let before = server.claims();
            let waiting = wait(&map, &id, 10);
            pass(LEASE / 2).await;
            assert_eq!(server.claims(), before);
            if is_committed {
                ticket.commit(&"reply".to_owned()).await.unwrap();
                for caller in waiting {
                    let (answer, tier) = caller.await.unwrap();
                    assert!(matches!(answer, Claim::Duplicate { .. }), "{answer:?}");
                    assert_eq!(tier, Tier::Local);
                }
                assert_eq!(server.claims(), before);
            } else {
                drop(ticket);
                for caller in waiting {
                    let (answer, tier) = caller.await.unwrap();
                    // Each one drops its ticket, and so lets the next one ask: once, because the
                    // server knows of the release by then.
                    assert!(matches!(answer, Claim::Fresh(_)), "{answer:?}");
                    assert_eq!(tier, Tier::Shared);
                    drop(answer);
                }
                assert_eq!(server.claims() - before, 10);
            }
        }
    });
}

#[test]
fn lease_of_a_crashed_instance_is_not_overslept() {
    in_virtual_time(async {
        let server = Fake::default();
        let lease = Duration::from_millis(103);
        let one = server.map().lease(lease).build().await.unwrap();
        let two = server.map().build().await.unwrap();
        let ticket = fresh(&one, "id").await;
        let before = server.claims();
        let start = Instant::now();
        let waiting = wait(&two, "id", 1);
        // At 0, 5, 15, 35 and 75 ms, and when the lease has ended.
        for caller in waiting {
            let (answer, _) = caller.await.unwrap();
            assert!(matches!(answer, Claim::Fresh(_)), "{answer:?}");
            assert_eq!(server.claims() - before, 6);
            assert_eq!(start.elapsed(), lease + Duration::from_millis(1));
        }
        assert!(ticket.commit(String::new()).await.is_err());
    });
}

#[test]
fn cancelled_caller_passes_its_place_on() {
    in_virtual_time(async {
        let server = Fake::default();
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        let ticket = fresh(&one, "id").await;
        let mut waiting = wait(&two, "id", 3);
        pass(SECOND).await;
        // The first asks, the second has only waited.
        for at in [0, 0] {
            waiting.remove(at).abort();
        }
        pass(SECOND).await;
        assert_eq!(two.stats().local.waiting, 1);
        let before = server.claims();
        pass(SECOND).await;
        assert!(server.claims() > before, "the third asks");
        ticket.release().await.unwrap();
        let (answer, _) = waiting.remove(0).await.unwrap();
        assert!(matches!(answer, Claim::Fresh(_)), "{answer:?}");
    });
}

#[test]
fn cancelled_callers_leave_nothing_behind() {
    in_virtual_time(async {
        let server = Fake::default();
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        let ticket = fresh(&one, "id").await;
        for round in 0..50 {
            let waiting = wait(&two, "id", 20);
            pass(Duration::from_millis(round)).await;
            waiting.iter().for_each(JoinHandle::abort);
            pass(Duration::from_millis(1)).await;
            let stats = two.stats().local;
            assert_eq!((stats.waiting, stats.in_flight), (0, 0));
        }
        let before = server.calls();
        pass(LEASE / 2).await;
        assert_eq!(server.calls(), before, "no task is left");
        ticket.commit(String::new()).await.unwrap();
    });
}

#[test]
fn callers_beyond_max_waiting_return_full() {
    in_virtual_time(async {
        let server = Fake::default();
        let local = DedupMap::<[u8], String>::builder().max_entries(10);
        let one = server.map().build().await.unwrap();
        let two = server
            .map()
            .local(local.max_waiting(2))
            .build()
            .await
            .unwrap();
        let ticket = fresh(&one, "id").await;
        let other = fresh(&one, "other").await;
        let waiting = wait(&two, "id", 2);
        pass(SECOND).await;
        for id in ["id", "other"] {
            let answer = two.claim_wait(id).await.unwrap().answer;
            assert!(matches!(answer, Claim::Full), "{answer:?}");
        }
        assert_eq!(two.stats().local.waits_rejected, 2);
        assert_eq!(two.stats().local.in_flight, 1);
        drop((ticket, other));
        for caller in waiting {
            let (answer, _) = caller.await.unwrap();
            assert!(matches!(answer, Claim::Fresh(_)), "{answer:?}");
        }
    });
}

#[test]
fn caller_whose_server_fails_decides_once_per_instance() {
    in_virtual_time(async {
        let server = Fake::default();
        let one = server.map().build().await.unwrap();
        let two = server.map().build().await.unwrap();
        let refusing = server.map().when_unavailable(Unavailable::Refuse);
        let refusing = refusing.build().await.unwrap();
        let ticket = fresh(&one, "id").await;
        let waiting = wait(&two, "id", 5);
        let refused = tokio::spawn(async move { refusing.claim_wait("id").await.is_err() });
        pass(SECOND).await;
        server.set_down(true);
        assert!(refused.await.unwrap());
        let mut handled = 0;
        for caller in waiting {
            let (answer, tier) = caller.await.unwrap();
            assert_eq!(tier, Tier::Local);
            match answer {
                Claim::Fresh(ticket) => {
                    handled += 1;
                    assert_eq!(ticket.commit(String::new()).await, Ok(Tier::Local));
                }
                Claim::Duplicate { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(handled, 1);
        assert_eq!(two.stats().degraded, 1);
        drop(ticket);
    });
}

/// A step of the model test. Numbers choose one of the callers or tickets that there are.
#[derive(Clone, Copy, Debug)]
enum Step {
    Wait {
        instance: usize,
    },
    Claim {
        instance: usize,
    },
    Cancel(usize),
    Commit(usize),
    Release(usize),
    Drop(usize),
    /// The leases end, in both tiers.
    Expire,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_usize).prop_map(|instance| Step::Wait { instance }),
        2 => (0..2_usize).prop_map(|instance| Step::Claim { instance }),
        2 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<usize>().prop_map(Step::Commit),
        2 => any::<usize>().prop_map(Step::Release),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => Just(Step::Expire),
        4 => (1..600_u64).prop_map(Step::Pass),
    ]
}

/// The promises about one id: at most one ticket within a lease, and the first value for all after
/// its commit.
struct Model {
    server: Fake,
    time: ManualClock,
    instances: Vec<Map>,
    callers: Vec<JoinHandle<Answer>>,
    /// With the number of the lease in which it was granted.
    tickets: Vec<(SharedTicket<String>, u32)>,
    lease: u32,
    committed: Option<String>,
}

impl Model {
    async fn new() -> Self {
        let (server, time) = (Fake::default(), ManualClock::new());
        let mut instances = Vec::new();
        for _instance in 0..2 {
            instances.push(server.map().clock(&time).build().await.unwrap());
        }
        Self {
            server,
            time,
            instances,
            callers: Vec::new(),
            tickets: Vec::new(),
            lease: 0,
            committed: None,
        }
    }

    fn granted(&mut self, answer: Claim<SharedTicket<String>, String>) {
        match answer {
            Claim::Fresh(ticket) => {
                assert_eq!(self.committed, None, "fresh after a commit");
                let holds = |&(_, lease): &(_, u32)| lease == self.lease;
                assert!(!self.tickets.iter().any(holds), "fresh twice in a lease");
                self.tickets.push((ticket, self.lease));
            }
            Claim::Duplicate { value, .. } => assert_eq!(self.committed, Some(value)),
            Claim::InFlight { .. } | Claim::Full => {}
        }
    }

    /// Takes the answers that the callers have.
    async fn collect(&mut self) {
        pass(Duration::from_millis(1)).await;
        let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.callers)
            .into_iter()
            .partition(JoinHandle::is_finished);
        self.callers = waiting;
        for caller in done {
            let (answer, _) = caller.await.unwrap();
            assert!(!matches!(answer, Claim::InFlight { .. } | Claim::Full));
            self.granted(answer);
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Wait { instance } => {
                let callers = wait(&self.instances[instance], "id", 1);
                self.callers.extend(callers);
            }
            Step::Claim { instance } => {
                let claim = self.instances[instance].claim("id").await.unwrap();
                self.granted(claim.answer);
            }
            Step::Cancel(at) if !self.callers.is_empty() => {
                let caller = self.callers.swap_remove(at % self.callers.len());
                caller.abort();
                // It may have ended before.
                if let Ok((answer, _)) = caller.await {
                    self.granted(answer);
                }
            }
            Step::Commit(at) if !self.tickets.is_empty() => {
                let (ticket, lease) = self.tickets.swap_remove(at % self.tickets.len());
                let value = format!("value of {lease}");
                match ticket.commit(&value).await {
                    Ok(_) => {
                        assert_eq!(lease, self.lease, "a late commit");
                        assert_eq!(self.committed.replace(value), None);
                    }
                    Err(CommitError::LeaseExpired { .. }) => assert_ne!(lease, self.lease),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Release(at) if !self.tickets.is_empty() => {
                let (ticket, _) = self.tickets.swap_remove(at % self.tickets.len());
                ticket.release().await.unwrap();
            }
            Step::Drop(at) if !self.tickets.is_empty() => {
                drop(self.tickets.swap_remove(at % self.tickets.len()));
            }
            Step::Expire if self.committed.is_none() => {
                self.lease += 1;
                self.server.expire("id");
                self.time.advance(LEASE);
            }
            Step::Pass(millis) => pass(Duration::from_millis(millis)).await,
            _ => {}
        }
        self.collect().await;
    }

    /// Releases every ticket until every caller has an answer.
    async fn finish(mut self) {
        self.tickets.clear();
        let mut rounds = 0;
        while !self.callers.is_empty() {
            // Shorter than a lease, so that no ticket expires before it is collected.
            pass(SECOND).await;
            self.collect().await;
            self.tickets.clear();
            rounds += 1;
            assert!(
                rounds < 200,
                "{} callers have no answer",
                self.callers.len()
            );
        }
        pass(SECOND).await;
        for instance in &self.instances {
            let stats = instance.stats().local;
            assert_eq!((stats.waiting, stats.in_flight), (0, 0));
        }
    }
}

#[test]
fn callers_that_wait_keep_the_promises_in_any_order() {
    let config = ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let steps = proptest::collection::vec(step(), 1..60);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        in_virtual_time(async {
            let mut model = Model::new().await;
            for step in steps {
                model.take(step).await;
            }
            model.finish().await;
        });
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
