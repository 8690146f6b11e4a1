//! `Problem`: the answers of the layer itself, as `application/problem+json` (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body;

use super::body::IdempotencyBody;
use super::record::Unstored;

/// The page that describes the problems, with one heading for each.
pub(super) const PAGE: &str =
    "https://docs.rs/leakproof/latest/leakproof/docs/http_idempotency/index.html";

/// The reason why a request was not passed on to the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    KeyMissing,
    /// With the requirement that the header field does not meet.
    KeyInvalid(&'static str),
    ScopeMissing,
    BodyUnreadable,
    BodyTooLarge {
        max: usize,
    },
    /// A request with the key is in flight. Its lease ends after this time at the latest.
    InProgress {
        remaining: Duration,
    },
    /// The request was answered with this status, and the response was not stored.
    NotStored {
        status: StatusCode,
        reason: Unstored,
    },
    OtherPayload,
    StoreFull,
    StoreUnavailable,
    /// The runtime has ended the handler.
    Stopped,
}

impl Problem {
    /// Returns the heading on the page, the status and the title. The texts of problems that the
    /// draft knows are those of the draft.
    fn head(&self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::KeyMissing => ("key-missing", S::BAD_REQUEST, "Idempotency-Key is missing"),
            Self::KeyInvalid(_) => ("key-invalid", S::BAD_REQUEST, "Idempotency-Key is invalid"),
            Self::ScopeMissing => ("scope-missing", S::BAD_REQUEST, "The client is unknown"),
            Self::BodyUnreadable => (
                "body-unreadable",
                S::BAD_REQUEST,
                "The request body ended with an error",
            ),
            Self::BodyTooLarge { .. } => (
                "body-too-large",
                S::PAYLOAD_TOO_LARGE,
                "The request body is too large",
            ),
            Self::InProgress { .. } => (
                "in-progress",
                S::CONFLICT,
                "A request is outstanding for this Idempotency-Key",
            ),
            Self::NotStored { .. } => (
                "not-stored",
                S::CONFLICT,
                "The request was processed, and its response is not available",
            ),
            Self::OtherPayload => (
                "other-payload",
                S::UNPROCESSABLE_ENTITY,
                "Idempotency-Key is already used",
            ),
            Self::StoreFull => (
                "store-full",
                S::SERVICE_UNAVAILABLE,
                "Too many requests are in progress",
            ),
            Self::StoreUnavailable => (
                "store-unavailable",
                S::SERVICE_UNAVAILABLE,
                "The store of Idempotency-Keys is unavailable",
            ),
            Self::Stopped => ("stopped", S::SERVICE_UNAVAILABLE, "The service is stopping"),
        }
    }

    /// Returns the sentences for the developer of the client. They need no escapes in JSON.
    fn detail(&self) -> String {
        match self {
            Self::KeyMissing => "This operation requires an Idempotency-Key.".to_owned(),
            Self::KeyInvalid(requirement) => {
                let requirement = requirement.replace('\\', "backslash").replace('"', "quote");
                format!("The Idempotency-Key is invalid: {requirement}.")
            }
            Self::ScopeMissing => {
                "An Idempotency-Key belongs to a client, and this request names none.".to_owned()
            }
            Self::BodyUnreadable => "Send the request again with the same key.".to_owned(),
            Self::BodyTooLarge { max } => {
                format!("A request with an Idempotency-Key must not exceed {max} bytes.")
            }
            Self::InProgress { .. } => {
                "Send the request again with the same key after the time in Retry-After.".to_owned()
            }
            Self::NotStored { reason, .. } => match reason {
                Unstored::TooLarge => "The response was too large to be stored.".to_owned(),
                Unstored::Streamed => "The response was a stream, which is not stored.".to_owned(),
                Unstored::NoRoom => "The store had no room for the response.".to_owned(),
            },
            Self::OtherPayload => {
                "The Idempotency-Key was used for a request with another payload.".to_owned()
            }
            Self::StoreFull | Self::StoreUnavailable => {
                "The request was not processed. Send it again later with the same key.".to_owned()
            }
            Self::Stopped => "Send the request again with the same key.".to_owned(),
        }
    }

    /// Returns the answer. `page` describes the problems.
    pub(super) fn response<B: Body<Data = Bytes>>(
        &self,
        page: &str,
    ) -> Response<IdempotencyBody<B>> {
        let (heading, status, title) = self.head();
        let detail = self.detail();
        let code = status.as_u16();
        let mut json = format!(
            r#"{{"type":"{page}#{heading}","title":"{title}","status":{code},"detail":"{detail}""#
        );
        if let Self::NotStored { status, .. } = self {
            json.push_str(&format!(r#","original_status":{}"#, status.as_u16()));
        }
        json.push('}');
        let mut response = Response::new(IdempotencyBody::whole(json.into(), None));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
        if let Self::InProgress { remaining } = self {
            // Rounded up: a retry before the end of the lease would find the key in flight again.
            let rounded = remaining.saturating_add(Duration::from_nanos(999_999_999));
            headers.insert(RETRY_AFTER, rounded.as_secs().max(1).into());
        }
        response
    }
}
