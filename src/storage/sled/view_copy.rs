//! A copy of a view, made while nobody uses the view, and read in its place: sled writes into what it opens.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::data_folder::{bytes_below, copy_all};
use super::engine::{Engine, OpenFault, Opener as _};
use super::opener::SledOpener;
use crate::supervision::contain;

/// A copy of a view, removed with this value.
pub(super) struct ViewCopy(PathBuf);

impl ViewCopy {
    pub(super) fn make(view: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let name = format!("perennial-check-{}", uuid::Uuid::now_v7());
        let copy = Self(std::env::temp_dir().join(name));
        let made = DirBuilder::new().mode(0o700).create(&copy.0);
        made.and_then(|()| copy_all(view, &copy.0))
            .map_err(|error| (copy.0.clone(), error))?;
        Ok(copy)
    }

    pub(super) fn bytes(&self) -> u64 {
        bytes_below(&self.0)
    }

    /// Opens it and reads it.
    pub(super) fn open<T>(
        &self,
        cache_bytes: u64,
        read: impl FnOnce(&dyn Engine) -> Result<T, OpenFault>,
    ) -> Result<T, OpenFault> {
        // sled panics on some damage.
        let read = contain(|| {
            let engine = SledOpener::new(self.0.clone(), cache_bytes).open(&[])?;
            read(&*engine)
        });
        read.unwrap_or_else(|panic| Err(OpenFault::View(panic.to_string())))
    }
}

impl Drop for ViewCopy {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
