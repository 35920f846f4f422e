//! Bodies of answers that the connection has to know about: those that are made piece by piece, and those that are too large
//! to be copied.
//!
//! actix-http copies every byte of a body into its write buffer, which grows to the largest piece. So a large body gives it
//! nothing: each piece is left with the connection, and the stream under actix-http writes it from its own memory to the
//! socket after the head. Until then the body is pending, so that nothing is written before it.

// Decision: A large body is not copied.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use bytes::Bytes;

use super::Connection;
use crate::num::as_u64;

/// A smaller body is cheaper copied: it goes out with its head in any case, and costs actix-http no second turn.
const UNCOPIED_BYTES_MIN: u64 = 16 * 1024;

/// Leaves an answer that is in memory and small as it is, and has the connection know about another. HTTP/2, which has no
/// such connection, sends every body itself.
pub(crate) fn watch(
    answer: HttpResponse<BoxBody>,
    method: &Method,
    connection: Option<&Rc<Connection>>,
) -> HttpResponse<BoxBody> {
    let size = answer.body().size();
    let Some(connection) = connection.filter(|_| size != BodySize::None) else {
        return answer;
    };
    let head_only = method == Method::HEAD;
    let length = match size {
        BodySize::Sized(length) if length >= UNCOPIED_BYTES_MIN && !head_only => Some(length),
        BodySize::Sized(_) | BodySize::Stream | BodySize::None => None,
    };
    let (mut answer, body) = answer.into_parts();
    let body = match body.try_into_bytes() {
        Ok(bytes) if length.is_none() => return answer.set_body(BoxBody::new(bytes)),
        Ok(bytes) => BoxBody::new(bytes),
        Err(body) => body,
    };
    if let Some(length) = length {
        // Its length is told, though actix-http takes it for a stream.
        answer.head_mut().no_chunking(true);
        let length = HeaderValue::from(length);
        answer.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    connection.streaming(!head_only);
    answer.set_body(BoxBody::new(WatchedBody {
        size: length.map_or(size, |_| BodySize::Stream),
        body: (!head_only).then_some(body),
        left: length,
        connection: Rc::clone(connection),
    }))
}

/// A body while it is sent; when it is dropped, the answer is no longer streamed.
struct WatchedBody {
    size: BodySize,
    /// `None` for a HEAD: the length is told, and nothing is made.
    body: Option<BoxBody>,
    /// The bytes still to come of a body that is not copied.
    left: Option<u64>,
    connection: Rc<Connection>,
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.connection.streaming(false);
    }
}

impl MessageBody for WatchedBody {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        // Writing the piece wakes this task, which is actix-http's.
        if self.connection.owes() {
            return Poll::Pending;
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let piece = ready!(body.as_pin_mut().poll_next(cx)).transpose()?;
        let Some(left) = self.left else {
            return Poll::Ready(piece.map(Ok));
        };
        let length = piece.as_ref().map_or(0, Bytes::len);
        match (piece, left.checked_sub(as_u64(length))) {
            (None, Some(0)) => Poll::Ready(None),
            (Some(piece), Some(left)) => {
                self.left = Some(left);
                self.connection.owe(piece);
                Poll::Pending
            }
            // The client was told another length: it has to see that this is not the end.
            (None, Some(_)) | (_, None) => {
                let error = "a body has not the length that was told";
                Poll::Ready(Some(Err(io::Error::other(error).into())))
            }
        }
    }
}
