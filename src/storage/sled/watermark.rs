//! A file beside the store with the number of the last change that was acknowledged.
//!
//! sled ends its recovery at the first damage in its log, and what comes before the damage is a consistent store, only an
//! older one. So this number is stored outside of it, written after each flush and before the answers. It is not synced:
//! after a power cut it may be too low, which does no harm; it is never too high.

// Decision: The acknowledged sequence number is stored beside the log.
// Decision: An empty store with an acknowledged write is damaged.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BYTES: usize = 12;

/// The open file.
pub(super) struct Watermark {
    file: File,
}

impl Watermark {
    /// Opens the file beside the store, or creates it.
    pub(super) fn open(store: &Path) -> io::Result<Self> {
        let path = store.with_extension("acknowledged");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Ok(Self { file })
    }

    /// The last change that was acknowledged, if that is known. 0 means that the store was created and not changed yet.
    pub(super) fn read(&self) -> Option<u64> {
        let mut bytes = [0; BYTES];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        let (seq, crc) = bytes.split_at(8);
        let told = u32::from_be_bytes(crc.try_into().ok()?);
        let number = u64::from_be_bytes(seq.try_into().ok()?);
        (told == crc32fast::hash(seq)).then_some(number)
    }

    /// Notes that all changes up to `seq` are on the disk.
    pub(super) fn write(&self, seq: u64) -> io::Result<()> {
        let seq = seq.to_be_bytes();
        let crc = crc32fast::hash(&seq).to_be_bytes();
        self.file.write_all_at(&[&seq[..], &crc[..]].concat(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_a_damaged_one_is_unknown() {
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
