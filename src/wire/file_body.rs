//! The body of an answer whose content is on the heap or in a memory file.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use bytes::Bytes;

use super::incoming::Response;
use crate::memory_file::{Content, MemoryFile};
use crate::num::as_u64;

/// The most bytes of a memory file that are copied at a time, where they have to be.
const PIECE_BYTES: u64 = 64 * 1024;

/// An answer with a content.
pub(crate) fn content_response(status: StatusCode, content: &Content) -> Response {
    let mut response = HttpResponse::with_body(status, content_body(content));
    if let Content::File(file) = content {
        // The connection takes it from here where it can have it sent by the kernel.
        response.extensions_mut().insert(file.clone());
    }
    response
}

/// A content as a body, which is copied while it is sent.
pub(crate) fn content_body(content: &Content) -> BoxBody {
    match content {
        Content::Heap(bytes) => BoxBody::new(bytes.clone()),
        Content::File(file) => body_in_pieces(file.clone(), Arc::new(AtomicUsize::new(usize::MAX))),
    }
}

/// A memory file as a body whose next piece has at most `most` bytes.
pub(super) fn body_in_pieces(file: MemoryFile, most: Arc<AtomicUsize>) -> BoxBody {
    BoxBody::new(FileBody {
        file,
        read: 0,
        most,
    })
}

struct FileBody {
    file: MemoryFile,
    read: u64,
    most: Arc<AtomicUsize>,
}

impl MessageBody for FileBody {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.file.length())
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        if self.read == self.file.length() {
            return Poll::Ready(None);
        }
        let most = as_u64(self.most.load(Ordering::Relaxed)).clamp(1, PIECE_BYTES);
        let piece = self.file.read(self.read..self.read + most);
        if let Ok(piece) = &piece {
            self.read += as_u64(piece.len());
        }
        Poll::Ready(Some(piece))
    }
}
