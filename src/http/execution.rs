//! The path of a response: from the handler to the store and to the client.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, response};
use http_body::Body;
use tower_service::Service;

use super::body::{Collected, IdempotencyBody, collect};
use super::fingerprint::Fingerprint;
use super::headers;
use super::layer::Shared;
use super::record::{StoredResponse, Unstored};
use super::store::IdempotencyStore;
use crate::compound_key::CompoundKey;

/// A mark that a handler puts into the extensions of a response to let its body pass as a stream.
///
/// The layer does not store the response, and does not hold it back until it is complete. A
/// response whose `Content-Type` is `text/event-stream` needs no mark. A retry is answered with
/// 409.
///
/// ```
/// use axum::{Extension, body::Body, response::IntoResponse};
/// use leakproof::http::PassThrough;
///
/// async fn export() -> impl IntoResponse {
///     let rows = Body::from("a,b\n1,2\n"); // usually a stream
///     (Extension(PassThrough), rows)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassThrough;

/// A claimed key, and what is needed to store its response.
pub(super) struct Execution<T: IdempotencyStore> {
    pub(super) shared: Arc<Shared<T>>,
    pub(super) ticket: T::Ticket,
    pub(super) key: CompoundKey,
    pub(super) fingerprint: Fingerprint,
}

impl<T: IdempotencyStore> Execution<T> {
    /// Runs the handler and stores its response, before the client gets it.
    ///
    /// Every path that does not store anything drops the ticket, which releases the key: an error
    /// of the handler, a panic in it or in its body, and a future that is dropped.
    pub(super) async fn run<S, B, R>(
        self,
        mut inner: S,
        request: Request<IdempotencyBody<B>>,
    ) -> Result<Response<IdempotencyBody<R>>, S::Error>
    where
        S: Service<Request<IdempotencyBody<B>>, Response = Response<R>>,
        B: Body,
        R: Body<Data = Bytes>,
    {
        let (mut parts, body) = inner.call(request).await?.into_parts();
        let options = &self.shared.options;
        if !(options.store_if)(&parts) {
            drop(self);
            return Ok(Response::from_parts(parts, IdempotencyBody::passed(body)));
        }
        if is_stream(&parts) {
            // The handler has run, so a retry must not run it again, even if the stream ends early.
            self.bury(&mut parts, Unstored::Streamed).await;
            return Ok(Response::from_parts(parts, IdempotencyBody::passed(body)));
        }
        let body = match collect(body, options.max_response_bytes).await {
            Collected::Whole { data, trailers } => {
                self.store(&mut parts, &data, trailers.as_ref()).await;
                IdempotencyBody::whole(data, trailers)
            }
            Collected::TooLarge(body) => {
                self.bury(&mut parts, Unstored::TooLarge).await;
                body
            }
            Collected::Failed(body) => {
                drop(self);
                body
            }
        };
        Ok(Response::from_parts(parts, body))
    }

    /// Stores a response, unless it exceeds a bound.
    async fn store(self, parts: &mut response::Parts, data: &[u8], trailers: Option<&HeaderMap>) {
        let options = &self.shared.options;
        let none = HeaderMap::new();
        let record = StoredResponse::response(
            &self.fingerprint,
            parts.status,
            headers::stored(&parts.headers, &options.replayed_headers),
            headers::stored_trailers(trailers.unwrap_or(&none)),
            data,
        );
        if record.bytes() > options.max_response_bytes {
            self.bury(parts, Unstored::TooLarge).await;
        } else if !record.charge(&self.shared.budget) {
            self.bury(parts, Unstored::NoRoom).await;
        } else {
            let shared = Arc::clone(&self.shared);
            if !self.commit(record).await {
                shared.counters.count_refused();
                mark(parts);
            }
        }
    }

    /// Stores a tombstone, and marks the response.
    async fn bury(self, parts: &mut response::Parts, reason: Unstored) {
        self.shared.counters.count(reason);
        let tombstone = StoredResponse::tombstone(&self.fingerprint, parts.status, reason);
        self.commit(tombstone).await;
        mark(parts);
    }

    async fn commit(self, record: StoredResponse) -> bool {
        let (store, key) = (&self.shared.store, &self.key);
        store.commit(self.ticket, key, record).await
    }
}

/// Marks a response that a retry will not get.
fn mark(parts: &mut response::Parts) {
    parts
        .headers
        .insert(headers::STORED, HeaderValue::from_static("false"));
}

/// Returns `true` if a response is to be sent while it is written, or is the beginning of another
/// protocol.
fn is_stream(parts: &response::Parts) -> bool {
    let content_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let content_type = content_type.and_then(|it| it.split(|&byte| byte == b';').next());
    let is_events = |it: &[u8]| it.trim_ascii().eq_ignore_ascii_case(b"text/event-stream");
    content_type.is_some_and(is_events)
        || parts.extensions.get::<PassThrough>().is_some()
        || parts.status.is_informational()
}
