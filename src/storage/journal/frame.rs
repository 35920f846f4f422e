//! A frame: one group of changes as bytes, with check sums. Pure.

use bytes::Bytes;

use super::change::{self, Cursor, JournalChange};
use crate::num::{as_u32, as_u64, as_usize};

/// The first four bytes of a frame.
pub(super) const MAGIC: [u8; 4] = *b"PRNF";
/// The newest version of the format of frames: it has the clients that asked for changes.
pub(crate) const FRAME_VERSION: u8 = 2;
/// The version of a frame without any. It is written where no client had to show who it is, so that the release of before can read
/// it.
const WITHOUT_CLIENTS: u8 = 1;
/// The flag of a frame whose body is compressed by zstd.
const COMPRESSED: u8 = 1;
/// The flag of the last frame of a snapshot.
const LAST: u8 = 2;
/// The length of a frame's head.
pub(super) const HEAD_BYTES: usize = 48;
/// The longest body: none longer is written, so a longer one is damage.
const BODY_BYTES_MAX: u32 = 256 << 20;
const LEVEL: i32 = 1;

/// The reason why bytes are not the frame that is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameFault {
    #[error("the bytes of a head are not a frame's")]
    NoFrame,
    #[error("the check sum of a head is wrong")]
    Head,
    #[error("the frame has version {0}, this program knows {FRAME_VERSION}")]
    Version(u8),
    #[error("the frame is longer than its file")]
    Short,
    #[error("the check sum of a body is wrong")]
    Body,
    #[error("the frame does not follow the one before it")]
    Order,
    #[error("the body's fields don't fit together")]
    Form,
    #[error("the head of the file is wrong")]
    FileHead,
    #[error("the file belongs to another store")]
    Foreign,
    #[error("it is no regular file")]
    NotPlain,
}

/// The link from a frame to the one before: the check sum of a frame's head is part of the next frame's head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chain(pub(crate) u32);

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameInfo {
    flags: u8,
    body_bytes: u32,
    changes: u32,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) before: Chain,
    body_crc: u32,
    /// The chain after this frame.
    pub(super) chain: Chain,
}

/// The form in which a frame is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// In the journal: as it is.
    Plain,
    /// In a snapshot: compressed.
    Compressed,
    /// The last one of a snapshot.
    End,
}

/// Whether a frame can hold these changes, so that it is read back.
pub(super) fn fits(changes: &[JournalChange]) -> bool {
    let bytes: usize = changes.iter().map(JournalChange::bytes).sum();
    as_u64(bytes) <= u64::from(BODY_BYTES_MAX)
}

/// Appends the frame of these changes, which are not none, to `out`. Returns the chain after it.
pub(super) fn encode(
    out: &mut Vec<u8>,
    changes: &[JournalChange],
    kind: FrameKind,
    before: Chain,
) -> Chain {
    let begin = out.len();
    out.resize(begin + HEAD_BYTES, 0);
    for change in changes {
        change::encode(out, change);
    }
    let flags = match kind {
        FrameKind::Plain => 0,
        FrameKind::End => LAST,
        FrameKind::Compressed => {
            let body = out.get(begin + HEAD_BYTES..).unwrap_or_default();
            match zstd::bulk::compress(body, LEVEL) {
                Ok(shorter) => {
                    out.truncate(begin + HEAD_BYTES);
                    out.extend_from_slice(&shorter);
                    COMPRESSED
                }
                Err(_) => 0,
            }
        }
    };
    let body = out.get(begin + HEAD_BYTES..).unwrap_or_default();
    let seqs = || changes.iter().map(|change| change.seq);
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(&MAGIC);
    let has_clients = changes.iter().any(|change| change.by.is_some());
    let version = if has_clients {
        FRAME_VERSION
    } else {
        WITHOUT_CLIENTS
    };
    head.extend_from_slice(&[version, flags, 0, 0]);
    head.extend_from_slice(&as_u32(body.len()).to_be_bytes());
    head.extend_from_slice(&as_u32(changes.len()).to_be_bytes());
    head.extend_from_slice(&seqs().min().unwrap_or(0).to_be_bytes());
    head.extend_from_slice(&seqs().max().unwrap_or(0).to_be_bytes());
    head.extend_from_slice(&before.0.to_be_bytes());
    head.extend_from_slice(&crc32c::crc32c(body).to_be_bytes());
    let chain = crc32c::crc32c(&head);
    head.extend_from_slice(&chain.to_be_bytes());
    head.resize(HEAD_BYTES, 0);
    if let Some(room) = out.get_mut(begin..begin + HEAD_BYTES) {
        room.copy_from_slice(&head);
    }
    Chain(chain)
}

