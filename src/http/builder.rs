//! `IdempotencyBuilder`: the options of a layer, and their validation.

use std::fmt;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, Method, StatusCode, Uri, response};

use super::headers;
use super::layer::IdempotencyLayer;
use super::problem;
use super::store::IdempotencyStore;
use crate::limits::{self, BuildError};

/// The largest bound on bytes: 1 GiB.
const MAX_BYTES: usize = 1 << 30;

/// A text that belongs to a request.
type TextOf = Box<dyn Fn(&Parts) -> String + Send + Sync>;
/// A decision about a response.
type StoreIf = Box<dyn Fn(&response::Parts) -> bool + Send + Sync>;

/// The options of a layer.
pub(super) struct Options {
    pub(super) scope: TextOf,
    pub(super) path: TextOf,
    pub(super) required: Vec<(Method, String)>,
    pub(super) accepts_bare_keys: bool,
    pub(super) max_request_bytes: usize,
    pub(super) max_response_bytes: usize,
    pub(super) max_stored_bytes: usize,
    /// Sorted, without duplicates.
    pub(super) fingerprint_headers: Vec<HeaderName>,
    pub(super) replayed_headers: Vec<HeaderName>,
    pub(super) store_if: StoreIf,
    pub(super) wait: Option<Duration>,
    pub(super) lease: Option<Duration>,
    pub(super) finishes_disconnected: bool,
    /// The page that describes the problems.
    pub(super) problem_page: String,
}

impl Options {
    /// Returns `true` if an operation requires a key.
    pub(super) fn requires_key(&self, method: &Method, path: &str) -> bool {
        let mut required = self.required.iter();
        required.any(|(required, pattern)| required == method && matches(pattern, path))
    }
}

/// Returns `true` if a path matches a pattern: `{name}` is any segment, `{*name}` is the rest.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(pattern), Some(_)) if pattern.starts_with("{*") => return true,
            (Some(pattern), Some(segment)) => {
                let is_name = pattern.starts_with('{') && !segment.is_empty();
                if !is_name && pattern != segment {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// A builder of an [`IdempotencyLayer`] that needs a [`scope`](Self::scope).
#[must_use = "a builder does nothing until `build` is called"]
pub struct Unscoped<T> {
    store: T,
}

impl<T: IdempotencyStore> Unscoped<T> {
    pub(super) fn new(store: T) -> Self {
        Self { store }
    }

    /// Sets the function that returns whose key it is: the tenant, account or user of a request.
    ///
    /// Equal keys of two scopes are two keys. Without it, a client that guesses or reuses the key
    /// of another one would get that one's response. Take the scope from a layer further outside
    /// that has authenticated the request, not from a field that the client chooses.
    ///
    /// A request whose scope is empty is answered with 400. A service with one client returns a
    /// constant.
    pub fn scope<F>(self, scope: F) -> IdempotencyBuilder<T>
    where
        F: Fn(&Parts) -> String + Send + Sync + 'static,
    {
        IdempotencyBuilder {
            store: self.store,
            options: Options {
                scope: Box::new(scope),
                path: Box::new(|request| request.uri.path().to_owned()),
                required: Vec::new(),
                accepts_bare_keys: false,
                max_request_bytes: 1 << 20,
                max_response_bytes: 64 << 10,
                max_stored_bytes: 64 << 20,
                fingerprint_headers: Vec::new(),
                replayed_headers: headers::DEFAULT.to_vec(),
                store_if: Box::new(|response| response.status < StatusCode::INTERNAL_SERVER_ERROR),
                wait: None,
                lease: None,
                finishes_disconnected: true,
                problem_page: problem::PAGE.to_owned(),
            },
        }
    }
}

impl<T> fmt::Debug for Unscoped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unscoped").finish_non_exhaustive()
    }
}

