//! Idempotent HTTP requests: a [`tower`](https://docs.rs/tower) layer that answers a retry with
//! the first response.
//!
//! A client that got no answer does not know whether its request took effect. It sends an
//! `Idempotency-Key` with the request, and the same key with each retry. [`IdempotencyLayer`] lets
//! the handler run for the first of them, stores the response, and replays it for the others. It
//! follows [draft-ietf-httpapi-idempotency-key-header-07][draft] and works with every tower
//! service: axum, hyper, tonic.
//!
//! ```
//! use axum::{Router, http::{HeaderMap, Method, request}, routing::post};
//! use leakproof::{BuildError, DedupMap};
//! use leakproof::http::IdempotencyLayer;
//! use std::time::Duration;
//!
//! /// Returns the tenant that an authentication layer outside of this one has put there.
//! fn tenant_of(request: &request::Parts) -> String {
//!     let tenant = request.headers.get("x-tenant").and_then(|tenant| tenant.to_str().ok());
//!     tenant.unwrap_or_default().to_owned()
//! }
//!
//! async fn pay() -> &'static str {
//!     "paid"
//! }
//!
//! fn app() -> Result<Router, BuildError> {
//!     let store = DedupMap::builder()
//!         .ttl(Duration::from_secs(24 * 3600))
//!         .max_entries(100_000)
//!         .build()?;
//!     let layer = IdempotencyLayer::builder(store)
//!         .scope(tenant_of) // whose key it is
//!         .required(Method::POST, "/payments") // 400 without a key
//!         .max_response_bytes(256 << 10)
//!         .max_stored_bytes(128 << 20) // 100,000 responses of about 1,100 bytes
//!         .build()?;
//!     Ok(Router::new().route("/payments", post(pay)).layer(layer))
//! }
//! # assert!(app().is_ok());
//! ```
//!
//! [draft]: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07
//!
//! | file | concept |
//! | --- | --- |
//! | `key` | the header field `Idempotency-Key` |
//! | `fingerprint` | the hash that recognises another payload |
//! | `headers` | the header fields that are replayed |
//! | `record`, `budget` | a stored response and its bytes, and the bound on their sum |
//! | `problem` | the answers of the layer itself |
//! | `body` | a body of which a part was read |
//! | `store` | what the layer needs of a store, and the two stores |
//! | `builder`, `layer`, `service` | options, the layer, and the path of a request |
//! | `stats` | the responses that were not stored, by reason |
//! | `execution` | the path of a response, from the handler to the store |

mod body;
mod budget;
mod builder;
mod execution;
mod fingerprint;
mod headers;
mod key;
mod layer;
mod problem;
mod record;
mod service;
mod stats;
mod store;

pub use body::IdempotencyBody;
pub use builder::{IdempotencyBuilder, Unscoped};
pub use execution::PassThrough;
pub use key::IdempotencyKey;
pub use layer::IdempotencyLayer;
pub use record::StoredResponse;
pub use service::IdempotencyService;
pub use stats::IdempotencyStats;
pub use store::IdempotencyStore;
