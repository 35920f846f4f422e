//! Backups that an operator makes and restores at the places of the schedule.

use std::path::Path;

use super::folder_target::FolderTarget;
use super::name::{BackupName, store_part};
use super::run::{BackupRunError, Run, now};
use super::target::{self, BackupTarget as _, Found};
use crate::settings::{BackupSettings, BackupTo, Settings};
use crate::storage::{Manifest, Moment, no_store, restore_backup, store_in};

/// A folder of backups, or a bucket, as a command names it.
pub(crate) struct BackupPlace(BackupTo);

impl BackupPlace {
    /// The place that is named; `None` if it is a single file, or a folder without backups.
    pub(crate) fn of(named: &Path) -> Option<Self> {
        if let Some(text) = named.to_str().filter(|text| text.starts_with("s3://")) {
            return text.parse().ok().map(Self);
        }
        let store = |part| named.join(part).exists();
        let place = named.is_dir() && !store("journal") && !store("snapshots");
        place.then(|| Self(BackupTo::Folder(named.to_owned())))
    }

    /// The same, if a folder has backups.
    pub(crate) fn with_backups(named: &Path) -> Option<Self> {
        let place = Self::of(named)?;
        let has = match &place.0 {
            BackupTo::S3 { .. } => true,
            BackupTo::Folder(folder) => FolderTarget::new(folder)
                .list()
                .is_ok_and(|found| !found.backups.is_empty()),
        };
        has.then_some(place)
    }
}

/// Makes a backup at a place. Returns its name, too.
pub(crate) fn back_up(
    settings: &Settings,
    place: &BackupPlace,
) -> Result<(String, Manifest), BackupRunError> {
    let data = settings.server.data.clone();
    let store = store_in(&data).ok_or_else(|| BackupRunError::Write(no_store(&data)))?;
    let target = target::open(&place.0, &settings.backup)?;
    let run = Run::new(settings, place.0.clone());
    let (name, manifest) = run.make(&*target, store_part(store), now())?;
    Ok((format!("{}/{name}", place.0), manifest))
}

/// Restores the backup of a place that has a moment. `tell` is told first which one that is, and one of another store that may
/// have the moment, too.
pub(crate) fn restore(
    settings: &BackupSettings,
    from: &BackupPlace,
    at: Moment,
    into: &Path,
    tell: impl FnOnce(String, Option<String>),
) -> Result<Manifest, BackupRunError> {
    let (place, named) = split(&from.0);
    let target = target::open(&place, settings)?;
    let chosen = match named {
        Some(name) => Some(Chosen { name, other: None }),
        None => choose(&target.list()?, at),
    };
    let Some(Chosen { name, other }) = chosen else {
        return Err(BackupRunError::NoBackup(place));
    };
    let path = |name| format!("{place}/{name}");
    tell(path(name), other.map(path));
    let mut from = target.read(name)?;
    restore_backup(&mut *from, at, into).map_err(|error| BackupRunError::Restore { name, error })
}

/// The place of a backup, and its name if a single one is named.
fn split(from: &BackupTo) -> (BackupTo, Option<BackupName>) {
    match from {
        BackupTo::S3 { bucket, prefix } => {
            let (above, last) = prefix.rsplit_once('/').unwrap_or(("", prefix));
            if let Ok(name) = last.parse() {
                let (bucket, prefix) = (bucket.clone(), above.to_owned());
                return (BackupTo::S3 { bucket, prefix }, Some(name));
            }
            (from.clone(), None)
        }
        BackupTo::Folder(_) => (from.clone(), None),
    }
}

/// A backup from which a moment is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chosen {
    name: BackupName,
    /// The newest one of another store that may have that moment, too: a restore begins another store, so that the same moment
    /// may be in the past that was given up.
    other: Option<BackupName>,
}

/// The backup from which a moment is restored: of those of the store of the newest one, the first after the moment, which has
/// what was before; else the newest.
fn choose(found: &Found, at: Moment) -> Option<Chosen> {
    let names = found.backups.iter().map(|(name, _)| *name);
    let newest = names.clone().next_back()?;
    let is_after = |name: &BackupName| match at {
        Moment::Latest => false,
        Moment::Change(change) => name.change >= change,
        Moment::Time(ms) => name.taken > ms / 1000,
    };
    let mut own = names.clone().filter(|name| name.store == newest.store);
    let mut others = names.filter(|name| name.store != newest.store);
    Some(Chosen {
        name: own.find(is_after).unwrap_or(newest),
        other: others.rfind(is_after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_restored_from_the_first_backup_after_it() {
        let name = |taken| BackupName {
            taken,
            change: taken * 2,
            store: 1,
        };
        let backups = [10, 20, 30].map(|taken| (name(taken), 1));
        let found = Found {
            backups: backups.to_vec(),
            ..Found::default()
        };
        for (at, chosen) in [
            (Moment::Latest, 30),
            (Moment::Change(1), 10),
            (Moment::Change(40), 20),
            (Moment::Change(41), 30),
            (Moment::Change(99), 30),
            (Moment::Time(9_999), 10),
            (Moment::Time(10_000), 20),
            (Moment::Time(99_000), 30),
        ] {
            let chosen = Chosen {
                name: name(chosen),
                other: None,
            };
            assert_eq!(choose(&found, at), Some(chosen), "{at:?}");
        }
        assert_eq!(choose(&Found::default(), Moment::Latest), None);
    }

    #[test]
    fn a_moment_is_restored_from_the_store_of_the_newest_backup_and_others_are_told() {
        let name = |taken, change, store| BackupName {
            taken,
            change,
            store,
        };
        // The first store was restored to change 5, and the second one goes on from there.
        let [old, older] = [name(20, 10, 1), name(10, 4, 1)];
        let [new, newest] = [name(30, 8, 2), name(40, 9, 2)];
        let found = Found {
            backups: [older, old, new, newest].map(|name| (name, 1)).to_vec(),
            ..Found::default()
        };
        for (at, chosen, other) in [
            (Moment::Latest, newest, None),
            (Moment::Change(4), new, Some(old)),
            (Moment::Change(7), new, Some(old)),
            (Moment::Change(9), newest, Some(old)),
            (Moment::Change(10), newest, Some(old)),
            (Moment::Change(11), newest, None),
            (Moment::Time(15_000), new, Some(old)),
            (Moment::Time(25_000), new, None),
        ] {
            let chosen = Chosen {
                name: chosen,
                other,
            };
            assert_eq!(choose(&found, at), Some(chosen), "{at:?}");
        }
    }

    #[test]
    fn a_single_backup_of_a_bucket_can_be_named() {
        let name = "perennial-000000000001-20261129T134000Z-42.backup";
        for (text, place, named) in [
            (format!("s3://b/a/c/{name}"), "s3://b/a/c", true),
            (format!("s3://b/{name}"), "s3://b", true),
            ("s3://b/a/c".to_owned(), "s3://b/a/c", false),
        ] {
            let (found, single) = split(&text.parse().unwrap());
            assert_eq!(
                (found.to_string().as_str(), single.is_some()),
                (place, named)
            );
        }
    }
}
