//! An answer's body that is made piece by piece: its request lasts until the last one.

use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::Method;
use bytes::Bytes;

use super::Connection;
use super::owed_body::{OWED_BYTES_MIN, owed};

/// Leaves an answer that is in memory as it is, and has the connection know about one that is not.
pub(crate) fn watch(
    answer: HttpResponse<BoxBody>,
    method: &Method,
    connection: Option<&Rc<Connection>>,
) -> HttpResponse<BoxBody> {
    let size = answer.body().size();
    if size == BodySize::None {
        return answer;
    }
    let connection = connection.filter(|_| method != Method::HEAD);
    let owed_to = connection.and_then(|connection| match size {
        BodySize::Sized(length) if length >= OWED_BYTES_MIN => Some((connection, length)),
        BodySize::Sized(_) | BodySize::Stream | BodySize::None => None,
    });
    let (answer, body) = answer.into_parts();
    match (body.try_into_bytes(), owed_to) {
        (Ok(bytes), Some((connection, length))) => owed(answer, bytes, length, connection),
        (Err(body), Some((connection, length))) => owed(answer, body, length, connection),
        (Ok(bytes), None) => answer.set_body(BoxBody::new(bytes)),
        (Err(body), None) => {
            let body = StreamedBody::new(body, method, connection);
            answer.set_body(BoxBody::new(body))
        }
    }
}

struct StreamedBody {
    size: BodySize,
    /// None for a HEAD, which is told the length and does not cost the making.
    body: Option<BoxBody>,
    _streaming: Option<Streaming>,
}

impl StreamedBody {
    fn new(body: BoxBody, method: &Method, connection: Option<&Rc<Connection>>) -> Self {
        let size = body.size();
        let sent = method != Method::HEAD;
        Self {
            size,
            body: sent.then_some(body),
            _streaming: connection.map(Streaming::new),
        }
    }
}

impl MessageBody for StreamedBody {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match &mut self.body {
            Some(body) => body.as_pin_mut().poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}

/// While it lives, an answer is being streamed.
pub(crate) struct Streaming {
    connection: Rc<Connection>,
}

impl Streaming {
    pub(crate) fn new(connection: &Rc<Connection>) -> Self {
        connection.streaming(true);
        Self {
            connection: Rc::clone(connection),
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.connection.streaming(false);
    }
}
