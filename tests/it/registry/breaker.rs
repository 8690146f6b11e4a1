//! The circuit breaker of a listener, also if its calls overlap in nested emits.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use leakproof::{CircuitBreaker, ManualClock};

use super::helpers::{Bus, MINUTE, builder};

const FAILS: u32 = 2;

/// Has the handler emit [`FAILS`] before it succeeds.
const NESTS: u32 = 1;

fn nesting(bus: &Bus) {
    let weak = bus.downgrade();
    let handler = move |&event: &u32| {
        if event == NESTS {
            assert_eq!(
                weak.upgrade()
                    .unwrap()
                    .emit("topic", &FAILS)
                    .unwrap()
                    .failed,
                1
            );
        }
        event != FAILS
    };
    bus.on("topic", handler).unwrap().forget();
}

#[test]
fn success_that_ends_after_a_failure_resets_the_count() {
    for followers in [0, 1] {
        let bus = builder()
            .circuit_breaker(CircuitBreaker {
                failures: 2,
                retry_after: None,
            })
            .build()
            .unwrap();
        nesting(&bus);
        for _ in 0..followers {
            bus.on("topic", |_| ()).unwrap().forget();
        }
        for _ in 0..3 {
            bus.emit("topic", &NESTS).unwrap();
            assert_eq!((bus.len(), bus.listeners()[0].failures), (1 + followers, 0));
        }
        bus.validate();
    }
}

#[test]
fn only_a_probe_closes_an_open_breaker() {
    let time = ManualClock::new();
    let builder = builder().clock(&time).circuit_breaker(CircuitBreaker {
        failures: 2,
        retry_after: Some(MINUTE),
    });
    let bus = builder.build().unwrap();
    nesting(&bus);
    assert_eq!(bus.emit("topic", &FAILS).unwrap().failed, 1);
    // It has failed once; the nested call silences it, and the one around that succeeds.
    assert_eq!(
        (
            bus.emit("topic", &NESTS).unwrap().called,
            bus.stats().open_breakers
        ),
        (1, 1)
    );
    assert_eq!(bus.emit("topic", &0).unwrap().called, 0);
    time.advance(MINUTE);
    assert_eq!(
        (
            bus.emit("topic", &0).unwrap().called,
            bus.stats().open_breakers
        ),
        (1, 0)
    );
    assert_eq!(bus.listeners()[0].failures, 0);
    bus.validate();
    assert_eq!(Arc::strong_count(&bus.listeners()[0].topic), 2);
}

#[test]
fn open_breaker_skips_until_a_probe_succeeds() {
    let time = ManualClock::new();
    let breaker = CircuitBreaker {
        failures: 2,
        retry_after: Some(MINUTE),
    };
    let bus = builder()
        .clock(&time)
        .circuit_breaker(breaker)
        .build()
        .unwrap();
    let guard = bus.on("topic", |&event| event != 2).unwrap();
    let other = bus.on("topic", |_| ()).unwrap();
    let called = |event: u32| {
        let emitted = bus.emit("topic", &event).unwrap();
        bus.validate();
        (emitted.called, emitted.failed, emitted.skipped)
    };
    assert_eq!([called(2), called(2)], [(2, 1, 0); 2]);
    assert!(bus.listeners()[0].breaker_open);
    assert_eq!(called(1), (1, 0, 1), "open");
    time.advance(MINUTE);
    assert_eq!(called(2), (2, 1, 0), "the probe fails");
    assert_eq!(called(1), (1, 0, 1), "open again");
    time.advance(MINUTE - Duration::from_nanos(1));
    assert_eq!(called(1), (1, 0, 1));
    time.advance(Duration::from_nanos(1));
    assert_eq!(called(1), (2, 0, 0), "the probe succeeds");
    assert_eq!(
        [called(2), called(1), called(2)],
        [(2, 1, 0), (2, 0, 0), (2, 1, 0)],
        "failures count from nothing"
    );
    assert!(guard.is_attached() && !bus.listeners()[0].breaker_open);
    drop(other);
}

