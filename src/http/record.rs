//! `StoredResponse`: a response and the fingerprint of its request, as bytes.
//!
//! A record is kept in the form in which it is written to a file or a server, in one allocation,
//! because it is stored much longer than it is read. The format, version 1:
//!
//! | bytes | content |
//! | --- | --- |
//! | 1 | version: 1 |
//! | 16 | fingerprint of the request |
//! | 1 | kind: 0 response, 1 too large, 2 streamed, 3 no room |
//! | 2 | status, little-endian |
//! | | of a response only: header fields, trailer fields, and the body as the rest |
//!
//! Fields are their number, and for each the length and bytes of its name and of its value. Numbers
//! and lengths are LEB128, as in a [`CompoundKey`](crate::CompoundKey).

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::budget::{Budget, Charge};
use super::fingerprint::{BYTES, Fingerprint};
use crate::codec::Codec;
use crate::compound_key::{push_length, take_length};

const VERSION: u8 = 1;
/// The bytes before the content.
const HEAD: usize = 1 + BYTES + 1 + 2;
/// Memory of a record besides its bytes: the two allocations, and the handle in the map.
const OVERHEAD: usize = 96;

/// A response that [`IdempotencyLayer`](super::IdempotencyLayer) stores, or a mark that a request
/// was answered and its response was not stored. The value type of its stores.
///
/// Clones share the bytes. The format of its [`Codec`] is stable: other releases read it too.
#[derive(Clone)]
pub struct StoredResponse(Arc<Stored>);

struct Stored {
    encoded: Box<[u8]>,
    /// The part of the layer's budget that the record takes.
    charge: OnceLock<Charge>,
}

/// The reason why a response was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unstored {
    /// It exceeds `max_response_bytes`.
    TooLarge = 1,
    /// It is a stream.
    Streamed = 2,
    /// `max_stored_bytes` leaves no room.
    NoRoom = 3,
}

/// The parts of a record.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) fingerprint: Fingerprint,
    pub(super) status: StatusCode,
    pub(super) content: Content<'a>,
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is read, and never stored"
)]
pub(super) enum Content<'a> {
    Response {
        headers: HeaderMap,
        trailers: HeaderMap,
        body: &'a [u8],
    },
    /// A tombstone.
    Unstored(Unstored),
}

/// A header or trailer field.
type Field<'a> = (&'a HeaderName, &'a HeaderValue);

impl StoredResponse {
    pub(super) fn response<'a>(
        fingerprint: &Fingerprint,
        status: StatusCode,
        headers: impl Iterator<Item = Field<'a>>,
        trailers: impl Iterator<Item = Field<'a>>,
        body: &[u8],
    ) -> Self {
        let mut encoded = start(fingerprint, 0, status);
        push_fields(&mut encoded, headers);
        push_fields(&mut encoded, trailers);
        encoded.extend_from_slice(body);
        Self::from_encoded(encoded)
    }

    pub(super) fn tombstone(
        fingerprint: &Fingerprint,
        status: StatusCode,
        reason: Unstored,
    ) -> Self {
        Self::from_encoded(start(fingerprint, reason as u8, status))
    }

    fn from_encoded(encoded: Vec<u8>) -> Self {
        Self(Arc::new(Stored {
            encoded: encoded.into_boxed_slice(),
            charge: OnceLock::new(),
        }))
    }

    /// Returns the number of its bytes, without fingerprint and status.
    pub(super) fn bytes(&self) -> usize {
        self.0.encoded.len() - HEAD
    }

    /// Returns the memory that the record takes.
    pub(super) fn size(&self) -> usize {
        self.0.encoded.len() + OVERHEAD
    }

    /// Charges the record to a budget. Returns `false` if there is no room. A record is charged
    /// once: a second layer over the same store does not pay for it.
    pub(super) fn charge(&self, budget: &Arc<Budget>) -> bool {
        if self.0.charge.get().is_some() {
            return true;
        }
        let charge = budget.charge(self.size());
        charge.is_some_and(|charge| {
            // An error means that another layer was faster. Its charge is dropped here.
            let _ = self.0.charge.set(charge);
            true
        })
    }

    /// Returns the parts of the record, or `None` if this release does not know its format.
    pub(super) fn read(&self) -> Option<Record<'_>> {
        read(&self.0.encoded)
    }

    /// Returns a part of the record's bytes, without a copy.
    pub(super) fn share(&self, part: &[u8]) -> Bytes {
        Bytes::from_owner(Owner(Arc::clone(&self.0))).slice_ref(part)
    }
}

