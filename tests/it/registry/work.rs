//! The work of a single call is bounded, or linear in what the call removes.

use std::sync::Arc;
use std::time::Duration;

use leakproof::{Clock, Limit, ListenerRegistry, RegistryBuilder};

type Bus = ListenerRegistry<usize, u32>;

fn sized(listeners: usize) -> RegistryBuilder<usize, u32> {
    Bus::builder()
        .max_listeners(listeners)
        .max_per_topic(listeners)
}

/// Returns the shortest of several times, to exclude the scheduler.
fn shortest(mut measure: impl FnMut() -> Duration) -> Duration {
    (0..3).map(|_| measure()).min().unwrap()
}

fn time(work: impl FnOnce()) -> Duration {
    let clock = Clock::precise();
    let begun = clock.now();
    work();
    clock.now() - begun
}

/// Asserts that ten times as many listeners take less than 30 times as long.
fn assert_linear(of: impl Fn(usize) -> Duration) {
    let (few, many) = (of(3_000), of(30_000));
    assert!(
        many < 30 * few,
        "{few:?} for 3,000 and {many:?} for 30,000 listeners"
    );
}

#[test]
fn scope_end_takes_time_linear_in_its_listeners() {
    assert_linear(|listeners| {
        shortest(|| {
            let bus = sized(listeners).build().unwrap();
            let scope = bus.scope();
            for _ in 0..listeners {
                bus.listen(1).scope(&scope).on(|_| ()).unwrap().forget();
            }
            let took = time(|| drop(scope));
            assert!(bus.is_empty());
            took
        })
    });
}

#[test]
fn clear_takes_time_linear_in_the_listeners() {
    assert_linear(|listeners| {
        shortest(|| {
            let bus = sized(listeners).build().unwrap();
            for _ in 0..listeners {
                bus.on(1, |_| ()).unwrap().forget();
            }
            time(|| assert_eq!(bus.clear(), listeners))
        })
    });
}

#[test]
fn rejection_time_is_independent_of_the_owned_listeners() {
    let rejection = |listeners| {
        let bus = sized(listeners).build().unwrap();
        let owner = Arc::new(());
        for topic in 0..listeners {
            let owner = Arc::downgrade(&owner);
            bus.listen(topic).owner(&owner).on(|_| ()).unwrap().forget();
        }
        let reject = || time(|| assert!(bus.on(0, |_| ()).is_err()));
        (0..200).map(|_| reject()).min().unwrap()
    };
    let (few, many) = (rejection(1_000), rejection(50_000));
    assert!(
        many < 20 * few,
        "{few:?} with 1,000 owners, {many:?} with 50,000"
    );
}

/// Registers listeners with owners until the registry is full, and returns the owners.
fn fill(bus: &Bus, listeners: usize, topic: impl Fn(usize) -> usize) -> Vec<Arc<()>> {
    let owners: Vec<_> = (0..listeners).map(|_| Arc::new(())).collect();
    for (number, owner) in owners.iter().enumerate() {
        let listener = bus.listen(topic(number)).owner(&Arc::downgrade(owner));
        listener.on(|_| ()).unwrap().forget();
    }
    owners
}

/// Returns the number of rejections until a registration finds room.
fn rejections_until_room(bus: &Bus) -> usize {
    let mut rejections = 0;
    while bus.on(0, |_| ()).is_err() {
        rejections += 1;
        assert!(rejections < 100, "the orphan is never found");
    }
    bus.validate();
    rejections
}

#[test]
fn rejections_together_check_every_owner() {
    for orphan in [0, 63, 64, 150, 199] {
        let bus = sized(200).build().unwrap();
        let mut owners = fill(&bus, 200, |number| number);
        drop(owners.remove(orphan));
        assert_eq!(rejections_until_room(&bus), orphan / 64);
        // The next check continues behind the last one, and begins again at the end.
        drop(owners.remove(0));
        assert!(rejections_until_room(&bus) <= 3);
    }
}

#[test]
fn rejections_together_check_every_owner_of_a_topic() {
    for orphan in [0, 63, 64, 150, 199] {
        let bus = sized(200).max_listeners(1_000).build().unwrap();
        let mut owners = fill(&bus, 200, |_| 0);
        assert_eq!(bus.on(0, |_| ()).unwrap_err().limit(), Limit::MaxPerTopic);
        drop(owners.remove(orphan));
        assert!(rejections_until_room(&bus) <= 3);
    }
}
