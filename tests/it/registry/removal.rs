//! Every cause of removal is counted, reported to the callback once, and drops the captures.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leakproof::{
    CircuitBreaker, ManualClock, Overflow, RegistryStats, RemovalCause, Subscription, Sweeper,
};

use super::helpers::{Bus, HOUR, Log, builder};

struct Setup {
    bus: Bus,
    time: ManualClock,
    removals: Log,
    /// Each handler holds a clone.
    captures: Arc<()>,
}

fn setup() -> Setup {
    let (time, removals) = (ManualClock::new(), Log::default());
    let reported = removals.clone();
    let bus = builder()
        .clock(&time)
        .max_per_topic(4)
        .overflow(Overflow::EvictOldest)
        .circuit_breaker(CircuitBreaker {
            failures: 2,
            retry_after: None,
        })
        .on_removal(move |info, cause| {
            reported.push(format!("{}: {cause}", info.label.as_deref().unwrap_or("?")));
        })
        .build()
        .unwrap();
    bus.listen("topic")
        .label("other")
        .priority(1)
        .on(|_| ())
        .unwrap()
        .forget();
    Setup {
        bus,
        time,
        removals,
        captures: Arc::new(()),
    }
}

impl Setup {
    fn handler(&self) -> impl Fn(&u32) -> bool + Send + Sync + 'static + use<> {
        let captured = Arc::clone(&self.captures);
        // 2 is the event that fails.
        move |&event| event != 2 && Arc::strong_count(&captured) > 0
    }

    fn on(&self) -> Subscription {
        self.bus
            .listen("topic")
            .label("it")
            .on(self.handler())
            .unwrap()
    }
}

/// Removes a listener by `remove`, and checks what is counted, reported and dropped.
fn assert_removes(cause: RemovalCause, remove: impl Fn(&Setup)) {
    let setup = setup();
    remove(&setup);
    assert_eq!(setup.removals.take(), [format!("it: {cause}")]);
    assert_eq!(
        Arc::strong_count(&setup.captures),
        1,
        "the captures are dropped"
    );
    assert_eq!(count_of(&setup.bus.stats(), cause), 1);
    setup.bus.validate();
    let remaining = setup.bus.len();
    setup.bus.clear();
    assert_eq!(
        setup.bus.stats().removed as usize,
        remaining + usize::from(cause == RemovalCause::Removed)
    );
}

fn count_of(stats: &RegistryStats, cause: RemovalCause) -> u64 {
    let all = [
        (RemovalCause::Expired, stats.expired),
        (RemovalCause::Evicted, stats.evicted),
        (RemovalCause::Replaced, stats.replaced),
        (RemovalCause::Removed, stats.removed),
        (RemovalCause::ScopeEnded, stats.scope_ended),
        (RemovalCause::OwnerDropped, stats.owner_dropped),
        (RemovalCause::CallLimitReached, stats.call_limit_reached),
        (RemovalCause::Failed, stats.failed),
    ];
    let others: u64 = all
        .iter()
        .filter(|(other, _)| *other != cause)
        .map(|(_, count)| count)
        .sum();
    assert_eq!(others, 0, "no other cause");
    all.iter().find(|(it, _)| *it == cause).unwrap().1
}

#[test]
fn guard_drop_removes() {
    assert_removes(RemovalCause::Removed, |it| drop(it.on()));
}

#[test]
fn detach_by_guard_removes() {
    assert_removes(RemovalCause::Removed, |it| assert!(it.on().detach()));
}

#[test]
fn detach_by_id_removes() {
    assert_removes(RemovalCause::Removed, |it| {
        let id = it.on().forget();
        assert!(it.bus.detach(id) && !it.bus.detach(id));
    });
}

#[test]
fn detach_and_wait_removes() {
    assert_removes(RemovalCause::Removed, |it| {
        assert_eq!(it.on().detach_and_wait(HOUR), Ok(()));
    });
}

#[test]
fn clear_removes_in_registration_order() {
    let it = setup();
    it.on().forget();
    assert_eq!(it.bus.clear(), 2);
    assert_eq!(it.removals.take(), ["other: removed", "it: removed"]);
    assert_eq!(Arc::strong_count(&it.captures), 1);
}

#[test]
fn scope_end_removes() {
    let scoped = |it: &Setup| {
        let scope = it.bus.scope();
        // Dropping the guard does not detach a listener with a scope.
        drop(
            it.bus
                .listen("topic")
                .label("it")
                .scope(&scope)
                .on(it.handler())
                .unwrap(),
        );
        assert_eq!(it.bus.len(), 2);
        scope
    };
    assert_removes(RemovalCause::ScopeEnded, |it| drop(scoped(it)));
    assert_removes(RemovalCause::ScopeEnded, |it| {
        let scope = scoped(it);
        assert_ne!(scope.generation(), scope.renew());
    });
    assert_removes(RemovalCause::ScopeEnded, |it| {
        assert_eq!(scoped(it).detach_all(), 1);
    });
}