#[test]
fn call_that_ends_late_does_not_end_a_probe_in_progress() {
    // The late call fails, or its filter refuses it after an earlier failure.
    for (failures, is_refused) in [(1, false), (2, true)] {
        late_call_during_a_probe(failures, is_refused);
    }
}

fn late_call_during_a_probe(failures: u32, is_refused: bool) {
    const LATE: u32 = 1;
    const PROBE: u32 = 2;
    let time = ManualClock::new();
    let breaker = CircuitBreaker {
        failures,
        retry_after: Some(MINUTE),
    };
    let bus = builder().clock(&time).circuit_breaker(breaker);
    let bus = bus.build().unwrap();
    // The filters of these events meet the test when they begin and before they end.
    let meetings = Arc::new([LATE, PROBE].map(|_| Barrier::new(2)));
    let meet = |event: u32| meetings[event as usize - 1].wait();
    let in_filter = Arc::clone(&meetings);
    let filter = move |&event: &u32| {
        if let Some(index) = event.checked_sub(1) {
            in_filter[index as usize].wait();
            in_filter[index as usize].wait();
        }
        event != LATE || !is_refused
    };
    let listen = bus.listen("topic").filter(filter);
    listen.on(|&event| event == PROBE).unwrap().forget();
    let fail = || assert_eq!(bus.emit("topic", &0).unwrap().failed, 1);
    (1..failures).for_each(|_| fail());
    thread::scope(|scope| {
        let late = scope.spawn(|| bus.emit("topic", &LATE).unwrap());
        meet(LATE);
        fail();
        time.advance(MINUTE);
        let probe = scope.spawn(|| bus.emit("topic", &PROBE).unwrap());
        meet(PROBE);
        meet(LATE);
        let late = late.join().unwrap();
        assert_eq!(
            (late.failed, late.skipped),
            if is_refused { (0, 1) } else { (1, 0) }
        );
        time.advance(MINUTE);
        let skipped = bus.emit("topic", &0).unwrap().skipped;
        meet(PROBE);
        assert_eq!(probe.join().unwrap().called, 1);
        assert_eq!(skipped, 1);
    });
    assert_eq!(bus.stats().open_breakers, 0);
}

#[test]
fn refused_call_does_not_end_a_row_of_failures() {
    let bus = builder().build().unwrap();
    let weak = bus.downgrade();
    let filtered = bus.listen("topic").filter(move |&event| {
        if event == NESTS {
            let bus = weak.upgrade().unwrap();
            assert_eq!(bus.emit("topic", &FAILS).unwrap().failed, 1);
        }
        event != NESTS
    });
    let guard = filtered.on(|&event| event != FAILS).unwrap();
    assert_eq!(bus.emit("topic", &NESTS).unwrap().skipped, 1);
    assert_eq!(bus.listeners()[0].failures, 1);
    assert_eq!(bus.emit("topic", &0).unwrap().called, 1);
    assert_eq!(bus.listeners()[0].failures, 0);
    drop(guard);
}

#[test]
fn probe_that_the_filter_refuses_is_repeated() {
    const REFUSED: u32 = 3;
    let time = ManualClock::new();
    let builder = builder().clock(&time).circuit_breaker(CircuitBreaker {
        failures: 1,
        retry_after: Some(MINUTE),
    });
    let bus = builder.build().unwrap();
    let filtered = bus.listen("topic").filter(|&event| event != REFUSED);
    let guard = filtered.on(|&event| event != FAILS).unwrap();
    assert_eq!(bus.emit("topic", &FAILS).unwrap().failed, 1);
    time.advance(MINUTE);
    assert_eq!(bus.emit("topic", &REFUSED).unwrap().called, 0);
    assert_eq!(bus.emit("topic", &0).unwrap().called, 1, "the next probe");
    assert_eq!(bus.stats().open_breakers, 0);
    drop(guard);
}