/// Builds an [`IdempotencyLayer`]. `build` validates all options.
///
/// The ttl, the number of stored responses and the number of requests in flight are options of the
/// store.
#[must_use = "a builder does nothing until `build` is called"]
pub struct IdempotencyBuilder<T> {
    store: T,
    options: Options,
}

impl<T: IdempotencyStore> IdempotencyBuilder<T> {
    /// Answers a request of this method and path with 400 if it has no key. Defaults to no
    /// operation.
    ///
    /// In a path, `{name}` matches any segment and `{*name}` the rest, as in axum. The
    /// method must not be safe.
    pub fn required(mut self, method: Method, path: impl Into<String>) -> Self {
        self.options.required.push((method, path.into()));
        self
    }

    /// Sets the function that returns the path of a request, for its key and for
    /// [`required`](Self::required). Defaults to the path of its URI.
    ///
    /// A nested router of axum cuts its prefix off the URI. If one store serves layers in several
    /// nested routers, return the path of axum's `OriginalUri`, which is in the extensions.
    pub fn path<F>(mut self, path: F) -> Self
    where
        F: Fn(&Parts) -> String + Send + Sync + 'static,
    {
        self.options.path = Box::new(path);
        self
    }

    /// Accepts keys without quotes, as most clients send them. Defaults to `false`, as the draft
    /// requires.
    pub fn accept_bare_keys(mut self, accepts: bool) -> Self {
        self.options.accepts_bare_keys = accepts;
        self
    }

    /// Sets the largest body of a request with a key, up to 1 GiB. Defaults to 1 MiB.
    ///
    /// The layer reads the body before it claims the key, and answers a larger one with 413.
    /// Requests take this memory while they are read.
    pub fn max_request_bytes(mut self, max: usize) -> Self {
        self.options.max_request_bytes = max;
        self
    }

    /// Sets the largest stored response, up to 1 GiB: its body, and the fields that are replayed.
    /// Defaults to 64 KiB.
    ///
    /// A larger response passes through. A retry is answered with 409.
    pub fn max_response_bytes(mut self, max: usize) -> Self {
        self.options.max_response_bytes = max;
        self
    }

    /// Sets the largest sum of the memory of stored responses, above zero. Defaults to 64 MiB.
    ///
    /// If it leaves no room, a response passes through, and a retry is answered with 409. A
    /// response counts until the store has freed it: let a map sweep. Responses that another
    /// instance has stored do not count.
    pub fn max_stored_bytes(mut self, max: usize) -> Self {
        self.options.max_stored_bytes = max;
        self
    }

