//! Finds the heads of frames in the bytes that a client sends (RFC 9113 section 4.1). Pure.
//!
//! The h2 library answers many frames by itself and shows none of them. It does not show the streams that it refuses either.

use std::ops::ControlFlow;

use super::super::http1::PREFACE;
use crate::num::as_usize;

/// The most bytes of a status in an answer, with a change of the size of the table before it (RFC 7541 section 6).
const STATUS_BYTES_MAX: u32 = 16;

/// The head of a frame, as far as it is needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// The number of bytes behind the head.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
}

impl FrameHead {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const CONTINUATION: u8 = 9;
    const END_STREAM: u8 = 1;
    pub(super) const PADDED: u8 = 8;
    const BYTES: usize = 9;

    fn new([high, middle, low, kind, flags, ..]: [u8; Self::BYTES]) -> Self {
        Self {
            length: u32::from_be_bytes([0, high, middle, low]),
            kind,
            flags,
        }
    }

    /// Whether it is a whole answer that has nothing but its status. Each answer of the service has an id, which alone is longer.
    fn is_status_alone(self) -> bool {
        let ends = self.flags & Self::END_STREAM != 0;
        self.kind == Self::HEADERS && ends && self.length <= STATUS_BYTES_MAX
    }

    pub(super) fn is_padded(self) -> bool {
        self.flags & Self::PADDED != 0
    }
}

/// An end of a stream or of the connection, as a server writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WrittenEnd {
    /// A frame with this code (RFC 9113 section 7).
    Code(u32),
    /// The head of an answer that has nothing but its status.
    StatusAlone,
}

/// Reads the bytes of a connection from its beginning, in pieces of any size.
#[derive(Debug)]
pub(super) struct FrameReader {
    /// Bytes that belong to no head.
    skip: usize,
    head: [u8; FrameHead::BYTES],
    /// Bytes of the head that have arrived.
    known: usize,
}

impl FrameReader {
    /// Reads what a client sends.
    pub(super) fn of_client() -> Self {
        Self {
            skip: PREFACE.len(),
            ..Self::of_server()
        }
    }

    /// Reads what a server sends.
    pub(super) fn of_server() -> Self {
        Self {
            skip: 0,
            head: [0; FrameHead::BYTES],
            known: 0,
        }
    }

    /// Calls `see` with each end of a stream or of the connection. The code of a frame is seen if it lies within `bytes`.
    pub(super) fn read_ends(&mut self, mut bytes: &[u8], mut see: impl FnMut(WrittenEnd)) {
        while !bytes.is_empty() {
            let mut place = None;
            bytes = self.read(bytes, |frame| {
                if frame.is_status_alone() {
                    see(WrittenEnd::StatusAlone);
                }
                // Before the code, GOAWAY has the number of a stream.
                place = match frame.kind {
                    FrameHead::RST_STREAM => Some(0),
                    FrameHead::GOAWAY => Some(4),
                    _ => None,
                };
                place.map_or(ControlFlow::Continue(()), |_| ControlFlow::Break(()))
            });
            let code = place.and_then(|place| bytes.get(place..)?.first_chunk());
            if let Some(code) = code {
                see(WrittenEnd::Code(u32::from_be_bytes(*code)));
            }
        }
    }

    /// Calls `see` for each head that is complete with these bytes, until it says to stop. The result is the rest behind the
    /// last head then, and otherwise empty.
    pub(super) fn read<'b>(
        &mut self,
        mut bytes: &'b [u8],
        mut see: impl FnMut(FrameHead) -> ControlFlow<()>,
    ) -> &'b [u8] {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let missing = self.head.iter_mut().skip(self.known);
            let added = missing.zip(bytes).map(|(to, from)| *to = *from).count();
            self.known += added;
            bytes = bytes.get(added..).unwrap_or_default();
            if self.known < FrameHead::BYTES {
                return bytes;
            }
            let head = FrameHead::new(self.head);
            self.known = 0;
            self.skip = as_usize(head.length.into());
            if see(head).is_break() {
                return bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_ends_are_found_between_other_frames() {
        let mut bytes = vec![0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        bytes.extend([0, 0, 2, 0, 1, 0, 0, 0, 3, 7, 3]);
        bytes.extend([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 9]);
        // A whole answer of five bytes, the head of another one, and one with more than a status.
        bytes.extend([0, 0, 5, 1, 5, 0, 0, 0, 1, 0x48, 3, b'4', b'3', b'1']);
        bytes.extend([0, 0, 1, 1, 4, 0, 0, 0, 3, 0x88]);
        bytes.extend([&[0, 0, 17, 1, 5, 0, 0, 0, 5][..], &[0x88; 17]].concat());
        let mut ends = Vec::new();
        let mut reader = FrameReader::of_server();
        for piece in [&bytes[..20], &bytes[20..]] {
            reader.read_ends(piece, |end| ends.push(end));
        }
        let code = WrittenEnd::Code;
        assert_eq!(ends, [code(1), code(9), WrittenEnd::StatusAlone]);
    }

    #[test]
    fn frames_are_found_however_their_bytes_are_cut() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        bytes.extend([0, 1, 2, 0, 8, 0, 0, 0, 1]);
        bytes.extend([6; 258]);
        bytes.extend([0, 0, 1, 9, 4, 0, 0, 0, 1, 9]);
        bytes.extend([0, 0, 8, 6]);
        let wanted = [(0, 4, 0), (258, 0, 8), (1, 9, 4)].map(|(length, kind, flags)| FrameHead {
            length,
            kind,
            flags,
        });
        for size in 1..=bytes.len() {
            let (mut reader, mut found) = (FrameReader::of_client(), Vec::new());
            for piece in bytes.chunks(size) {
                let rest = reader.read(piece, |head| {
                    found.push(head);
                    ControlFlow::Continue(())
                });
                assert_eq!(rest, b"");
            }
            assert_eq!(found, wanted, "pieces of {size}");
            let rest = reader.read(&[0; 6], |head| {
                found.push(head);
                ControlFlow::Break(())
            });
            assert_eq!(rest, [0], "what is behind the last head");
            let last = FrameHead {
                length: 8,
                kind: 6,
                flags: 0,
            };
            assert_eq!(found.last(), Some(&last));
        }
    }
}
