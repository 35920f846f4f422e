//! The body of an answer that has several pieces: texts, and parts of a file between them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::file_body::{DiskBody, DiskStep, PIECE_BYTES};
use super::incoming::Response;
use super::socket::Socket;
use crate::memory_file::Content;
use crate::num::as_u64;

/// An answer with these pieces, one behind the other. What is on the heap is not copied.
pub(crate) fn content_parts(status: StatusCode, pieces: Vec<Content>) -> Response {
    let left = pieces.iter().map(|piece| as_u64(piece.length())).sum();
    let pieces = VecDeque::from(pieces);
    HttpResponse::with_body(status, BoxBody::new(ContentParts { pieces, left }))
}

struct ContentParts {
    pieces: VecDeque<Content>,
    left: u64,
}

impl MessageBody for ContentParts {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        Poll::Ready(match self.pieces.pop_front() {
            None => None,
            Some(Content::Heap(bytes)) => Some(Ok(bytes)),
            Some(Content::File(file)) => {
                let piece = file.read(0..as_u64(PIECE_BYTES));
                if let Ok(read) = &piece
                    && !read.is_empty()
                    && as_u64(read.len()) < file.length()
                {
                    let rest = as_u64(read.len())..file.length();
                    self.pieces.push_front(Content::File(file).slice(rest));
                }
                Some(piece)
            }
        })
    }
}

/// One piece of a body that lies on a disk.
pub(crate) enum DiskPart {
    /// A text between parts of a file.
    Text(Bytes),
    /// A part of a file.
    File(Box<dyn DiskBody>),
}

/// The pieces of a body on a disk, one behind the other.
pub(crate) struct DiskParts(VecDeque<DiskPart>);

impl DiskParts {
    pub(crate) fn new(parts: Vec<DiskPart>) -> Self {
        Self(VecDeque::from(parts))
    }

    /// All, with `first` before them.
    fn before(mut self: Box<Self>, first: DiskPart) -> Box<dyn DiskBody> {
        self.0.push_front(first);
        self
    }

    /// All, with the rest of a text before them.
    fn before_text(self: Box<Self>, text: Bytes) -> Box<dyn DiskBody> {
        if text.is_empty() {
            return self;
        }
        self.before(DiskPart::Text(text))
    }
}

impl DiskBody for DiskParts {
    fn read(mut self: Box<Self>, most: usize) -> DiskStep<Bytes> {
        Box::pin(async move {
            loop {
                match self.0.pop_front() {
                    None => return Ok(None),
                    Some(DiskPart::Text(mut text)) => {
                        let piece = text.split_to(text.len().min(most.max(1)));
                        return Ok(Some((piece, self.before_text(text))));
                    }
                    Some(DiskPart::File(file)) => {
                        if let Some((piece, rest)) = file.read(most).await? {
                            return Ok(Some((piece, self.before(DiskPart::File(rest)))));
                        }
                    }
                }
            }
        })
    }

    fn send(mut self: Box<Self>, socket: Arc<Socket>) -> DiskStep<usize> {
        Box::pin(async move {
            loop {
                match self.0.pop_front() {
                    None => return Ok(None),
                    Some(DiskPart::Text(mut text)) => {
                        let sent = send_text(&socket, &text, !self.0.is_empty())?;
                        drop(text.split_to(sent));
                        return Ok(Some((sent, self.before_text(text))));
                    }
                    Some(DiskPart::File(file)) => {
                        if let Some((sent, rest)) = file.send(Arc::clone(&socket)).await? {
                            return Ok(Some((sent, self.before(DiskPart::File(rest)))));
                        }
                    }
                }
            }
        })
    }
}

/// Sends the beginning of a text: the number of its bytes that were sent, 0 if there was no room.
fn send_text(socket: &Socket, text: &[u8], goes_on: bool) -> io::Result<usize> {
    let more = if goes_on {
        SendFlags::MORE
    } else {
        SendFlags::empty()
    };
    match send(socket, text, SendFlags::NOSIGNAL | more) {
        Ok(sent) => Ok(sent),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
