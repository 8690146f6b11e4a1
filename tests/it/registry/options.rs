//! The options of a listener: call limit, key, scope, owner, filter and ttl.

use std::sync::{Arc, Mutex, PoisonError};

use leakproof::{ManualClock, Scope, Subscription};

use super::helpers::{
    Bus, Count, HOUR, Log, MINUTE, builder, bus, captured, later, put, take, timed,
};

#[test]
fn emit_to_stops_when_its_generation_ends() {
    for behind in [0, 1, 3] {
        let (bus, scope, count) = (bus(), later(), Count::default());
        let own = Arc::clone(&scope);
        let ends = move |&event: &u32| {
            if event == 1 {
                drop::<Option<Scope>>(take(&own));
            }
        };
        bus.on("topic", ends).unwrap().forget();
        for _ in 0..behind {
            let count = count.clone();
            bus.on("topic", move |_| count.up()).unwrap().forget();
        }
        // A listener for which the emit consults the table.
        let paused = bus.on("topic", |_| ()).unwrap();
        paused.pause();
        let opened = bus.scope();
        let generation = opened.generation();
        put(&scope, opened);
        count.take();
        assert_eq!(bus.emit_to(&generation, "topic", &1).unwrap().called, 1);
        assert_eq!(count.get(), 0);
    }
}

#[test]
fn filter_that_drops_the_owner_prevents_the_call() {
    let (bus, owner) = (bus(), Arc::new(()));
    let (weak, own) = (Arc::downgrade(&owner), later());
    put(&own, owner);
    let filter = move |&event: &u32| {
        if event == 1 {
            drop::<Option<Arc<()>>>(take(&own));
        }
        true
    };
    bus.listen("topic")
        .owner(&weak)
        .filter(filter)
        .on(|_| ())
        .unwrap()
        .forget();
    assert_eq!(
        (
            bus.emit("topic", &1).unwrap().called,
            bus.len(),
            bus.stats().owner_dropped
        ),
        (0, 0, 1)
    );
}

#[test]
fn max_calls_holds_in_nested_emits() {
    let (bus, count) = (bus(), Count::default());
    let other = bus.on("topic", |_| ());
    let (weak, counting) = (bus.downgrade(), count.clone());
    let guard = bus.listen("topic").max_calls(3).on(move |_| {
        counting.up();
        weak.upgrade().unwrap().emit("topic", &1).unwrap();
    });
    bus.emit("topic", &1).unwrap();
    bus.emit("topic", &1).unwrap();
    assert_eq!(count.get(), 3);
    assert!(!guard.unwrap().is_attached());
    assert_eq!(bus.stats().call_limit_reached, 1);
    drop(other);
}

#[test]
fn last_call_may_register_its_successor() {
    let bus = Bus::builder().max_per_topic(1).build().unwrap();
    let (weak, count) = (bus.downgrade(), Count::default());
    fn again(bus: &Bus, weak: leakproof::WeakRegistry<&'static str, u32>, count: Count) {
        let once = bus.once("topic", move |_| {
            count.up();
            again(&weak.upgrade().unwrap(), weak.clone(), count.clone());
        });
        drop(once.unwrap());
    }
    again(&bus, weak, count.clone());
    (0..5).for_each(|event| assert_eq!(bus.emit("topic", &event).unwrap().called, 1));
    assert_eq!((count.get(), bus.len()), (5, 1));
}

#[test]
fn key_replaces_a_listener_in_a_full_registry() {
    let bus = Bus::builder()
        .max_listeners(2)
        .max_per_topic(2)
        .build()
        .unwrap();
    let count = Count::default();
    let (old, is_dropped) = captured();
    let stale = bus
        .listen("topic")
        .key("save")
        .on(move |_| drop(Arc::clone(&old)))
        .unwrap();
    let other = bus.on("topic", |_| ());
    let counting = count.clone();
    let new = bus
        .listen("topic")
        .key("save")
        .on(move |_| counting.up())
        .unwrap();
    assert!(is_dropped() && !stale.is_attached());
    assert_eq!((bus.len(), bus.stats().replaced), (2, 1));
    assert!(
        !stale.pause() && !stale.detach(),
        "a stale guard does nothing"
    );
    assert!(new.is_attached());
    bus.emit("topic", &1).unwrap();
    assert_eq!(count.get(), 1);
    let elsewhere = bus.listen("elsewhere").key("save").on(|_| ());
    assert!(elsewhere.is_err(), "another topic has its own keys");
    drop((other, new));
}

