//! A segment that is copied, and the frames that are.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

use super::super::frame::{Chain, FrameFault, FrameInfo, HEAD_BYTES};
use super::super::{JournalError, at};
use crate::num::as_u64;

/// The bytes that are read at once, unless a frame is longer.
const CHUNK_BYTES: usize = 256 << 10;

/// A segment that is copied.
#[derive(Debug)]
pub(super) struct Copying {
    pub(super) number: u64,
    pub(super) from: File,
    pub(super) from_path: PathBuf,
    pub(super) to: File,
    pub(super) to_path: PathBuf,
    /// The place up to which it was copied.
    pub(super) at: u64,
    pub(super) last: u64,
    pub(super) chain: Chain,
}

/// Frames one after the other.
pub(super) struct FrameRun {
    pub(super) bytes: usize,
    pub(super) last: u64,
    pub(super) chain: Chain,
    /// The length of the frame behind them, if not all of it is there.
    needs: usize,
    fault: Option<FrameFault>,
}

/// The whole frames at the beginning of `bytes` whose changes are not after `until`.
pub(super) fn frames_in(bytes: &[u8], last: u64, chain: Chain, until: u64) -> FrameRun {
    let mut run = FrameRun {
        bytes: 0,
        last,
        chain,
        needs: 0,
        fault: None,
    };
    loop {
        let rest = bytes.get(run.bytes..).unwrap_or_default();
        if rest.len() < HEAD_BYTES {
            run.needs = HEAD_BYTES;
            return run;
        }
        let info = match FrameInfo::decode(rest) {
            Ok(Some(info)) if info.last <= until => info,
            Ok(_) => return run,
            Err(fault) => {
                run.fault = Some(fault);
                return run;
            }
        };
        if !info.follows(run.chain) || info.first != run.last + 1 || info.last < info.first {
            run.fault = Some(FrameFault::Order);
            return run;
        }
        match info.body(rest) {
            Ok(_) => {}
            Err(FrameFault::Short) => {
                run.needs = info.bytes();
                return run;
            }
            Err(fault) => {
                run.fault = Some(fault);
                return run;
            }
        }
        run.bytes += info.bytes();
        (run.last, run.chain) = (info.last, info.chain);
    }
}

impl Copying {
    /// Whether another file has taken the place of the one that is copied. It may be gone: then it is read to its end.
    pub(super) fn is_replaced(&self) -> Result<bool, JournalError> {
        let id = |file: Metadata| (file.dev(), file.ino());
        let ours = self.from.metadata().map_err(at(&self.from_path))?;
        match fs::metadata(&self.from_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            found => Ok(id(found.map_err(at(&self.from_path))?) != id(ours)),
        }
    }

    /// Copies the frames up to change `until`, durably.
    pub(super) fn copy(&mut self, until: u64) -> Result<(), JournalError> {
        let begun_at = self.at;
        let mut wanted = CHUNK_BYTES;
        while self.last < until {
            let mut chunk = vec![0; wanted];
            let length = read_some(&self.from, &mut chunk, self.at).map_err(at(&self.from_path))?;
            chunk.truncate(length);
            let run = frames_in(&chunk, self.last, self.chain, until);
            if run.bytes == 0 {
                match run.fault {
                    Some(fault) => {
                        let (path, at) = (self.from_path.clone(), self.at);
                        return Err(JournalError::Damaged { path, at, fault });
                    }
                    None if run.needs > length && length == wanted => {
                        wanted = run.needs;
                        continue;
                    }
                    // It ends here.
                    None => break,
                }
            }
            let frames = chunk.get(..run.bytes).unwrap_or_default();
            self.to
                .write_all_at(frames, self.at)
                .map_err(at(&self.to_path))?;
            self.at += as_u64(run.bytes);
            (self.last, self.chain) = (run.last, run.chain);
        }
        if self.at > begun_at {
            self.to.sync_data().map_err(at(&self.to_path))?;
        }
        Ok(())
    }
}

/// Reads up to the end of the file, or until `into` is full.
fn read_some(file: &File, into: &mut [u8], from: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = into.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + as_u64(read)) {
            Ok(0) => break,
            Ok(length) => read += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