#[test]
fn emit_removes_a_listener_without_owner() {
    assert_removes(RemovalCause::OwnerDropped, |it| {
        let owner = Arc::new(Mutex::new(7));
        drop(
            it.bus
                .listen("topic")
                .label("it")
                .owner(&Arc::downgrade(&owner))
                .on(it.handler())
                .unwrap(),
        );
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 2);
        drop(owner);
        let emitted = it.bus.emit("topic", &1).unwrap();
        assert_eq!((emitted.called, emitted.skipped), (1, 1));
    });
}

#[test]
fn sweep_removes_a_listener_without_owner() {
    assert_removes(RemovalCause::OwnerDropped, |it| {
        let owner: Arc<dyn Send + Sync> = Arc::new(());
        it.bus
            .listen("topic")
            .label("it")
            .owner(&Arc::downgrade(&owner))
            .on(it.handler())
            .unwrap()
            .forget();
        assert_eq!(it.bus.sweep(), 0);
        drop(owner);
        assert_eq!(it.bus.sweep(), 1);
    });
}

#[test]
fn last_call_removes() {
    assert_removes(RemovalCause::CallLimitReached, |it| {
        drop(
            it.bus
                .listen("topic")
                .label("it")
                .max_calls(2)
                .on(it.handler())
                .unwrap(),
        );
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 2);
        assert_eq!(
            it.bus.emit("topic", &2).unwrap().failed,
            1,
            "a failed call counts"
        );
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 1);
    });
    assert_removes(RemovalCause::CallLimitReached, |it| {
        drop(
            it.bus
                .listen("topic")
                .label("it")
                .once(it.handler())
                .unwrap(),
        );
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 2);
    });
}

#[test]
fn emit_sweep_and_registration_remove_expired_listeners() {
    let aged = |it: &Setup| {
        it.bus
            .listen("topic")
            .label("it")
            .ttl(HOUR)
            .on(it.handler())
            .unwrap()
            .forget();
        it.time.advance(HOUR - Duration::from_nanos(1));
        assert_eq!(
            (it.bus.emit("topic", &1).unwrap().called, it.bus.sweep()),
            (2, 0)
        );
        it.time.advance(Duration::from_nanos(1));
        assert_eq!(
            (
                it.bus.len(),
                it.bus.listener_count("topic"),
                it.bus.listeners().len()
            ),
            (1, 1, 1),
            "an expired listener does not count"
        );
    };
    assert_removes(RemovalCause::Expired, |it| {
        aged(it);
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 1);
    });
    assert_removes(RemovalCause::Expired, |it| {
        aged(it);
        assert_eq!(it.bus.sweep(), 1);
    });
    assert_removes(RemovalCause::Expired, |it| {
        aged(it);
        it.bus.on("elsewhere", |_| ()).unwrap().forget();
    });
}

#[test]
fn breaker_removes_after_consecutive_failures() {
    assert_removes(RemovalCause::Failed, |it| {
        it.on().forget();
        for event in [2, 1, 2, 2] {
            assert_eq!(
                it.bus.emit("topic", &event).unwrap().called,
                2,
                "only consecutive failures count"
            );
        }
        assert_eq!(it.bus.emit("topic", &1).unwrap().called, 1);
    });
}

#[test]
fn eviction_removes_the_oldest_of_the_topic() {
    assert_removes(RemovalCause::Evicted, |it| {
        let guard = it
            .bus
            .listen("elsewhere")
            .label("it")
            .on(it.handler())
            .unwrap();
        for _ in 0..4 {
            it.bus.on("elsewhere", |_| ()).unwrap().forget();
        }
        assert!(!guard.is_attached());
    });
}

#[test]
fn key_replacement_removes() {
    assert_removes(RemovalCause::Replaced, |it| {
        it.bus
            .listen("topic")
            .label("it")
            .key("key")
            .on(it.handler())
            .unwrap()
            .forget();
        it.bus
            .listen("topic")
            .label("next")
            .key("key")
            .on(|_| ())
            .unwrap()
            .forget();
    });
}

#[test]
fn background_sweep_removes_expired_listeners() {
    let time = ManualClock::new();
    let bus = builder()
        .clock(&time)
        .ttl(HOUR)
        .sweep_every(Duration::from_millis(1))
        .build()
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let sender = Mutex::new(sender);
    bus.on("topic", move |_| drop(sender.lock()))
        .unwrap()
        .forget();
    time.advance(HOUR);
    assert_eq!(
        receiver.recv_timeout(Duration::from_secs(20)),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    );

    let (sweeper, shared) = (Sweeper::new(), bus);
    sweeper.watch("bus", &shared, HOUR);
    assert_eq!(sweeper.watched(), ["bus"]);
    assert_eq!(shared.stats().expired, 1);
}
