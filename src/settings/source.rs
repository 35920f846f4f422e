//! The source of the settings, to read them again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::load::{self, CheckedFolders, LoadError, LoadedSettings};

/// The source of the settings: a file with what it includes, and the environment of the process.
#[derive(Debug, Clone)]
pub(crate) struct SettingsSource {
    path: Option<PathBuf>,
    env: BTreeMap<String, String>,
}

impl SettingsSource {
    /// The file that is asked for, or else the usual one.
    pub(crate) fn find(asked: Option<PathBuf>, env: BTreeMap<String, String>) -> Self {
        let path = load::find(asked, &env, Path::is_file);
        Self { path, env }
    }

    /// Reads the settings.
    pub(crate) fn load(&self, checked: CheckedFolders) -> Result<LoadedSettings, LoadError> {
        load::load(self.path.as_deref(), &self.env, checked)
    }

    /// The file, for people.
    pub(crate) fn name(&self) -> String {
        let path = self.path.as_ref().map(|path| path.display().to_string());
        path.unwrap_or_else(|| "built-in defaults".to_owned())
    }
}
