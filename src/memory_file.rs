//! Memory files (`memfd_create(2)`): bodies that never change, and that the kernel sends without a copy.

// Decision: Large contents lie in memory files.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{Errno, pread, pwrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::num::{as_u64, as_usize};

/// A smaller body is cheaper to copy than to send by a system call of its own.
const BYTES_MIN: usize = 32 * 1024;

/// The content of a file: on the heap, or in a memory file if it is large and there is room for one more.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Heap(Bytes),
    File(MemoryFile),
}

impl Content {
    /// The number of bytes.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.len(),
            Self::File(file) => as_usize(file.length()),
        }
    }

    /// The bytes of `range`, which are not copied.
    pub(crate) fn slice(&self, range: Range<u64>) -> Self {
        let end = range.end.min(as_u64(self.length()));
        let start = range.start.min(end);
        match self {
            Self::Heap(bytes) => Self::Heap(bytes.slice(as_usize(start)..as_usize(end))),
            Self::File(file) => Self::File(MemoryFile {
                inner: Arc::clone(&file.inner),
                start: file.start + start,
                length: end - start,
            }),
        }
    }

    /// Whether it would be in a memory file if there could be one more.
    pub(crate) fn is_large_on_heap(&self) -> bool {
        matches!(self, Self::Heap(bytes) if bytes.len() >= BYTES_MIN)
    }
}

/// Makes memory files, up to their bound.
#[derive(Debug, Clone)]
pub(crate) struct MemoryFiles {
    places: Arc<Semaphore>,
    most: usize,
}

impl MemoryFiles {
    /// There may be `most` at a time, since each needs a descriptor.
    pub(crate) fn new(most: usize) -> Self {
        let places = Arc::new(Semaphore::new(most));
        Self { places, most }
    }

    /// Keeps the content of a file. It stays on the heap if it is small, or if there can be no more memory files.
    pub(crate) fn keep(&self, bytes: Bytes) -> Content {
        if bytes.len() < BYTES_MIN {
            return Content::Heap(bytes);
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Content::Heap(bytes);
        };
        match seal(&bytes) {
            Ok(file) => Content::File(MemoryFile {
                inner: Arc::new(Inner {
                    file,
                    _place: place,
                }),
                start: 0,
                length: as_u64(bytes.len()),
            }),
            Err(error) => {
                tracing::debug!(%error, "no memory file could be made; the content stays on the heap");
                Content::Heap(bytes)
            }
        }
    }

    /// The number of memory files.
    pub(crate) fn count(&self) -> usize {
        self.most - self.places.available_permits()
    }
}

/// A new memory file with these bytes, which nothing can change.
fn seal(mut bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create("perennial", flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3, which may insist on this flag.
        Err(Errno::INVAL) => memfd_create("perennial", flags),
        created => created,
    }?;
    let mut at = 0;
    while !bytes.is_empty() {
        let written = pwrite(&file, bytes, at)?;
        bytes = bytes.get(written..).unwrap_or_default();
        at += as_u64(written);
    }
    let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&file, all)?;
    Ok(file)
}

/// A sealed memory file, or a part of one. Clones share it; the last one closes it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryFile {
    inner: Arc<Inner>,
    /// The place in the file at which it begins.
    start: u64,
    length: u64,
}

#[derive(Debug)]
struct Inner {
    file: OwnedFd,
    /// Its place among all memory files.
    _place: OwnedSemaphorePermit,
}

impl MemoryFile {
    /// The number of bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The place in the file that the kernel knows of the byte at `at`.
    pub(crate) fn offset(&self, at: u64) -> u64 {
        self.start.saturating_add(at)
    }

    /// A copy of the bytes in `range`, as far as there are any. No file system is read.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let end = range.end.min(self.length);
        let mut bytes = vec![0; as_usize(end.saturating_sub(range.start))];
        let read = pread(&self.inner.file, &mut bytes[..], self.offset(range.start))?;
        bytes.truncate(read);
        Ok(Bytes::from(bytes))
    }
}

impl AsFd for MemoryFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_content_is_in_a_file_that_can_not_be_changed() {
        let files = MemoryFiles::new(1);
        let bytes: Bytes = (0..=255).cycle().take(100_000).collect();
        let Content::File(file) = files.keep(bytes.clone()) else {
            panic!("it is large")
        };
        assert_eq!((file.length(), files.count()), (100_000, 1));
        assert_eq!(file.read(0..100_000).unwrap(), bytes);
        assert_eq!(file.read(99_000..1 << 40).unwrap(), bytes.slice(99_000..));
        assert_eq!(file.read(100_001..100_002).unwrap(), Bytes::new());
        assert!(pwrite(&file, b"x", 0).is_err());
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        drop(file);
        assert_eq!(files.count(), 0);
    }

    #[test]
    fn a_part_has_the_bytes_of_its_range_and_no_others() {
        let files = MemoryFiles::new(1);
        let bytes: Bytes = (0..=255).cycle().take(100_000).collect();
        for content in [Content::Heap(bytes.clone()), files.keep(bytes.clone())] {
            let all = |content: &Content| match content {
                Content::Heap(bytes) => bytes.clone(),
                Content::File(file) => file.read(0..1 << 40).unwrap(),
            };
            let part = content.slice(10..60_001);
            assert_eq!(
                (part.length(), all(&part)),
                (59_991, bytes.slice(10..60_001))
            );
            let part = part.slice(59_990..1 << 40);
            assert_eq!(all(&part), bytes.slice(60_000..60_001));
            assert_eq!(part.slice(7..9).length(), 0);
            if let Content::File(file) = &part {
                assert_eq!(file.offset(0), 60_000);
            }
        }
        assert_eq!(
            files.count(),
            0,
            "a part keeps the file only as long as it is held"
        );
    }

    #[test]
    fn small_contents_and_those_beyond_the_bound_are_on_the_heap() {
        let files = MemoryFiles::new(3);
        let small = files.keep(Bytes::from_static(b"small"));
        assert!(matches!(small, Content::Heap(_)));
        assert!(small.length() == 5 && !small.is_large_on_heap());
        let large = Bytes::from(vec![7; BYTES_MIN]);
        let kept: Vec<_> = (0..4).map(|_| files.keep(large.clone())).collect();
        assert_eq!(files.count(), 3);
        assert!(matches!(kept.last(), Some(Content::Heap(bytes)) if *bytes == large));
        let on_heap = kept.iter().filter(|content| content.is_large_on_heap());
        assert_eq!(on_heap.count(), 1);
        assert!(kept.iter().all(|content| content.length() == BYTES_MIN));
    }
}
