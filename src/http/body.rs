//! `IdempotencyBody`: a body of which the layer has read the beginning, or all.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// The body of the requests that the layer passes on, and of the responses that it returns.
///
/// It is a body that passes through, or one that the layer has read, or a stored one.
pub struct IdempotencyBody<B: Body> {
    /// Data that comes before the rest.
    front: Bytes,
    rest: Rest<B>,
}

enum Rest<B: Body> {
    /// The trailers, if there are any.
    End(Option<HeaderMap>),
    Body(Pin<Box<B>>),
    /// The error that reading the body has returned.
    Failed(Option<B::Error>),
}

/// The result of reading a body to its end.
pub(super) enum Collected<B: Body> {
    Whole {
        data: Bytes,
        trailers: Option<HeaderMap>,
    },
    /// It is longer than the bound. The body is as if it had not been read.
    TooLarge(IdempotencyBody<B>),
    /// It ended with an error. The body is as if it had not been read.
    Failed(IdempotencyBody<B>),
}

impl<B: Body<Data = Bytes>> IdempotencyBody<B> {
    /// Returns a body that passes through.
    pub(super) fn passed(body: B) -> Self {
        Self::with_rest(Bytes::new(), Rest::Body(Box::pin(body)))
    }

    pub(super) fn whole(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self::with_rest(data, Rest::End(trailers))
    }

    fn with_rest(front: Bytes, rest: Rest<B>) -> Self {
        Self { front, rest }
    }
}

/// Reads a body to its end, unless it is longer than `max` bytes.
pub(super) async fn collect<B: Body<Data = Bytes>>(body: B, max: usize) -> Collected<B> {
    let mut body = Box::pin(body);
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let (mut buffer, mut trailers) = (Buffer::default(), None);
    if expected > max {
        return Collected::TooLarge(IdempotencyBody::with_rest(
            buffer.freeze(),
            Rest::Body(body),
        ));
    }
    loop {
        let frame = match poll_fn(|context| body.as_mut().poll_frame(context)).await {
            None => {
                let data = buffer.freeze();
                return Collected::Whole { data, trailers };
            }
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let rest = Rest::Failed(Some(error));
                return Collected::Failed(IdempotencyBody::with_rest(buffer.freeze(), rest));
            }
        };
        match frame.into_data() {
            Ok(data) => {
                buffer.push(data, expected);
                if buffer.len() > max {
                    let rest = Rest::Body(body);
                    return Collected::TooLarge(IdempotencyBody::with_rest(buffer.freeze(), rest));
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
        }
    }
}

/// The data of several frames in one piece.
///
/// A list of frames would take 32 bytes per frame, and a small frame can keep a large read buffer
/// alive. A body of one frame is not copied.
#[derive(Default)]
struct Buffer {
    only: Bytes,
    joined: BytesMut,
}

impl Buffer {
    fn len(&self) -> usize {
        self.only.len() + self.joined.len()
    }

    fn push(&mut self, data: Bytes, expected: usize) {
        if self.len() == 0 {
            self.only = data;
            return;
        }
        if self.joined.is_empty() {
            self.joined
                .reserve(expected.max(self.only.len() + data.len()));
            self.joined
                .extend_from_slice(&std::mem::take(&mut self.only));
        }
        self.joined.extend_from_slice(&data);
    }

    fn freeze(self) -> Bytes {
        if self.joined.is_empty() {
            self.only
        } else {
            self.joined.freeze()
        }
    }
}

impl<B: Body<Data = Bytes>> Body for IdempotencyBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if !this.front.is_empty() {
            let front = std::mem::take(&mut this.front);
            return Poll::Ready(Some(Ok(Frame::data(front))));
        }
        match &mut this.rest {
            Rest::End(trailers) => Poll::Ready(trailers.take().map(|it| Ok(Frame::trailers(it)))),
            Rest::Body(body) => body.as_mut().poll_frame(context),
            Rest::Failed(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty()
            && match &self.rest {
                Rest::End(trailers) => trailers.is_none(),
                Rest::Body(body) => body.is_end_stream(),
                Rest::Failed(error) => error.is_none(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let front = self.front.len() as u64;
        match &self.rest {
            Rest::End(None) => SizeHint::with_exact(front),
            Rest::Body(body) => {
                let rest = body.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(front.saturating_add(rest.lower()));
                if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(front)) {
                    hint.set_upper(upper);
                }
                hint
            }
            // HTTP/1.1 sends trailers only after a body of unknown length.
            Rest::End(Some(_)) | Rest::Failed(_) => {
                let mut hint = SizeHint::new();
                hint.set_lower(front);
                hint
            }
        }
    }
}

// No field is pinned structurally: a body is in its own box.
impl<B: Body> Unpin for IdempotencyBody<B> {}

impl<B: Body> fmt::Debug for IdempotencyBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = match self.rest {
            Rest::End(_) => "none",
            Rest::Body(_) => "body",
            Rest::Failed(_) => "error",
        };
        f.debug_struct("IdempotencyBody")
            .field("front", &self.front.len())
            .field("rest", &rest)
            .finish()
    }
}