/// Keeps the bytes of a record alive.
struct Owner(Arc<Stored>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.encoded
    }
}

fn start(fingerprint: &Fingerprint, kind: u8, status: StatusCode) -> Vec<u8> {
    let mut encoded = vec![VERSION];
    encoded.extend_from_slice(fingerprint);
    encoded.push(kind);
    encoded.extend_from_slice(&status.as_u16().to_le_bytes());
    encoded
}

fn push_fields<'a>(encoded: &mut Vec<u8>, fields: impl Iterator<Item = Field<'a>>) {
    let mut count = 0;
    let mut list = Vec::new();
    for (name, value) in fields {
        count += 1;
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            push_length(&mut list, part.len());
            list.extend_from_slice(part);
        }
    }
    push_length(encoded, count);
    encoded.append(&mut list);
}

/// Returns the parts of a record. Allocates no more than the bytes of its fields.
fn read(encoded: &[u8]) -> Option<Record<'_>> {
    let (&version, input) = encoded.split_first()?;
    let (&fingerprint, input) = input.split_first_chunk::<BYTES>()?;
    let (&[kind, low, high], mut input) = input.split_first_chunk::<3>()?;
    let status = StatusCode::from_u16(u16::from_le_bytes([low, high])).ok()?;
    let unstored = |reason| input.is_empty().then_some(Content::Unstored(reason));
    let content = match (version, kind) {
        (VERSION, 0) => {
            let headers = take_fields(&mut input)?;
            let trailers = take_fields(&mut input)?;
            Content::Response {
                headers,
                trailers,
                body: input,
            }
        }
        (VERSION, 1) => unstored(Unstored::TooLarge)?,
        (VERSION, 2) => unstored(Unstored::Streamed)?,
        (VERSION, 3) => unstored(Unstored::NoRoom)?,
        _ => return None,
    };
    Some(Record {
        fingerprint,
        status,
        content,
    })
}

fn take_fields(input: &mut &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for _ in 0..take_length(input)? {
        let name = HeaderName::from_bytes(take_part(input)?).ok()?;
        let value = HeaderValue::from_bytes(take_part(input)?).ok()?;
        fields.try_append(name, value).ok()?;
    }
    Some(fields)
}

fn take_part<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(input)?;
    let (part, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(part)
}

impl Codec for StoredResponse {
    fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        out.extend_from_slice(&self.0.encoded);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        if read(bytes).is_none() {
            let message = "not a stored response, or one of a newer release";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self::from_encoded(bytes.to_vec()))
    }
}

