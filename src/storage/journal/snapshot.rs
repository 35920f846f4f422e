//! A snapshot: all records of one moment in one file, so that the segments before it can be removed.
//!
//! It has the frames of the journal: first the records, as changes with the numbers they were made with, then the changes
//! that were made while those were written. A last frame says that nothing is missing. It is written under another name,
//! read back, and only then gets its own.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::change::JournalChange;
use super::frame::{Chain, FrameFault, FrameInfo, FrameKind, HEAD_BYTES, encode};
use super::segment::SEGMENT_HEAD_BYTES;
use super::{JournalError, StoreId, at, sync_folder};
use crate::num::as_u64;

const ENDING: &str = "snapshot";
const MAGIC: [u8; 8] = *b"PRNSNAP1";
/// The bytes of records that are put into one frame.
const FRAME_BYTES: usize = 1 << 20;
/// The number of snapshots that are kept.
const KEPT: usize = 2;

/// A snapshot on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    path: PathBuf,
    store: StoreId,
    /// The last change that it has.
    pub(crate) seq: u64,
}

/// Writes a snapshot.
#[derive(Debug)]
pub(crate) struct SnapshotWriter {
    folder: PathBuf,
    unfinished: PathBuf,
    out: BufWriter<File>,
    store: StoreId,
    chain: Chain,
    waiting: Vec<JournalChange>,
    waiting_bytes: usize,
    written: u64,
}

impl SnapshotWriter {
    /// Begins one in `folder`, in the place of one that was not finished.
    pub(crate) fn begin(folder: &Path, store: StoreId) -> Result<Self, JournalError> {
        if !folder.exists() {
            fs::create_dir_all(folder).map_err(at(folder))?;
            if let Some(data) = folder.parent() {
                sync_folder(data)?;
            }
        }
        let unfinished = folder.join("unfinished");
        let file = File::create(&unfinished).map_err(at(&unfinished))?;
        let mut out = BufWriter::new(file);
        out.write_all(&head(store)).map_err(at(&unfinished))?;
        Ok(Self {
            folder: folder.to_owned(),
            unfinished,
            out,
            store,
            chain: Chain::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            written: 0,
        })
    }

    /// Adds a change.
    pub(crate) fn add(&mut self, change: JournalChange) -> Result<(), JournalError> {
        self.waiting_bytes += change.bytes();
        self.waiting.push(change);
        if self.waiting_bytes >= FRAME_BYTES {
            self.write(FrameKind::Compressed)?;
        }
        Ok(())
    }

    fn write(&mut self, kind: FrameKind) -> Result<(), JournalError> {
        let changes = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if kind != FrameKind::End {
            if changes.is_empty() {
                return Ok(());
            }
            self.written += as_u64(changes.len());
        }
        let mut frame = Vec::new();
        self.chain = encode(&mut frame, &changes, kind, self.chain);
        self.out.write_all(&frame).map_err(at(&self.unfinished))
    }

    /// Ends the snapshot, whose last change is `seq`: writes it to the disk, reads it back, and gives it its name.
    pub(crate) fn finish(mut self, seq: u64) -> Result<Snapshot, JournalError> {
        self.write(FrameKind::Compressed)?;
        // The last frame carries the number of the last change and how many there are.
        self.waiting.push(JournalChange {
            seq,
            at_ms: self.written,
            message: crate::supervision::MessageId(0),
            collection: String::new(),
            key: Vec::new(),
            effect: super::JournalEffect::Delete,
        });
        self.write(FrameKind::End)?;
        let path = &self.unfinished;
        self.out.flush().map_err(at(path))?;
        self.out.get_ref().sync_all().map_err(at(path))?;
        let unfinished = Snapshot {
            path: path.clone(),
            store: self.store,
            seq,
        };
        unfinished.read::<JournalError>(|_| Ok(()))?;
        let path = self.folder.join(format!("{seq:020}.{ENDING}"));
        fs::rename(&self.unfinished, &path).map_err(at(&path))?;
        sync_folder(&self.folder)?;
        Ok(Snapshot { path, ..unfinished })
    }
}

