//! The source of the settings, to read them again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use super::AdminListen;
use super::load::{self, CheckedFolders, LoadError, LoadedSettings};
use super::look_threads::LookThreads;
use super::rules::ADMIN;
use super::watched::WatchedPlaces;

/// The source of the settings: a file with what it includes, and the environment of the process.
#[derive(Debug, Clone)]
pub(crate) struct SettingsSource {
    path: Option<PathBuf>,
    env: BTreeMap<String, String>,
    threads: LookThreads,
}

impl SettingsSource {
    /// The file that is asked for, or else the usual one.
    pub(crate) fn find(asked: Option<PathBuf>, env: BTreeMap<String, String>) -> Self {
        let path = load::find(asked, &env, Path::is_file);
        let threads = LookThreads::default();
        Self { path, env, threads }
    }

    /// Reads the settings.
    pub(crate) fn load(&self, checked: CheckedFolders) -> Result<LoadedSettings, LoadError> {
        load::load_on(self.path.as_deref(), &self.env, checked, &self.threads)
    }

    /// The address of the admin listener, whatever else is wrong with the settings.
    pub(crate) fn admin(&self) -> Result<AdminListen, LoadError> {
        self.one(&ADMIN, |text| text?.parse().ok())
    }

    /// The data folder, whatever else is wrong with the settings.
    pub(crate) fn data(&self) -> Result<PathBuf, LoadError> {
        self.one(&["server", "data"], |text| text.map(PathBuf::from))
    }

    /// The folder of the archive, if there is one, whatever else is wrong with the settings.
    pub(crate) fn archive(&self) -> Result<Option<PathBuf>, LoadError> {
        let archive = ["storage", "archive"];
        self.one(&archive, |text| Some(text.map(PathBuf::from)))
    }

    /// The size of the engine's page cache, whatever else is wrong with the settings.
    pub(crate) fn cache_bytes(&self) -> Result<u64, LoadError> {
        let bytes = |text: &str| Some(text.parse::<ByteSize>().ok()?.as_u64());
        self.one(&["storage", "cache"], |text| text.and_then(bytes))
    }

    fn one<T>(
        &self,
        key: &[&str],
        read: impl FnOnce(Option<&str>) -> Option<T>,
    ) -> Result<T, LoadError> {
        load::one(self.path.as_deref(), &self.env, key, read)
    }

    /// The places on the disk that decide what the settings are.
    pub(crate) fn places(&self) -> WatchedPlaces {
        let path = self.path.as_deref();
        path.map_or_else(WatchedPlaces::default, load::places)
    }

    /// The file without links, if there is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let path = self.path.as_ref()?;
        let real = fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        Some(real.unwrap_or_else(|_| path.clone()))
    }

    /// The file, for people.
    pub(crate) fn name(&self) -> String {
        let path = self.path.as_ref().map(|path| path.display().to_string());
        path.unwrap_or_else(|| "built-in defaults".to_owned())
    }
}