#[test]
fn registration_for_an_ended_scope_is_detached() {
    let log = Log::default();
    let reported = log.clone();
    let bus = builder()
        .on_removal(move |_, cause| reported.push(cause))
        .build()
        .unwrap();
    let connection = bus.scope();
    let late = bus.listen("topic").scope(&connection);
    connection.renew();
    let (value, is_dropped) = captured();
    let other = bus.on("topic", |_| ()).unwrap();
    let guard = late.on(move |_| drop(Arc::clone(&value))).unwrap();
    assert!(!guard.is_attached() && is_dropped());
    assert_eq!(log.take(), ["scope ended"]);
    assert_eq!((bus.stats().inserted, bus.stats().scope_ended), (2, 1));
    assert!(guard.id() > other.id(), "it has an id of its own");
    assert!(!guard.detach() && other.is_attached());
    bus.validate();
}

#[test]
fn scope_of_another_registry_has_ended_for_this_one() {
    let (bus, other) = (builder().build().unwrap(), bus());
    let scope = other.scope();
    let guard = bus.listen("topic").scope(&scope).on(|_| ()).unwrap();
    assert!(!guard.is_attached());
    assert_eq!(bus.stats().scope_ended, 1);
    bus.on("topic", |_| ()).unwrap().forget();
    let generation = scope.generation();
    assert_eq!(bus.emit_to(&generation, "topic", &1).unwrap().called, 0);
}

#[test]
fn guards_and_scopes_do_not_keep_a_registry_alive() {
    let (bus, (value, is_dropped)) = (bus(), captured());
    let (guard, scope, weak) = (
        bus.on("topic", move |_| drop(Arc::clone(&value))),
        bus.scope(),
        bus.downgrade(),
    );
    let guard = guard.unwrap();
    drop(bus);
    assert!(is_dropped() && weak.upgrade().is_none());
    assert!(!guard.is_attached() && !guard.pause() && !guard.resume());
    assert_eq!(scope.detach_all(), 0);
    scope.renew();
    assert!(!guard.detach());
}

#[test]
fn registry_ttl_bounds_the_ttl_of_a_listener() {
    let time = ManualClock::new();
    let bus = builder().clock(&time).ttl(HOUR).build().unwrap();
    bus.on("topic", |_| ()).unwrap().forget();
    bus.listen("topic").ttl(MINUTE).on(|_| ()).unwrap().forget();
    bus.listen("topic")
        .ttl(2 * HOUR)
        .on(|_| ())
        .unwrap()
        .forget();
    time.advance(MINUTE);
    assert_eq!((bus.emit("topic", &1).unwrap().called, bus.len()), (2, 2));
    assert_eq!(bus.stats().oldest_entry_age, Some(MINUTE));
    time.advance(HOUR - MINUTE);
    assert_eq!((bus.len(), bus.emit("topic", &1).unwrap().called), (0, 0));
    assert_eq!(bus.stats().ttl, Some(HOUR));
}

#[test]
fn emit_to_reaches_its_generation_and_unscoped_listeners() {
    let bus = builder().build().unwrap();
    let [first, second] = [bus.scope(), bus.scope()];
    let counts = [(); 3].map(|()| Count::default());
    for (count, scope) in counts.iter().zip([Some(&first), None, Some(&second)]) {
        let (count, listen) = (count.clone(), bus.listen("topic"));
        let listen = if let Some(scope) = scope {
            listen.scope(scope)
        } else {
            listen
        };
        listen.on(move |_| count.up()).unwrap().forget();
    }
    let generation = first.generation();
    let emitted = bus.emit_to(&generation, "topic", &1).unwrap();
    assert_eq!((emitted.called, emitted.skipped), (2, 0));
    assert_eq!(counts.each_ref().map(Count::take), [1, 1, 0]);
    first.renew();
    assert_eq!(bus.emit_to(&generation, "topic", &1).unwrap().called, 0);
    assert_eq!(
        bus.emit_to(&first.generation(), "topic", &1)
            .unwrap()
            .called,
        1
    );
    assert_eq!(
        bus.emit_to(&second.generation(), "topic", &1)
            .unwrap()
            .called,
        2
    );
    let calls: Vec<u64> = bus.listeners().iter().map(|info| info.calls).collect();
    assert_eq!(calls, [3, 1]);
    bus.validate();
}

