//! The header fields of a response that are stored and replayed.
//!
//! A list of allowed fields, because a field that is forgotten on a list of forbidden ones would
//! leak: the session cookie of a client must not be replayed to another one.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that describe the response itself. Replayed by default.
pub(super) const DEFAULT: [HeaderName; 17] = [
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_TYPE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::VARY,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// Fields that are never replayed: they belong to a client, to a moment, to a connection, or to the
/// framing of a message.
const NEVER: [HeaderName; 18] = [
    header::AUTHORIZATION,
    HeaderName::from_static("authentication-info"),
    header::COOKIE,
    header::SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    header::AGE,
    header::DATE,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authentication-info"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
];

/// Marks a replayed response.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Marks a response that was not stored.
pub(super) const STORED: HeaderName = HeaderName::from_static("idempotent-stored");

/// Returns `false` for a field that must not be replayed.
pub(super) fn may_be_replayed(name: &HeaderName) -> bool {
    !NEVER.contains(name) && *name != REPLAYED && *name != STORED
}

/// Returns the fields to store: those that are allowed, and that `Connection` does not name.
pub(super) fn stored<'a>(
    headers: &'a HeaderMap,
    allowed: &[HeaderName],
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    let hop = headers.get_all(header::CONNECTION).iter();
    let hop = hop.filter_map(|value| value.to_str().ok());
    let hop: Vec<&str> = hop
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .collect();
    headers.iter().filter(move |(name, _)| {
        allowed.contains(name)
            && !hop
                .iter()
                .any(|hop| name.as_str().eq_ignore_ascii_case(hop))
    })
}

/// Returns the trailer fields to store. They are part of the message, so all but the forbidden ones
/// are.
pub(super) fn stored_trailers(
    trailers: &HeaderMap,
) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    trailers.iter().filter(|(name, _)| may_be_replayed(name))
}

/// Returns the value of `Trailer` that announces trailers.
pub(super) fn trailer(trailers: &HeaderMap) -> HeaderValue {
    let names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
    HeaderValue::from_str(&names.join(", ")).expect("names are visible ASCII")
}
