//! The progress of a task that reads the store from outside.

use std::io::{self, Read};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::num::as_u64;

/// A task on the store that another room carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackupTask {
    /// A backup is written.
    Write,
    /// A backup is restored and compared.
    Verify,
}

/// The progress of a task. A store that was told of it tells of it in turn, until this is dropped.
pub(crate) trait TaskProgress {
    /// The counter of the bytes that were read.
    fn counter(&self) -> &Arc<AtomicU64>;

    /// Notes that this many bytes have to be read besides those that were.
    fn has_left(&self, bytes: u64);
}

/// A task whose progress is not shown.
#[derive(Debug, Default)]
pub(crate) struct Untold(Arc<AtomicU64>);

impl TaskProgress for Untold {
    fn counter(&self) -> &Arc<AtomicU64> {
        &self.0
    }

    fn has_left(&self, _: u64) {}
}

/// Counts the bytes that are read.
pub(crate) struct ReadCounter<R, C> {
    pub(crate) from: R,
    pub(crate) counter: C,
}

impl<R: Read, C: Deref<Target = AtomicU64>> Read for ReadCounter<R, C> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.from.read(into)?;
        self.counter.fetch_add(as_u64(bytes), Ordering::Relaxed);
        Ok(bytes)
    }
}