impl FrameInfo {
    /// The head at the beginning of `bytes`; `None` if nothing was written there: only zeros.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>, FrameFault> {
        let Some(head) = bytes.get(..HEAD_BYTES) else {
            let unused = bytes.iter().all(|byte| *byte == 0);
            return if unused {
                Ok(None)
            } else {
                Err(FrameFault::Short)
            };
        };
        if head.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut cursor = Cursor(head);
        Self::fields(&mut cursor, head).map(Some)
    }

    fn fields(cursor: &mut Cursor<'_>, head: &[u8]) -> Result<Self, FrameFault> {
        let short = || FrameFault::Short;
        if cursor.array::<4>() != Some(MAGIC) {
            return Err(FrameFault::NoFrame);
        }
        let [version, flags, _, _] = cursor.array().ok_or_else(short)?;
        let info = Self {
            flags,
            body_bytes: cursor.u32().ok_or_else(short)?,
            changes: cursor.u32().ok_or_else(short)?,
            first: cursor.u64().ok_or_else(short)?,
            last: cursor.u64().ok_or_else(short)?,
            before: Chain(cursor.u32().ok_or_else(short)?),
            body_crc: cursor.u32().ok_or_else(short)?,
            chain: Chain(cursor.u32().ok_or_else(short)?),
        };
        let summed = head.get(..HEAD_BYTES - 8).unwrap_or_default();
        let rest = head.get(HEAD_BYTES - 4..).unwrap_or_default();
        if crc32c::crc32c(summed) != info.chain.0 || rest != [0; 4] {
            return Err(FrameFault::Head);
        }
        if !(WITHOUT_CLIENTS..=FRAME_VERSION).contains(&version) {
            return Err(FrameFault::Version(version));
        }
        if info.body_bytes > BODY_BYTES_MAX || info.flags > COMPRESSED | LAST {
            return Err(FrameFault::Form);
        }
        Ok(info)
    }

    /// The length of the whole frame.
    pub(super) fn bytes(&self) -> usize {
        HEAD_BYTES + as_usize(u64::from(self.body_bytes))
    }

    /// Whether its body is not as it will be read.
    pub(super) fn is_compressed(&self) -> bool {
        self.flags & COMPRESSED != 0
    }

    /// Whether it is the last frame of a snapshot.
    pub(super) fn is_end(&self) -> bool {
        self.flags & LAST != 0
    }

    /// Whether it may follow the frame that left the chain `before`.
    pub(super) fn follows(&self, before: Chain) -> bool {
        self.before == before
    }

    /// The body of the frame that begins `bytes`, if it is what was written. Does not read its fields.
    pub(super) fn body<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], FrameFault> {
        let body = bytes
            .get(HEAD_BYTES..self.bytes())
            .ok_or(FrameFault::Short)?;
        if crc32c::crc32c(body) == self.body_crc {
            Ok(body)
        } else {
            Err(FrameFault::Body)
        }
    }

    /// The changes of a body that was checked.
    pub(super) fn changes(&self, body: &[u8]) -> Result<Vec<JournalChange>, FrameFault> {
        let plain = if self.flags & COMPRESSED == 0 {
            Bytes::copy_from_slice(body)
        } else {
            Bytes::from(zstd::stream::decode_all(body).map_err(|_| FrameFault::Form)?)
        };
        let mut cursor = Cursor(&plain);
        let mut changes = Vec::new();
        while !cursor.0.is_empty() {
            let change = change::decode(&plain, &mut cursor).ok_or(FrameFault::Form)?;
            changes.push(change);
        }
        if as_u32(changes.len()) == self.changes {
            Ok(changes)
        } else {
            Err(FrameFault::Form)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::JournalEffect;
    use super::*;
    use crate::supervision::MessageId;

    fn changes() -> Vec<JournalChange> {
        let change = |seq, effect| JournalChange {
            seq,
            at_ms: seq * 1000,
            message: MessageId(u128::MAX - 7),
            collection: "books".to_owned(),
            key: b"dune".to_vec(),
            effect,
            by: None,
        };
        let put = JournalEffect::Put {
            created_ms: 5,
            json: Bytes::from(format!("{{\"title\":\"{}\"}}", "Dune ".repeat(200))),
        };
        vec![
            change(8, put),
            change(9, JournalEffect::Delete),
            change(10, JournalEffect::Numbers { next: 77 }),
        ]
    }

    fn decode(bytes: &[u8], before: Chain) -> Result<Vec<JournalChange>, FrameFault> {
        let info = FrameInfo::decode(bytes)?.ok_or(FrameFault::NoFrame)?;
        if !info.follows(before) {
            return Err(FrameFault::Order);
        }
        info.changes(info.body(bytes)?)
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        for kind in [FrameKind::Plain, FrameKind::Compressed, FrameKind::End] {
            let mut out = vec![7; 3];
            let chain = encode(&mut out, &changes(), kind, Chain(4));
            let frame = out.get(3..).unwrap();
            assert_eq!(decode(frame, Chain(4)), Ok(changes()), "{kind:?}");
            assert_eq!(decode(frame, Chain(5)), Err(FrameFault::Order));
            let info = FrameInfo::decode(frame).unwrap().unwrap();
            assert_eq!((info.first, info.last, info.chain), (8, 10, chain));
            assert_eq!(info.is_end(), kind == FrameKind::End);
            assert_eq!(frame.len() < 600, kind == FrameKind::Compressed);
        }
    }

    #[test]
    fn a_frame_with_clients_is_one_of_version_2_and_one_without_of_version_1() {
        let mut with = changes();
        with[1].by = Some("key:ci".into());
        with[2].by = Some("x".repeat(255).as_str().into());
        for (changes, version) in [(changes(), 1), (with, 2)] {
            for kind in [FrameKind::Plain, FrameKind::Compressed] {
                let mut frame = Vec::new();
                encode(&mut frame, &changes, kind, Chain(4));
                assert_eq!(frame[4], version);
                assert_eq!(decode(&frame, Chain(4)), Ok(changes.clone()));
                let bytes: usize = changes.iter().map(JournalChange::bytes).sum();
                assert!(kind == FrameKind::Compressed || frame.len() == HEAD_BYTES + bytes);
            }
        }
    }

    #[test]
    fn nothing_written_is_no_frame() {
        for length in [0, 1, HEAD_BYTES - 1, HEAD_BYTES, 4096] {
            assert_eq!(FrameInfo::decode(&vec![0; length]), Ok(None));
        }
    }

    #[test]
    fn no_bit_of_a_frame_can_change_unseen() {
        let mut whole = Vec::new();
        encode(&mut whole, &changes(), FrameKind::Plain, Chain(4));
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, Chain(4)).is_err(), "bit {bit}");
        }
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut], Chain(4)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn random_bytes_behind_a_right_check_sum_are_refused_without_a_panic() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut accepted = 0;
        for _ in 0..20_000 {
            let length_of = random.usize(..200);
            let body: Vec<u8> = std::iter::repeat_with(|| random.u8(..4))
                .take(length_of)
                .collect();
            let info = FrameInfo {
                flags: random.u8(..2),
                body_bytes: as_u32(body.len()),
                changes: random.u32(..3),
                first: 0,
                last: 0,
                before: Chain(0),
                body_crc: crc32c::crc32c(&body),
                chain: Chain(0),
            };
            accepted += usize::from(info.changes(&body).is_ok());
        }
        assert!(accepted < 20_000);
    }
}