impl fmt::Debug for StoredResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bodies may be confidential.
        let status = self.read().map(|record| record.status.as_u16());
        f.debug_struct("StoredResponse")
            .field("status", &status)
            .field("bytes", &self.0.encoded.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONTENT_TYPE, LOCATION};
    use proptest::prelude::*;

    const FINGERPRINT: Fingerprint = *b"0123456789abcdef";

    fn example() -> StoredResponse {
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.append(LOCATION, HeaderValue::from_static("/payments/7"));
        let mut trailers = HeaderMap::new();
        trailers.append("grpc-status", HeaderValue::from_static("0"));
        let (headers, trailers) = (headers.iter(), trailers.iter());
        StoredResponse::response(
            &FINGERPRINT,
            StatusCode::CREATED,
            headers,
            trailers,
            b"paid",
        )
    }

    fn encoded(record: &StoredResponse) -> Vec<u8> {
        let mut out = Vec::new();
        record.encode(&mut out).expect("a record has a form");
        out
    }

    #[test]
    fn record_of_the_first_release_is_read() {
        let bytes = b"\x010123456789abcdef\0\xc9\0\
            \x02\x0ccontent-type\x0atext/plain\x08location\x0b/payments/7\
            \x01\x0bgrpc-status\x010paid";
        assert_eq!(encoded(&example()), bytes);
        let record = StoredResponse::decode(bytes).expect("a record");
        let record = record.read().expect("a record");
        assert_eq!(
            (record.fingerprint, record.status),
            (FINGERPRINT, StatusCode::CREATED)
        );
        let Content::Response {
            headers,
            trailers,
            body,
        } = record.content
        else {
            panic!("a response: {record:?}");
        };
        assert_eq!(
            (headers.len(), headers[LOCATION].as_bytes()),
            (2, &b"/payments/7"[..])
        );
        assert_eq!(
            (trailers.len(), trailers["grpc-status"].as_bytes()),
            (1, &b"0"[..])
        );
        assert_eq!(body, b"paid");
    }

    #[test]
    fn tombstone_keeps_its_reason_and_status() {
        for reason in [Unstored::TooLarge, Unstored::Streamed, Unstored::NoRoom] {
            let tombstone = StoredResponse::tombstone(&FINGERPRINT, StatusCode::OK, reason);
            let bytes = encoded(&tombstone);
            assert_eq!(bytes.len(), 20);
            let decoded = StoredResponse::decode(&bytes).expect("a record");
            let record = decoded.read().expect("a record");
            assert_eq!(record.status, StatusCode::OK);
            assert!(matches!(record.content, Content::Unstored(it) if it == reason));
        }
    }

    #[test]
    fn damaged_record_is_an_error() {
        let bytes = encoded(&example());
        let body_at = bytes.len() - 4;
        for end in 0..body_at {
            assert!(
                StoredResponse::decode(&bytes[..end]).is_err(),
                "cut at {end}"
            );
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            StoredResponse::decode(&bytes)
        };
        assert!(with(0, 2).is_err(), "version");
        assert!(with(17, 1).is_err(), "a tombstone with a rest");
        assert!(with(17, 4).is_err(), "kind");
        assert!(with(19, 0xff).is_err(), "status");
        assert!(with(22, b' ').is_err(), "name");
        assert!(with(36, b'\n').is_err(), "value");
    }

    #[test]
    fn huge_number_of_fields_is_an_error() {
        let mut bytes = start(&FINGERPRINT, 0, StatusCode::OK);
        push_length(&mut bytes, usize::MAX);
        assert!(StoredResponse::decode(&bytes).is_err());
        // More fields than a `HeaderMap` holds.
        let mut bytes = start(&FINGERPRINT, 0, StatusCode::OK);
        push_length(&mut bytes, 40_000);
        for number in 0..40_000 {
            let name = format!("x-{number}");
            push_length(&mut bytes, name.len());
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0);
        }
        bytes.push(0);
        assert!(StoredResponse::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn reader_never_panics_and_returns_what_was_written(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut damaged = encoded(&example());
            let at = at.index(damaged.len());
            damaged[at] = byte;
            let mut tail = start(&FINGERPRINT, 0, StatusCode::OK);
            tail.extend_from_slice(&noise);
            for bytes in [noise, damaged, tail] {
                if let Ok(record) = StoredResponse::decode(&bytes) {
                    prop_assert!(record.read().is_some());
                    prop_assert_eq!(encoded(&record), bytes);
                }
            }
        }
    }

    #[test]
    fn record_is_charged_until_its_last_handle_is_dropped() {
        let budget = Budget::new(10_000);
        let record = example();
        assert!(record.charge(&budget) && record.charge(&budget));
        assert_eq!(budget.used(), record.size());
        let body = record.share(&record.0.encoded[30..40]);
        drop(record);
        assert!(budget.used() > 0, "a replay reads it");
        drop(body);
        assert_eq!(budget.used(), 0);
        assert!(!example().charge(&Budget::new(50)));
    }
}
