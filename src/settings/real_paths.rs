//! Paths without links.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// The path without links, also of what is not there yet.
pub(super) fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        // `collect` leaves out the slash that joining nothing adds.
        let real = fs::canonicalize(above).ok()?.join(rest);
        Some(real.components().collect())
    });
    known.unwrap_or(path)
}

/// Finds paths without links. Many folders mostly stand in one, whose own path is found once.
#[derive(Debug, Default)]
pub(super) struct RealPaths {
    parents: Mutex<HashMap<PathBuf, PathBuf>>,
}

impl RealPaths {
    /// The path without links.
    pub(super) fn of(&self, path: &Path) -> PathBuf {
        self.in_parent(path).unwrap_or_else(|| real(path))
    }

    /// The path, unless it is a link itself.
    fn in_parent(&self, path: &Path) -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        let (parent, name) = (path.parent()?, path.file_name()?);
        // Not held while the disk is asked, which may not answer.
        let known = self.parents.lock().get(parent).cloned();
        let real = if let Some(known) = known {
            known
        } else {
            let found = fs::canonicalize(parent).ok()?;
            let mut parents = self.parents.lock();
            parents.insert(parent.to_owned(), found.clone());
            found
        };
        let real = real.join(name);
        let is = fs::symlink_metadata(&real).ok()?;
        (!is.is_symlink()).then_some(real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_links_is_the_one_that_the_system_finds() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        std::os::unix::fs::symlink("b", at("a/link")).unwrap();
        let paths = RealPaths::default();
        for name in [
            "a",
            "a/b",
            "a/b/",
            "link",
            "link/b",
            "link/link",
            "a/../a/b",
            "a/b/..",
            "link/..",
        ] {
            for _ in 0..2 {
                assert_eq!(
                    paths.of(&at(name)),
                    fs::canonicalize(at(name)).unwrap(),
                    "{name}"
                );
            }
        }
    }
}