#[test]
fn filtered_events_do_not_count_as_calls() {
    let bus = builder().build().unwrap();
    let odd = bus
        .listen("topic")
        .filter(|&event| event % 2 == 1)
        .max_calls(200)
        .on(|_| ())
        .unwrap();
    let all = bus.on("topic", |_| ()).unwrap();
    assert_eq!(
        (
            bus.emit("topic", &2).unwrap().called,
            bus.emit("topic", &3).unwrap().called
        ),
        (1, 2)
    );
    let infos = bus.listeners();
    assert_eq!((infos[0].calls, infos[1].calls), (1, 2));
    drop((odd, all));
}

#[test]
fn filter_that_detaches_its_listener_prevents_the_call() {
    let (bus, count) = (builder().build().unwrap(), Count::default());
    let own = Arc::new(Mutex::new(None::<Subscription>));
    let guard = {
        let (own, count) = (Arc::clone(&own), count.clone());
        let filter = move |_: &u32| {
            drop(own.lock().unwrap_or_else(PoisonError::into_inner).take());
            true
        };
        bus.listen("topic")
            .filter(filter)
            .on(move |_| count.up())
            .unwrap()
    };
    *own.lock().unwrap() = Some(guard);
    assert_eq!(
        (
            bus.emit("topic", &1).unwrap().skipped,
            count.get(),
            bus.len()
        ),
        (1, 0, 0)
    );
}

#[test]
fn listener_info_reports_every_option() {
    let time = ManualClock::new();
    let bus = timed(&time);
    let line = std::panic::Location::caller().line() + 6;
    let guard = bus
        .listen("topic")
        .label("audit")
        .key("key")
        .priority(3)
        .on(|_| false)
        .unwrap();
    time.advance(MINUTE);
    bus.emit("topic", &1).unwrap();
    assert!(guard.pause());
    let [info] = &bus.listeners()[..] else {
        panic!("one listener")
    };
    assert_eq!(
        (
            info.id,
            *info.topic,
            info.label.as_deref(),
            info.key.as_deref()
        ),
        (guard.id(), "topic", Some("audit"), Some("key"))
    );
    assert_eq!(
        (info.priority, info.age, info.calls, info.failures),
        (3, MINUTE, 1, 1)
    );
    assert_eq!(
        (info.location.file(), info.location.line()),
        (file!(), line)
    );
    assert!(info.paused && !info.breaker_open);
    assert_eq!(bus.emit("topic", &1).unwrap().skipped, 1);
    assert_eq!(
        bus.stats().to_string(),
        "1 of 1000 listeners (0.1%), oldest 1 min 0 s, 1 inserted, 2 emitted, 1 calls, \
         1 failures, 1 skipped"
    );
}

#[test]
fn stats_count_the_emits_and_calls_of_emit_to() {
    let bus = bus();
    let [first, second] = [bus.scope(), bus.scope()];
    for scope in [&first, &second] {
        bus.listen("topic")
            .scope(scope)
            .on(|_| ())
            .unwrap()
            .forget();
    }
    let generation = first.generation();
    bus.emit_to(&generation, "topic", &1).unwrap();
    first.renew();
    bus.emit_to(&generation, "topic", &1).unwrap();
    let stats = bus.stats();
    assert_eq!((stats.emitted, stats.calls), (2, 1));
}

#[test]
fn listener_count_excludes_expired_listeners() {
    let time = ManualClock::new();
    let bus = timed(&time);
    for ttl in [MINUTE, HOUR, HOUR] {
        bus.listen("topic").ttl(ttl).on(|_| ()).unwrap().forget();
    }
    time.advance(MINUTE);
    assert_eq!(bus.listener_count("topic"), 2);
}