fn head(store: StoreId) -> Vec<u8> {
    let mut head = Vec::with_capacity(SEGMENT_HEAD_BYTES);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&store.0.to_be_bytes());
    head.extend_from_slice(&crc32c::crc32c(&head).to_be_bytes());
    head.resize(SEGMENT_HEAD_BYTES, 0);
    head
}

impl Snapshot {
    /// The snapshots in a folder, the newest first.
    pub(crate) fn find(folder: &Path, store: StoreId) -> Result<Vec<Self>, JournalError> {
        let mut found = Vec::new();
        if !folder.exists() {
            return Ok(found);
        }
        for entry in fs::read_dir(folder).map_err(at(folder))? {
            let path = entry.map_err(at(folder))?.path();
            let seq = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            if let Some(seq) = seq
                && path.extension().is_some_and(|ending| ending == ENDING)
            {
                found.push(Self { path, store, seq });
            }
        }
        found.sort_unstable_by_key(|snapshot| std::cmp::Reverse(snapshot.seq));
        Ok(found)
    }

    /// Removes all but the newest ones of a folder. Returns the last change of the oldest that is left.
    pub(crate) fn thin_out(folder: &Path, store: StoreId) -> Result<Option<u64>, JournalError> {
        let found = Self::find(folder, store)?;
        for old in found.iter().skip(KEPT) {
            fs::remove_file(&old.path).map_err(at(&old.path))?;
        }
        Ok(found.iter().take(KEPT).next_back().map(|oldest| oldest.seq))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies it into another folder, and reads the copy.
    pub(super) fn copy_to(&self, folder: &Path) -> Result<(), JournalError> {
        let path = folder.join("unfinished");
        let copy = || {
            fs::copy(&self.path, &path)?;
            let file = File::options().write(true).open(&path)?;
            file.set_modified(fs::metadata(&self.path)?.modified()?)?;
            file.sync_all()
        };
        copy().map_err(at(&path))?;
        let named = folder.join(format!("{:020}.{ENDING}", self.seq));
        let copy = Self {
            path: path.clone(),
            ..self.clone()
        };
        copy.read::<JournalError>(|_| Ok(()))?;
        fs::rename(&path, &named).map_err(at(&named))?;
        sync_folder(folder)
    }

    fn damaged(&self, place: u64, fault: FrameFault) -> JournalError {
        let path = self.path.clone();
        let at = place;
        JournalError::Damaged { path, at, fault }
    }

    /// Shows its changes to `visit`, in order.
    pub(crate) fn read<E: From<JournalError>>(
        &self,
        mut visit: impl FnMut(Vec<JournalChange>) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.path.as_path();
        let file = File::open(path).map_err(at(path))?;
        let mut file = BufReader::with_capacity(FRAME_BYTES, file);
        let (mut place, mut chain, mut seen) = (0, Chain::default(), 0);
        let mut take = |length: usize, place: &mut u64| {
            let mut bytes = vec![0; length];
            match file.read_exact(&mut bytes) {
                Ok(()) => *place += as_u64(length),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(self.damaged(*place, FrameFault::Short));
                }
                Err(error) => return Err(at(path)(error)),
            }
            Ok(bytes)
        };
        if take(SEGMENT_HEAD_BYTES, &mut place)? != head(self.store) {
            return Err(self.damaged(0, FrameFault::FileHead).into());
        }
        loop {
            let begin = place;
            let damaged = |fault| self.damaged(begin, fault);
            let mut frame = take(HEAD_BYTES, &mut place)?;
            let info = FrameInfo::decode(&frame).map_err(damaged)?;
            let info = info.ok_or_else(|| damaged(FrameFault::NoFrame))?;
            if !info.follows(chain) {
                return Err(damaged(FrameFault::Order).into());
            }
            frame.extend(take(info.bytes() - HEAD_BYTES, &mut place)?);
            let body = info.body(&frame).map_err(damaged)?;
            let changes = info.changes(body).map_err(damaged)?;
            chain = info.chain;
            if info.is_end() {
                let told = changes.first().map_or(0, |last| last.at_ms);
                if told != seen || info.last != self.seq {
                    return Err(damaged(FrameFault::Form).into());
                }
                return Ok(());
            }
            seen += as_u64(changes.len());
            visit(changes)?;
        }
    }
}
