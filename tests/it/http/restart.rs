//! Responses that survive a restart, in a journal.

use std::fs;
use std::path::Path;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use leakproof::DedupMap;
use leakproof::http::IdempotencyLayer;
use leakproof::persist::{Journal, Sync};

use super::server::{Client, HOUR, Runs, Store, Version, payment, run, serve, tenant};

fn store(folder: &Path) -> Store {
    let journal = Journal::open(folder).expect("the folder is writable");
    let builder = DedupMap::builder().ttl(HOUR).max_entries(1_000);
    let store = builder.journal(journal.sync(Sync::Always)).build();
    store.expect("the journal is whole")
}

#[test]
fn retry_after_a_restart_gets_the_stored_response() {
    let folder = std::env::temp_dir().join(format!("leakproof-http-{}", std::process::id()));
    let runs = Runs::default();
    for is_replayed in [false, true] {
        // The runtime of `run` ends the server, which drops the store.
        run(async {
            let handler =
                |State(runs): State<Runs>| async move { format!("payment {}", runs.begin()) };
            let app = Router::new()
                .route("/payments", post(handler))
                .with_state(runs.clone());
            let layer = IdempotencyLayer::builder(store(&folder))
                .scope(tenant)
                .build();
            let layer = layer.expect("valid options");
            // Restored responses count for the bound.
            assert_eq!(layer.stored_bytes() > 0, is_replayed);
            let mut client = Client::connect(serve(app.layer(layer)).await, Version::Http1).await;
            let answer = client.send(payment("a", "")).await;
            assert_eq!(
                (answer.text(), answer.is_replayed()),
                ("payment 1", is_replayed)
            );
        });
    }
    fs::remove_dir_all(&folder).expect("it exists");
}
