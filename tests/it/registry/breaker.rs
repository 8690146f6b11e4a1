//! The breaker where calls of one listener overlap: nested, so that it is known which ends first.

use std::sync::Arc;
use std::time::Duration;

use leakproof::{CircuitBreaker, ManualClock};

use super::helpers::{Bus, both, builder};

const MINUTE: Duration = Duration::from_secs(60);
const FAILS: u32 = 2;
/// Has the handler emit [`FAILS`] before it succeeds.
const NESTS: u32 = 1;

fn nesting(bus: &Bus) {
    let weak = bus.downgrade();
    let handler = move |&event: &u32| {
        if event == NESTS {
            assert_eq!(
                weak.upgrade()
                    .expect("it emits")
                    .emit("topic", &FAILS)
                    .unwrap()
                    .failed,
                1
            );
        }
        event != FAILS
    };
    bus.on("topic", handler).expect("room").forget();
}

#[test]
fn a_success_that_ends_after_a_failure_ends_the_row() {
    for followers in [0, 1] {
        both(|make_calm| {
            let bus = builder()
                .circuit_breaker(CircuitBreaker {
                    failures: 2,
                    retry_after: None,
                })
                .build()
                .expect("sound limits");
            nesting(&bus);
            for _ in 0..followers {
                bus.on("topic", |_| ()).expect("room").forget();
            }
            make_calm(&bus);
            for _ in 0..3 {
                bus.emit("topic", &NESTS).unwrap();
                assert_eq!((bus.len(), bus.listeners()[0].failures), (1 + followers, 0));
            }
            bus.validate();
        });
    }
}

#[test]
fn only_a_probe_ends_a_silence() {
    both(|make_calm| {
        let time = ManualClock::new();
        let builder = builder().clock(&time).circuit_breaker(CircuitBreaker {
            failures: 2,
            retry_after: Some(MINUTE),
        });
        let bus = builder.build().expect("sound limits");
        nesting(&bus);
        make_calm(&bus);
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
    });
}
