//! `IdempotencyService`: the path of a request, up to the handler or to a stored response.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::body::{Collected, IdempotencyBody, collect};
use super::execution::Execution;
use super::fingerprint::{Fingerprint, fingerprint};
use super::headers;
use super::key::IdempotencyKey;
use super::layer::{Running, Shared};
use super::problem::Problem;
use super::record::{Content, StoredResponse};
use super::store::IdempotencyStore;
use crate::compound_key::CompoundKey;
use crate::dedup::Claim;

/// The service of an [`IdempotencyLayer`](super::IdempotencyLayer).
///
/// The inner service gets an [`IdempotencyBody`] as the body of its requests. Services of axum,
/// hyper and tonic that take any body do. For others, convert it in a layer between.
pub struct IdempotencyService<S, T> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared<T>>,
}

/// The response of a service with the body `R`.
type Outcome<R, E> = Result<Response<IdempotencyBody<R>>, E>;

impl<S, T, B, R> Service<Request<B>> for IdempotencyService<S, T>
where
    S: Service<Request<IdempotencyBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    T: IdempotencyStore,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Send,
{
    type Response = Response<IdempotencyBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Outcome<R, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Only this instance of the inner service is ready. A clone may not be.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let shared = Arc::clone(&self.shared);
        let (parts, body) = request.into_parts();
        match shared.identify(&parts) {
            Ok(Some(id)) => Box::pin(handle(shared, inner, parts, body, id)),
            Ok(None) => {
                let mut inner = inner;
                let request = Request::from_parts(parts, IdempotencyBody::passed(body));
                let response = inner.call(request);
                Box::pin(async move { Ok(response.await?.map(IdempotencyBody::passed)) })
            }
            Err(problem) => {
                let response = shared.answer(&problem);
                Box::pin(async move { Ok(response) })
            }
        }
    }
}

/// The key of a request, and the same with its scope, method and path.
struct Identity {
    key: IdempotencyKey,
    compound: CompoundKey,
}

impl<T: IdempotencyStore> Shared<T> {
    /// Returns the key of a request, or `None` if the request passes.
    fn identify(&self, request: &Parts) -> Result<Option<Identity>, Problem> {
        let options = &self.options;
        // A layer further outside handles a request that has this extension.
        if request.method.is_safe() || request.extensions.get::<IdempotencyKey>().is_some() {
            return Ok(None);
        }
        let key = IdempotencyKey::read(&request.headers, options.accepts_bare_keys);
        let path = (options.path)(request);
        let Some(key) = key.map_err(Problem::KeyInvalid)? else {
            if options.requires_key(&request.method, &path) {
                return Err(Problem::KeyMissing);
            }
            return Ok(None);
        };
        let scope = (options.scope)(request);
        // A path may be empty. The other parts are not.
        let path = format!("/{path}");
        let parts = [&scope, request.method.as_str(), &path, key.as_str()];
        match CompoundKey::new(parts) {
            Ok(compound) => Ok(Some(Identity { key, compound })),
            Err(_) => Err(Problem::ScopeMissing),
        }
    }

    pub(super) fn answer<R: Body<Data = Bytes>>(
        &self,
        problem: &Problem,
    ) -> Response<IdempotencyBody<R>> {
        problem.response(&self.options.problem_page)
    }

    /// Returns the time until the lease of a request in flight ends.
    fn remaining(&self, since: Duration) -> Duration {
        let lease = self.options.lease.unwrap_or_else(|| self.store.lease());
        lease.saturating_sub(since)
    }

    /// Returns the stored response, or the reason why there is none.
    fn replay<R: Body<Data = Bytes>>(
        &self,
        stored: &StoredResponse,
        fingerprint: &Fingerprint,
    ) -> Response<IdempotencyBody<R>> {
        let Some(record) = stored.read() else {
            return self.answer(&Problem::StoreUnavailable);
        };
        if record.fingerprint != *fingerprint {
            return self.answer(&Problem::OtherPayload);
        }
        let status = record.status;
        match record.content {
            Content::Unstored(reason) => self.answer(&Problem::NotStored { status, reason }),
            Content::Response {
                headers,
                trailers,
                body,
            } => {
                let trailers = (!trailers.is_empty()).then_some(trailers);
                let names = trailers.as_ref().map(headers::trailer);
                let body = IdempotencyBody::whole(stored.share(body), trailers);
                let mut response = Response::new(body);
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                let marks = response.headers_mut();
                marks.insert(headers::REPLAYED, HeaderValue::from_static("true"));
                if let Some(names) = names {
                    marks.insert(http::header::TRAILER, names);
                }
                response
            }
        }
    }
}

/// Handles a request with a key.
async fn handle<S, T, B, R>(
    shared: Arc<Shared<T>>,
    inner: S,
    mut parts: Parts,
    body: B,
    id: Identity,
) -> Outcome<R, S::Error>
where
    S: Service<Request<IdempotencyBody<B>>, Response = Response<R>> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    T: IdempotencyStore,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Send,
{
    let options = &shared.options;
    // Nothing is claimed before the whole body is there, so a client that disconnects or sends too
    // much leaves nothing behind.
    let max = options.max_request_bytes;
    let (data, trailers) = match collect(body, max).await {
        Collected::Whole { data, trailers } => (data, trailers),
        Collected::TooLarge(_) => return Ok(shared.answer(&Problem::BodyTooLarge { max })),
        Collected::Failed(_) => return Ok(shared.answer(&Problem::BodyUnreadable)),
    };
    let fingerprint = fingerprint(&parts, &options.fingerprint_headers, &data);
    let ticket = match shared.store.claim(&id.compound, options.wait).await {
        Ok(Claim::Fresh(ticket)) => ticket,
        Ok(Claim::Duplicate { value, .. }) => return Ok(shared.replay(&value, &fingerprint)),
        Ok(Claim::InFlight { since }) => {
            let remaining = shared.remaining(since);
            return Ok(shared.answer(&Problem::InProgress { remaining }));
        }
        Ok(Claim::Full) => return Ok(shared.answer(&Problem::StoreFull)),
        Err(_) => return Ok(shared.answer(&Problem::StoreUnavailable)),
    };
    if let Some(lease) = options.lease {
        shared.store.extend(&ticket, lease).await;
    }
    parts.extensions.insert(id.key);
    // A stored response must suit every client, so a layer inside must not compress it.
    parts.headers.remove(ACCEPT_ENCODING);
    parts
        .headers
        .remove(HeaderName::from_static("grpc-accept-encoding"));
    let request = Request::from_parts(parts, IdempotencyBody::whole(data, trailers));
    let execution = Execution {
        shared: Arc::clone(&shared),
        ticket,
        key: id.compound,
        fingerprint,
    };
    if !options.finishes_disconnected {
        return execution.run(inner, request).await;
    }
    let running = Running::enter(&shared);
    let work = async move {
        let _running = running;
        execution.run(inner, request).await
    };
    #[cfg(feature = "tracing")]
    let work = tracing::Instrument::in_current_span(work);
    // From here on the work does not depend on this future, which the server drops when its client
    // disconnects.
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            // The server gets the panic as if there were no task.
            Ok(panic) => resume_unwind(panic),
            Err(_) => Ok(shared.answer(&Problem::Stopped)),
        },
    }
}

impl<S: Clone, T> Clone for IdempotencyService<S, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for IdempotencyService<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
