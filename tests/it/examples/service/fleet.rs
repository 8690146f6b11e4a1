//! Instances that share messages over Redis, and an instance that keeps them on disk.

use std::thread;

use leakproof::Clock;
use serde_json::json;

use super::{MINUTE, PATIENCE, Running, message};
use crate::redis::server::{Server, is_installed};
use crate::support::example::Folder;

#[test]
fn instances_share_messages_over_redis() {
    if !is_installed() {
        return;
    }
    let mut server = Server::start(&[]);
    let url = server.url();
    let instance = || Running::new(&[("SERVICE_REDIS_URL", &url)]);
    let (one, two) = (instance(), instance());
    let message = json!({ "chat": "a", "id": "1", "text": "hi" });
    assert_eq!(one.deliver(message.clone()).reply(), (200, 1, false));
    for running in [&two, &two, &one] {
        assert_eq!(running.deliver(message.clone()).reply(), (200, 1, true));
    }
    let slow = one.begin("slow", MINUTE);
    let again = two.deliver(json!({ "chat": "slow", "id": "slow" }));
    assert_eq!(again.status, 409);
    drop(slow);
    server.kill();
    for running in [&one, &two] {
        // Each instance decides alone, and no message is lost.
        let other = json!({ "chat": "b", "id": "2", "text": "hi" });
        assert_eq!(running.deliver(other.clone()).reply(), (200, 1, false));
        assert_eq!(running.deliver(other).reply(), (200, 1, true));
        assert_eq!(running.deliver(message.clone()).reply(), (200, 1, true));
    }
}

#[test]
fn frozen_redis_delays_no_message_and_learns_it_later() {
    if !is_installed() {
        return;
    }
    let server = Server::start(&[]);
    let url = server.url();
    let instance = || Running::new(&[("SERVICE_REDIS_URL", &url)]);
    let (one, two) = (instance(), instance());
    assert_eq!(one.deliver(message("a")).reply(), (200, 1, false));
    server.freeze();
    for _ in 0..2 {
        // The instance knows the first message, and decides alone about the second one.
        assert_eq!(one.deliver(message("a")).reply(), (200, 1, true));
        assert!(one.deliver(message("b")).status == 200);
    }
    let usage = |of: &Running| of.get("/health").json()["collections"][0]["usage"].clone();
    assert!(usage(&one)["degraded"].as_u64() > Some(0));
    server.thaw();
    let clock = Clock::precise();
    while usage(&one)["recovered"] != 1 {
        assert!(clock.now() < PATIENCE, "the server does not learn it");
        thread::yield_now();
    }
    assert_eq!(two.deliver(message("b")).reply(), (200, 2, true));
    assert_eq!(
        two.deliver(message("c")).reply(),
        (200, 1, false),
        "its first"
    );
}

#[test]
fn journal_keeps_messages_and_payments_over_a_restart() {
    let folder = Folder::new("service-journal");
    let journal = folder.path().to_str().expect("a path in UTF-8");
    let instance = || Running::new(&[("SERVICE_JOURNAL", journal)]);
    let one = instance();
    assert_eq!(one.deliver(message("a")).reply(), (200, 1, false));
    let paid = one.pay("ada", "1", 500);
    assert_eq!((paid.status, paid.is_replayed), (201, false));
    drop(one); // by SIGKILL
    let mut two = instance();
    assert_eq!(two.deliver(message("a")).reply(), (200, 1, true));
    assert_eq!(
        two.deliver(message("b")).reply(),
        (200, 1, false),
        "a new session"
    );
    let again = two.pay("ada", "1", 500);
    assert_eq!((again.status, again.is_replayed), (201, true));
    assert_eq!(again.text, paid.text);
    assert_eq!(two.stop().0, Some(0));
    assert_eq!(instance().deliver(message("b")).reply(), (200, 1, true));
}
