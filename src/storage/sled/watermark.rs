//! How far the store has acknowledged writes, told from outside of the engine.
//!
//! sled ends its recovery at the first damage in its log, and what is before it is a store that fits together: just an
//! older one. So the last acknowledged sequence number is kept in a file beside it, written after each flush and before
//! the answers. It is not synced: after a power cut it may be too low, which is harmless; too high it never is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BYTES: usize = 12;

/// The file.
#[derive(Debug)]
pub(crate) struct Watermark {
    file: File,
}

impl Watermark {
    /// Opens the file beside the store, or makes it.
    pub(crate) fn open(store: &Path) -> io::Result<Self> {
        let path = store.with_extension("acknowledged");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Ok(Self { file })
    }

    /// The last sequence number that was acknowledged, if that is known: 0 says that the store was made, and nothing more.
    pub(crate) fn read(&self) -> Option<u64> {
        let mut bytes = [0; BYTES];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        let (seq, crc) = bytes.split_at(8);
        let told = u32::from_be_bytes(crc.try_into().ok()?);
        let number = u64::from_be_bytes(seq.try_into().ok()?);
        (told == crc32fast::hash(seq)).then_some(number)
    }

    /// Everything up to `seq` is on the disk.
    pub(crate) fn write(&self, seq: u64) -> io::Result<()> {
        let seq = seq.to_be_bytes();
        let crc = crc32fast::hash(&seq).to_be_bytes();
        self.file.write_all_at(&[&seq[..], &crc[..]].concat(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_anything_else_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("sled");
        let mark = Watermark::open(&store).unwrap();
        assert_eq!(mark.read(), None);
        mark.write(70_000).unwrap();
        assert_eq!(Watermark::open(&store).unwrap().read(), Some(70_000));
        mark.file.write_all_at(&[9], 3).unwrap();
        assert_eq!(mark.read(), None);
    }
}
