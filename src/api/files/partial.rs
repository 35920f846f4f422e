//! Sends a file, or parts of it (RFC 9110 sections 14 and 15.3.7).

use std::ops::Range;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use bytes::Bytes;

use super::super::answer::{Answered, set};
use super::super::conditional::range_holds;
use super::range::{WantedBytes, wanted};
use crate::file_cache::{Large, Representation};
use crate::memory_file::Content;
use crate::num::as_u64;
use crate::wire::{
    Code, DiskPart, DiskParts, Problem, Response, content_parts, content_response, disk_response,
};

/// The place of the content of a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum FileContent<'a> {
    Memory(&'a Content),
    Disk(&'a Large),
}

impl FileContent<'_> {
    fn length(self) -> u64 {
        match self {
            Self::Memory(content) => as_u64(content.length()),
            Self::Disk(large) => large.length(),
        }
    }

    /// The whole file.
    pub(super) fn whole(self, about: &Representation) -> Response {
        let response = match self {
            Self::Memory(content) => content_response(StatusCode::OK, content),
            Self::Disk(_) => self.part(StatusCode::OK, 0..self.length()),
        };
        described(response, about)
    }

    /// The bytes that the value of a `Range` field asks for; the whole file if there is nothing to be sent as a part. `ignored` is
    /// called if that is because the field asks for too much.
    pub(super) fn ranges(
        self,
        field: &[u8],
        headers: &HeaderMap,
        about: &Representation,
        ignored: impl FnOnce(),
    ) -> Answered {
        let length = self.length();
        let wanted = wanted(field, length);
        if wanted == WantedBytes::All
            || !range_holds(headers, &about.etag, &about.last_modified, about.settled)
        {
            return Ok(self.whole(about));
        }
        match wanted {
            WantedBytes::Parts(parts) => match &*parts {
                [part] => Ok(self.one(part, about)),
                // A client could not tell whether the parts are encoded or the answer is.
                _ if about.content_encoding.is_some() => Ok(self.whole(about)),
                parts => Ok(self.several(parts, about)),
            },
            WantedBytes::Beyond => Err(beyond(length)),
            WantedBytes::TooMany | WantedBytes::All => {
                ignored();
                Ok(self.whole(about))
            }
        }
    }

    /// An answer with one part.
    fn one(self, part: &Range<u64>, about: &Representation) -> Response {
        let mut response = described(self.part(StatusCode::PARTIAL_CONTENT, part.clone()), about);
        let range = content_range(part, self.length());
        set(&mut response, header::CONTENT_RANGE, range);
        response
    }

    /// An answer with several parts, each with its own head.
    fn several(self, parts: &[Range<u64>], about: &Representation) -> Response {
        let boundary = format!("{:032x}", fastrand::u128(..));
        let content_type = String::from_utf8_lossy(&about.content_type);
        let texts = parts.iter().enumerate().map(|(index, part)| {
            let line_end = if index == 0 { "" } else { "\r\n" };
            let range = content_range(part, self.length());
            format!(
                "{line_end}--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {range}\r\n\r\n"
            )
        });
        let texts = texts.map(Bytes::from);
        let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let mut response = self.pieces(texts.zip(parts), end);
        let content_type = format!("multipart/byteranges; boundary={boundary}");
        set(&mut response, header::CONTENT_TYPE, content_type);
        response
    }

    /// An answer with one part of the file and no header fields.
    fn part(self, status: StatusCode, part: Range<u64>) -> Response {
        match self {
            Self::Memory(content) => content_response(status, &content.slice(part)),
            Self::Disk(large) => {
                let length = part.end - part.start;
                disk_response(status, length, Box::new(large.download(part)))
            }
        }
    }

    /// An answer with parts of the file, each behind its text, and no header fields.
    fn pieces<'b>(
        self,
        parts: impl Iterator<Item = (Bytes, &'b Range<u64>)>,
        end: Bytes,
    ) -> Response {
        let status = StatusCode::PARTIAL_CONTENT;
        match self {
            Self::Memory(content) => {
                let pieces = parts
                    .flat_map(|(text, part)| [Content::Heap(text), content.slice(part.clone())]);
                content_parts(status, pieces.chain([Content::Heap(end)]).collect())
            }
            Self::Disk(large) => {
                let mut length = as_u64(end.len());
                let mut pieces = Vec::new();
                for (text, part) in parts {
                    length += as_u64(text.len()) + (part.end - part.start);
                    pieces.push(DiskPart::Text(text));
                    pieces.push(DiskPart::File(Box::new(large.download(part.clone()))));
                }
                pieces.push(DiskPart::Text(end));
                disk_response(status, length, Box::new(DiskParts::new(pieces)))
            }
        }
    }
}

/// An answer with the content type of a file.
pub(in super::super) fn described(mut response: Response, about: &Representation) -> Response {
    set(
        &mut response,
        header::CONTENT_TYPE,
        about.content_type.clone(),
    );
    response
}

fn content_range(part: &Range<u64>, length: u64) -> String {
    let last = part.end.saturating_sub(1);
    format!("bytes {}-{last}/{length}", part.start)
}

/// The problem of ranges that all begin behind the end of a file (RFC 9110 section 15.5.17).
fn beyond(length: u64) -> Problem {
    Problem::new(Code::RangeNotSatisfiable)
        .detail(format!("the file has {length} bytes"))
        .header(header::CONTENT_RANGE, format!("bytes */{length}"))
}
