//! `POST /payments`: pays once for each `Idempotency-Key` of an account, however often a client
//! sends the request.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{Method, StatusCode, request};
use axum::routing::post;
use axum::{Json, Router};
use leakproof::BuildError;
use leakproof::http::{IdempotencyLayer, IdempotencyStore, StoredResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::service::Service;
use crate::store::Store;

#[derive(Deserialize)]
struct Order {
    cents: u64,
}

/// Returns the number of the payment, which a real service would get from its bank.
async fn pay(Json(order): Json<Order>) -> (StatusCode, Json<Value>) {
    static PAYMENTS: AtomicU64 = AtomicU64::new(0);
    let payment = PAYMENTS.fetch_add(1, Ordering::Relaxed) + 1;
    let paid = json!({ "payment": payment, "cents": order.cents });
    (StatusCode::CREATED, Json(paid))
}

/// Returns the route with the layer in front of it.
pub(crate) fn routes(responses: Store<StoredResponse>) -> Result<Router<Service>, BuildError> {
    let route = Router::new().route("/payments", post(pay));
    Ok(match responses {
        Store::Local(map) => route.layer(idempotent(map)?),
        Store::Shared(shared) => route.layer(idempotent(shared)?),
    })
}

fn idempotent<S: IdempotencyStore>(responses: S) -> Result<IdempotencyLayer<S>, BuildError> {
    IdempotencyLayer::builder(responses)
        .scope(account_of)
        .required(Method::POST, "/payments")
        .build()
}

/// Returns whose key it is. A real service takes it from a layer that has authenticated the client.
fn account_of(request: &request::Parts) -> String {
    let account = request.headers.get("x-account");
    let account = account.and_then(|account| account.to_str().ok());
    account.unwrap_or_default().to_owned()
}
