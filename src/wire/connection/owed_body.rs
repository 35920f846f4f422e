//! A body that is not copied: the dispatcher writes the head, and what the body has goes from its own memory to the socket.
//!
//! actix-http copies every byte of a body into its write buffer, which grows to the largest piece. So the body of a large
//! answer gives it nothing: it leaves its pieces with the connection, which owes them to the client, and the stream under
//! the dispatcher pays them as soon as the head is written. Until then the body is pending, so that nothing overtakes it.

// Decision: A large body is not copied.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{self, HeaderValue};
use bytes::Bytes;

use super::Connection;
use super::streamed_body::Streaming;

/// A smaller body is cheaper copied: it goes out with its head in any case, and costs the dispatcher no second turn.
pub(crate) const OWED_BYTES_MIN: u64 = 16 * 1024;

/// The answer with a body of `length` bytes that the connection pays.
pub(crate) fn owed<B>(
    mut answer: HttpResponse<()>,
    body: B,
    length: u64,
    connection: &Rc<Connection>,
) -> HttpResponse<BoxBody>
where
    B: MessageBody + Unpin + 'static,
{
    // Its length is told, though the dispatcher takes it for a stream.
    answer.head_mut().no_chunking(true);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let body = OwedBody {
        body,
        left: length,
        connection: Rc::clone(connection),
        _streaming: Streaming::new(connection),
    };
    answer.set_body(BoxBody::new(body))
}

struct OwedBody<B> {
    body: B,
    left: u64,
    connection: Rc<Connection>,
    _streaming: Streaming,
}

impl<B: MessageBody + Unpin> MessageBody for OwedBody<B> {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        // What pays wakes this task, which is the dispatcher's.
        if self.connection.owes() {
            return Poll::Pending;
        }
        let piece = match Pin::new(&mut self.body).poll_next(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(piece))) => piece,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) if self.left == 0 => return Poll::Ready(None),
            // The client was promised more: it has to see that this is not the end.
            Poll::Ready(None) => return Poll::Ready(Some(Err(broken_promise()))),
        };
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let Some(left) = self.left.checked_sub(length) else {
            return Poll::Ready(Some(Err(broken_promise())));
        };
        self.left = left;
        self.connection.owe(piece);
        Poll::Pending
    }
}

fn broken_promise() -> Box<dyn std::error::Error> {
    io::Error::other("a body has not the length that was told").into()
}
