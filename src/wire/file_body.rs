//! The body of an answer whose content is on the heap, in a memory file or on a disk.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody, SizedStream};
use actix_web::http::StatusCode;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::stream;

use super::incoming::Response;
use super::socket::Socket;
use crate::memory_file::{Content, MemoryFile};
use crate::num::as_u64;

/// The most bytes of a body in memory that are copied, or handed to the HTTP/2 library, at a time.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// The body of an answer that lies on a disk, which may be slow: what is left of it. Its bytes come from threads that may wait for
/// the disk.
pub(crate) trait DiskBody {
    /// The next bytes, at most `most`.
    fn read(self: Box<Self>, most: usize) -> DiskStep<Bytes>;

    /// Writes the next bytes into `socket`: their number, 0 if there was no room.
    fn send(self: Box<Self>, socket: Arc<Socket>) -> DiskStep<usize>;
}

/// One step of a body on a disk, and what is left of it then; `None` at its end.
pub(crate) type DiskStep<T> = LocalBoxFuture<'static, io::Result<Option<(T, Box<dyn DiskBody>)>>>;

/// A body that is not in the memory of the process. The connection takes it from the answer, and sends it in its own way.
pub(super) enum BodyFile {
    Memory(MemoryFile),
    Disk(Box<dyn DiskBody>),
}

/// An answer with the content of a file.
pub(crate) fn content_response(status: StatusCode, content: &Content) -> Response {
    let mut response = HttpResponse::with_body(status, content_body(content));
    if let Content::File(file) = content {
        let file = BodyFile::Memory(file.clone());
        response.extensions_mut().insert(file);
    }
    response
}

/// An answer with `length` bytes of a disk.
pub(crate) fn disk_response(status: StatusCode, length: u64, disk: Box<dyn DiskBody>) -> Response {
    let no_bytes = stream::empty::<io::Result<Bytes>>();
    let length_alone = SizedStream::new(length, no_bytes);
    let mut response = HttpResponse::with_body(status, BoxBody::new(length_alone));
    response.extensions_mut().insert(BodyFile::Disk(disk));
    response
}

/// The content of a file as a body, which is copied while it is sent.
pub(crate) fn content_body(content: &Content) -> BoxBody {
    match content {
        Content::Heap(bytes) => BoxBody::new(bytes.clone()),
        Content::File(file) => BoxBody::new(FileBody {
            file: file.clone(),
            read: 0,
        }),
    }
}

struct FileBody {
    file: MemoryFile,
    read: u64,
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
        let piece = self.file.read(self.read..self.read + as_u64(PIECE_BYTES));
        if let Ok(piece) = &piece {
            self.read += as_u64(piece.len());
        }
        Poll::Ready(Some(piece))
    }
}
