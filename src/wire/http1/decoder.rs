//! Finds where the body of a request ends, and takes the chunks apart. Pure.

use bytes::{Buf, Bytes, BytesMut};

use super::fault::Fault;
use super::field;
use crate::num::{as_u64, as_usize};

/// The longest line with the size of a chunk: 16 digits and a short extension.
const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// A chunk of fewer bytes is given out together with those behind it.
const SMALL_CHUNK_BYTES: usize = 4096;
/// The most digits in the size of a chunk.
const SIZE_DIGITS_MAX: usize = 16;

/// The length of a body as its head tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// There is no body.
    #[default]
    None,
    /// `Content-Length`, not 0.
    Sized(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Reads one body.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    /// Bytes of chunk extensions and trailers that may still come.
    overhead: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// This many bytes are left of a body of known length.
    Sized(u64),
    /// A line with the size of a chunk comes next.
    Size,
    /// This many bytes are left of a chunk.
    Chunk(u64),
    /// The end of the line behind a chunk comes next.
    ChunkEnd,
    /// A trailer or the empty line at the end comes next.
    Trailers,
    /// The body has ended.
    Done,
}

/// The next part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyPart {
    /// Bytes of the body.
    Data(Bytes),
    /// The body has ended; what follows is the next request.
    End,
    /// More bytes must arrive first.
    More,
}

/// The next thing at the front of the input.
enum Step {
    /// So many bytes of the body.
    Data(usize),
    End,
    More,
}

impl Decoder {
    /// A decoder for a body of this length, whose extensions and trailers may have `overhead` bytes.
    pub(super) fn new(length: BodyLength, overhead: usize) -> Self {
        let state = match length {
            BodyLength::None => State::Done,
            BodyLength::Sized(length) => State::Sized(length),
            BodyLength::Chunked => State::Size,
        };
        Self { state, overhead }
    }

    /// Whether the body has been read to its end.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The bytes still to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.state {
            State::Sized(left) => Some(left),
            State::Done => Some(0),
            State::Size | State::Chunk(_) | State::ChunkEnd | State::Trailers => None,
        }
    }

    /// The bytes of the current chunk that have not come.
    pub(super) fn left_of_chunk(&self) -> u64 {
        match self.state {
            State::Chunk(left) => left,
            State::Sized(_) | State::Size | State::ChunkEnd | State::Trailers | State::Done => 0,
        }
    }

    /// Takes the next part of the body from the front of `input`. Small chunks that have arrived are one part, because each part
    /// costs its reader as much as many bytes.
    pub(super) fn decode(&mut self, input: &mut BytesMut) -> Result<BodyPart, Fault> {
        let mut gathered = BytesMut::new();
        loop {
            match self.step(input)? {
                Step::Data(length)
                    if gathered.is_empty()
                        && (length >= SMALL_CHUNK_BYTES || length == input.len()) =>
                {
                    return Ok(BodyPart::Data(input.split_to(length).freeze()));
                }
                Step::Data(length) => {
                    gathered.extend_from_slice(input.get(..length).unwrap_or_default());
                    input.advance(length);
                }
                Step::End | Step::More if !gathered.is_empty() => {
                    return Ok(BodyPart::Data(gathered.freeze()));
                }
                Step::End => return Ok(BodyPart::End),
                Step::More => return Ok(BodyPart::More),
            }
        }
    }

    /// Reads what is between the bytes of the body, up to the next of them.
    fn step(&mut self, input: &mut BytesMut) -> Result<Step, Fault> {
        loop {
            match self.state {
                State::Done => return Ok(Step::End),
                State::Sized(left) | State::Chunk(left) => {
                    if input.is_empty() {
                        return Ok(Step::More);
                    }
                    let taken = input.len().min(as_usize(left));
                    let left = left.saturating_sub(as_u64(taken));
                    self.state = match (self.state, left) {
                        (State::Chunk(_), 0) => State::ChunkEnd,
                        (State::Chunk(_), left) => State::Chunk(left),
                        (_, 0) => State::Done,
                        (_, left) => State::Sized(left),
                    };
                    return Ok(Step::Data(taken));
                }
                State::ChunkEnd => match line(input, Fault::ChunkEnd, 2)? {
                    None => return Ok(Step::More),
                    Some([]) => {
                        input.advance(2);
                        self.state = State::Size;
                    }
                    Some(_) => return Err(Fault::ChunkEnd),
                },
                State::Size => {
                    let line = line(input, Fault::ChunkOverhead, CHUNK_LINE_BYTES_MAX);
                    if line == Err(Fault::ChunkOverhead) {
                        chunk_size(input.get(..CHUNK_LINE_BYTES_MAX).unwrap_or_default())?;
                    }
                    let Some(line) = line? else {
                        return Ok(Step::More);
                    };
                    let (size, extension) = chunk_size(line)?;
                    let read = line.len() + 2;
                    input.advance(read);
                    self.spend(extension)?;
                    self.state = match size {
                        0 => State::Trailers,
                        size => State::Chunk(size),
                    };
                }
                State::Trailers => {
                    let limit = self.overhead.saturating_add(2);
                    let Some(line) = line(input, Fault::ChunkOverhead, limit)? else {
                        return Ok(Step::More);
                    };
                    let read = line.len() + 2;
                    if line.is_empty() {
                        self.state = State::Done;
                    } else {
                        self.spend(read)?;
                        if !field::is_trailer(line) {
                            return Err(Fault::Trailer);
                        }
                    }
                    input.advance(read);
                }
            }
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        let left = self.overhead.checked_sub(bytes);
        self.overhead = left.ok_or(Fault::ChunkOverhead)?;
        Ok(())
    }
}

/// The line of at most `limit` bytes at the front, without its CR LF. `long` is the fault of a longer line.
fn line(input: &[u8], long: Fault, limit: usize) -> Result<Option<&[u8]>, Fault> {
    let Some(end) = input.iter().take(limit).position(|byte| *byte == b'\n') else {
        // A line that can only be wrong is refused before its end has come.
        return if input.len() >= limit {
            Err(long)
        } else {
            Ok(None)
        };
    };
    match input.get(..end).unwrap_or_default() {
        [line @ .., b'\r'] if !line.contains(&b'\r') => Ok(Some(line)),
        _ => Err(Fault::LineEnd),
    }
}

/// The size of a chunk, and the length of its extensions (RFC 9112 section 7.1).
fn chunk_size(line: &[u8]) -> Result<(u64, usize), Fault> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = digits.count();
    let (size, extensions) = line.split_at(digits);
    if digits == 0 || digits > SIZE_DIGITS_MAX {
        return Err(Fault::ChunkSize);
    }
    let size = std::str::from_utf8(size).map_err(|_| Fault::ChunkSize)?;
    let size = u64::from_str_radix(size, 16).map_err(|_| Fault::ChunkSize)?;
    if !field::is_chunk_extensions(extensions) {
        let fault = match extensions.trim_ascii_start().first() {
            Some(b';') => Fault::ChunkExtension,
            Some(_) | None => Fault::ChunkSize,
        };
        return Err(fault);
    }
    Ok((size, extensions.len()))
}
