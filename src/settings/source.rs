//! The source of the settings, to read them again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use super::findings::Findings;
use super::load::{self, CheckedFolders, LoadError, LoadedSettings};
use super::look_threads::LookThreads;
use super::rules::{self, ADMIN, TLS_LISTEN};
use super::watched::WatchedPlaces;
use super::{AdminListen, IdScheme, Settings};

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
        load::load_on(
            self.path.as_deref(),
            &self.env,
            checked,
            None,
            &self.threads,
        )
    }

    /// Reads the settings for a daemon that runs with those `in_force`. A folder that it serves already and that can't be read is
    /// only a warning.
    pub(crate) fn load_again(&self, in_force: &Settings) -> Result<LoadedSettings, LoadError> {
        let (path, checked) = (self.path.as_deref(), CheckedFolders::AllButData);
        load::load_on(path, &self.env, checked, Some(in_force), &self.threads)
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

    /// The kind of the ids of a resource, whatever else is wrong with the settings; `None` if it is not declared.
    pub(crate) fn ids(&self, resource: &str) -> Result<Option<IdScheme>, LoadError> {
        let key = ["resource", resource, "id"];
        let read = |found: &Findings| {
            let declared = found.named("resource");
            if declared.iter().all(|name| name != resource) {
                return Some(None);
            }
            let text = rules::text(found, &key)?;
            serde_json::from_value(text.into()).ok().map(Some)
        };
        load::one(self.path.as_deref(), &self.env, &key, read)
    }

    /// All that backups by hand need, whatever else is wrong with the settings. The rest has its defaults.
    pub(crate) fn for_backups(&self) -> Result<Settings, LoadError> {
        let parts: [&[&str]; 3] = [&["server", "data"], &["backup"], &["storage", "reserve"]];
        load::parts(self.path.as_deref(), &self.env, &parts)
    }

    /// All addresses, whatever else is wrong. The rest has its defaults.
    pub(crate) fn addresses(&self) -> Result<Settings, LoadError> {
        let parts: [&[&str]; 2] = [&["server"], &TLS_LISTEN];
        load::parts(self.path.as_deref(), &self.env, &parts)
    }

    fn one<T>(
        &self,
        key: &[&str],
        read: impl FnOnce(Option<&str>) -> Option<T>,
    ) -> Result<T, LoadError> {
        let read = |found: &Findings| read(rules::text(found, key));
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

    /// The reason why the defaults count, if there is no file: for whoever is in another folder than the settings.
    pub(crate) fn no_file(&self) -> Option<String> {
        let [here, machine] = load::PLACES;
        self.path.is_none().then(|| {
            format!(
                "no settings file: there is no {here} in this folder and no {machine}, so the built-in defaults count; --config FILE names another one"
            )
        })
    }

    /// The file, for people.
    pub(crate) fn name(&self) -> String {
        let path = self.path.as_ref().map(|path| path.display().to_string());
        path.unwrap_or_else(|| "built-in defaults".to_owned())
    }
}
