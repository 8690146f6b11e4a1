//! `POST /payments`: pays once for each `Idempotency-Key` of an account, however often a client
//! sends the request.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use leakproof::BuildError;
use leakproof::http::{IdempotencyLayer, IdempotencyStore, StoredResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::service::Service;
use crate::store::Store;

/// An order. The last field is for trying things out.
#[derive(Deserialize)]
struct Order {
    cents: u64,
    /// Makes the payment take this long.
    #[serde(default)]
    takes_ms: u64,
}

/// Returns the number of the payment, which a real service would get from its bank.
async fn pay(Json(order): Json<Order>) -> (StatusCode, Json<Value>) {
    static PAYMENTS: AtomicU64 = AtomicU64::new(0);
    tokio::time::sleep(Duration::from_millis(order.takes_ms)).await;
    let payment = PAYMENTS.fetch_add(1, Ordering::Relaxed) + 1;
    let paid = json!({ "payment": payment, "cents": order.cents });
    (StatusCode::CREATED, Json(paid))
}

/// The route with the layer in front of it, and the end of all payments in progress, also of
/// clients that have disconnected.
type Routes = (Router<Service>, Pin<Box<dyn Future<Output = ()> + Send>>);

pub fn routes(responses: Store<StoredResponse>) -> Result<Routes, BuildError> {
    match responses {
        Store::Local(map) => idempotent(map),
        Store::Shared(shared) => idempotent(shared),
    }
}

fn idempotent<S: IdempotencyStore>(responses: S) -> Result<Routes, BuildError> {
    let layer = IdempotencyLayer::builder(responses)
        // Whose key it is. A real service takes it from a layer that has authenticated the client.
        .scope(|request| {
            let account = request.headers.get("x-account");
            let account = account.and_then(|account| account.to_str().ok());
            account.unwrap_or_default().to_owned()
        })
        .required(Method::POST, "/payments")
        .build()?;
    let route = Router::new().route("/payments", post(pay));
    let route = route.layer(layer.clone());
    Ok((route, Box::pin(async move { layer.idle().await })))
}
