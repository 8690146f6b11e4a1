//! Events of a shared deduplicator.

use std::time::Duration;

use leakproof::redis::{SharedDedupSet, Tier, Unavailable};
use tracing::Level;

use super::tracing_capture::events_of;
use crate::redis::server::{Server, is_installed};

/// Uses a set before, while and after its server is down, and returns the events.
fn changes(unavailable: Unavailable) -> Vec<(Level, String)> {
    let mut server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let events = events_of(|| {
        runtime.block_on(async {
            let builder = SharedDedupSet::builder().redis(server.url());
            let builder = builder.namespace("events").ttl(Duration::from_secs(60));
            let builder = builder.when_unavailable(unavailable);
            let builder = builder.circuit_breaker(3, Duration::from_millis(20));
            let set = builder.build().await.expect("the server answers");
            set.insert("first").await.expect("the server answers");
            server.kill();
            for at in 0..10 {
                let _ = set.insert(format!("{at}")).await;
            }
            server.restart();
            for at in 10.. {
                match set.insert(format!("{at}")).await {
                    Ok(decided) if decided.tier == Tier::Shared => break,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
    });
    let shared = events
        .into_iter()
        .filter(|event| event.target == "leakproof::shared");
    shared
        .map(|event| {
            assert_eq!(event.field("namespace"), "events");
            (event.level, event.field("change").to_owned())
        })
        .collect()
}

#[test]
fn changes_of_a_shared_deduplicator_are_emitted_once() {
    if !is_installed() {
        return;
    }
    for (unavailable, change) in [
        (Unavailable::Degrade, "degraded"),
        (Unavailable::Refuse, "refused"),
    ] {
        let expected = [
            (Level::WARN, "eviction policy".to_owned()),
            (Level::WARN, change.to_owned()),
            (Level::WARN, "breaker open".to_owned()),
            (Level::INFO, "recovered".to_owned()),
        ];
        assert_eq!(changes(unavailable), expected);
    }
}