    /// Adds header fields to the fingerprint of a request. Defaults to none.
    ///
    /// A retry whose query, body or one of these fields differs is answered with 422.
    pub fn fingerprint_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.options.fingerprint_headers.extend(names);
        self
    }

    /// Adds header fields of a response that are stored and replayed. Defaults to the fields that
    /// describe a response, such as `Content-Type`, `ETag` and `Location`.
    ///
    /// Fields of a client, such as `Set-Cookie`, of a moment, such as `Date`, and of a connection
    /// are never replayed, and are an error here.
    pub fn replay_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.options.replayed_headers.extend(names);
        self
    }

    /// Sets the function that decides by its status and header fields whether a response is stored.
    /// Defaults to a status below 500.
    ///
    /// If it returns `false`, the key is released and a retry runs the handler again. A response
    /// whose effect may have happened should be stored.
    pub fn store_if<F>(mut self, store_if: F) -> Self
    where
        F: Fn(&response::Parts) -> bool + Send + Sync + 'static,
    {
        self.options.store_if = Box::new(store_if);
        self
    }

    /// Lets a retry of a request in flight wait for its response, for up to `max`. Defaults to an
    /// answer with 409 at once.
    ///
    /// After `max`, or if too many requests wait, it is answered with 409. The runtime needs its
    /// timer.
    pub fn wait(mut self, max: Duration) -> Self {
        self.options.wait = Some(max);
        self
    }

    /// Sets a lease for the requests of this layer, at least that of the store. Defaults to the
    /// lease of the store.
    ///
    /// When it ends, a retry runs the handler again, also if the first one still runs. Choose twice
    /// the longest time of a handler. With `SharedDedup`, it costs a round trip per request.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = Some(lease);
        self
    }

    /// Sets whether the handler of a client that disconnects is finished, in a task. Defaults to
    /// `true`.
    ///
    /// Without it, the handler ends at the `.await` that it has reached and the key is released, so
    /// a retry runs it again although its effect may have happened.
    pub fn finish_disconnected(mut self, finishes: bool) -> Self {
        self.options.finishes_disconnected = finishes;
        self
    }

    /// Sets the page that describes your use of keys to the developers of clients. The `type` of
    /// each problem is a heading on this page. Defaults to a page of this crate.
    pub fn problem_page(mut self, page: impl Into<String>) -> Self {
        self.options.problem_page = page.into();
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError`] if an option is out of range.
    pub fn build(self) -> Result<IdempotencyLayer<T>, BuildError> {
        let Self { store, mut options } = self;
        let not_allowed = |limit, value: &str| {
            let value = value.to_owned();
            Err(BuildError::NotAllowed { limit, value })
        };
        for (limit, value, max) in [
            ("max_request_bytes", options.max_request_bytes, MAX_BYTES),
            ("max_response_bytes", options.max_response_bytes, MAX_BYTES),
            ("max_stored_bytes", options.max_stored_bytes, usize::MAX),
        ] {
            limits::count(limit, Some(value), max)?;
        }
        for (limit, value) in [("wait", options.wait), ("lease", options.lease)] {
            if value.is_some() {
                limits::duration(limit, value)?;
            }
        }
        if options.lease.is_some_and(|lease| lease < store.lease()) {
            let (lower, upper) = ("lease of the store", "lease");
            return Err(BuildError::OutOfOrder { lower, upper });
        }
        for (method, path) in &options.required {
            if method.is_safe() {
                return not_allowed("required", method.as_str());
            }
            if !path.starts_with('/') {
                return not_allowed("required", path);
            }
        }
        for name in &options.replayed_headers {
            if !headers::may_be_replayed(name) {
                return not_allowed("replay_headers", name.as_str());
            }
        }
        // The page becomes a part of JSON texts.
        let page = &options.problem_page;
        if page.parse::<Uri>().is_err() || page.contains(['"', '\\', '#']) {
            return not_allowed("problem_page", page);
        }
        options
            .fingerprint_headers
            .sort_by(|a, b| a.as_str().cmp(b.as_str()));
        options.fingerprint_headers.dedup();
        Ok(IdempotencyLayer::from_parts(store, options))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("required", &self.required)
            .field("accept_bare_keys", &self.accepts_bare_keys)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("max_response_bytes", &self.max_response_bytes)
            .field("max_stored_bytes", &self.max_stored_bytes)
            .field("fingerprint_headers", &self.fingerprint_headers)
            .field("wait", &self.wait)
            .field("lease", &self.lease)
            .field("finish_disconnected", &self.finishes_disconnected)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for IdempotencyBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdempotencyBuilder")
            .field(&self.options)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn pattern_matches_whole_paths() {
        for (pattern, path, expected) in [
            ("/payments", "/payments", true),
            ("/payments", "/payments/", false),
            ("/payments", "/payments/7", false),
            ("/payments", "/payment", false),
            ("/", "/", true),
            ("/accounts/{id}/payments", "/accounts/7/payments", true),
            ("/accounts/{id}/payments", "/accounts//payments", false),
            ("/accounts/{id}/payments", "/accounts/7/refunds", false),
            ("/accounts/{id}", "/accounts/7/payments", false),
            ("/accounts/{*rest}", "/accounts/7/payments", true),
            ("/accounts/{*rest}", "/accounts", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
