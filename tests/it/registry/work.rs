//! Registrations without room find every dead listener, a bounded number at a time.

use std::sync::Arc;

use leakproof::{Limit, ListenerRegistry, RegistryBuilder};

type Bus = ListenerRegistry<usize, u32>;

fn sized(listeners: usize) -> RegistryBuilder<usize, u32> {
    Bus::builder()
        .max_listeners(listeners)
        .max_per_topic(listeners)
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
        // The first rejection has checked the first 64.
        assert_eq!(rejections_until_room(&bus), (orphan + 200 - 64) % 200 / 64);
    }
}
