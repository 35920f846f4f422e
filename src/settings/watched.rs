//! The paths whose changes may change the settings: the names of their files, of the folders above them and of the
//! symbolic links on the way, each in its folder. Pure, but for the reading of links.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::load::is_meant;

/// The most links on the way to one file, as the kernel follows them.
const LINKS_MAX: usize = 40;

/// The places that decide what the settings are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WatchedPlaces {
    /// Names by folder. One with a `*` stands for all that fit it, as in `include`.
    pub(crate) names: BTreeMap<PathBuf, BTreeSet<OsString>>,
    /// The files themselves, without links: one may be changed through another name.
    pub(crate) files: BTreeSet<PathBuf>,
}

impl WatchedPlaces {
    /// The places of these files and patterns, which are absolute. `read_link` gives the target of a link.
    pub(super) fn of<'a>(
        paths: impl IntoIterator<Item = &'a Path>,
        read_link: impl Fn(&Path) -> Option<PathBuf>,
    ) -> Self {
        let mut places = Self::default();
        for path in paths {
            places.add(path, &read_link);
        }
        places
    }

    fn add(&mut self, path: &Path, read_link: &impl Fn(&Path) -> Option<PathBuf>) {
        let mut folder = PathBuf::from("/");
        let mut ahead = parts(path);
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            if part == ".." {
                folder.pop();
                continue;
            }
            let names = self.names.entry(folder.clone()).or_default();
            names.insert(part.clone());
            let at = folder.join(part);
            match read_link(&at).filter(|_| links < LINKS_MAX) {
                Some(target) => {
                    links += 1;
                    if target.is_absolute() {
                        folder = PathBuf::from("/");
                    }
                    ahead.extend(parts(&target));
                }
                None => folder = at,
            }
        }
        self.files.insert(folder);
    }

    /// Whether something of this name in this folder decides what the settings are.
    pub(crate) fn has(&self, folder: &Path, name: &OsStr) -> bool {
        let names = self.names.get(folder);
        names.is_some_and(|names| names.iter().any(|known| fits(known, name)))
    }
}

/// The names on a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    let parts = path.components().rev().filter(named);
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether a name is the one that is known, or one that the known pattern means.
fn fits(known: &OsStr, name: &OsStr) -> bool {
    match known.to_str().and_then(|known| known.split_once('*')) {
        Some((before, after)) => name
            .to_str()
            .is_some_and(|name| is_meant(name, before, after)),
        None => known == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(paths: &[&str], links: &[(&str, &str)]) -> WatchedPlaces {
        let links: BTreeMap<_, _> = links.iter().copied().collect();
        let read_link = |path: &Path| links.get(path.to_str().unwrap()).map(PathBuf::from);
        WatchedPlaces::of(paths.iter().map(Path::new), read_link)
    }

    fn told(places: &WatchedPlaces) -> Vec<String> {
        let folders = places.names.iter();
        let names = folders.flat_map(|(folder, names)| names.iter().map(|name| folder.join(name)));
        names.map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn every_name_on_the_way_to_a_file_decides_which_file_it_is() {
        let found = places(&["/etc/p/../q/a.toml", "/etc/q/conf.d/*.toml"], &[]);
        let expected = [
            "/etc",
            "/etc/p",
            "/etc/q",
            "/etc/q/a.toml",
            "/etc/q/conf.d",
            "/etc/q/conf.d/*.toml",
        ];
        assert_eq!(told(&found), expected);
        assert!(found.files.contains(Path::new("/etc/q/a.toml")));
        for (folder, name, decides) in [
            ("/etc/q", "a.toml", true),
            ("/etc/q", "b.toml", false),
            ("/etc/q/conf.d", "b.toml", true),
            ("/etc/q/conf.d", ".b.toml", false),
            ("/etc/q/conf.d", "b.toml~", false),
            ("/var", "a.toml", false),
        ] {
            let has = found.has(Path::new(folder), OsStr::new(name));
            assert_eq!(has, decides, "{name} in {folder}");
        }
    }

    #[test]
    fn links_are_followed_and_each_of_them_decides() {
        // As Kubernetes mounts a ConfigMap: the link ..data is replaced by another one.
        let links = [
            ("/etc/p/a.toml", "..data/a.toml"),
            ("/etc/p/..data", "..2026_1"),
        ];
        let found = places(&["/etc/p/a.toml"], &links);
        let expected = [
            "/etc",
            "/etc/p",
            "/etc/p/..2026_1",
            "/etc/p/..data",
            "/etc/p/a.toml",
            "/etc/p/..2026_1/a.toml",
        ];
        assert_eq!(told(&found), expected);
        let file = Path::new("/etc/p/..2026_1/a.toml");
        assert_eq!(found.files.iter().collect::<Vec<_>>(), [file]);
        let found = places(&["/etc/a.toml"], &[("/etc/a.toml", "/srv/b.toml")]);
        assert_eq!(told(&found), ["/etc", "/srv", "/etc/a.toml", "/srv/b.toml"]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let found = places(&["/a"], &[("/a", "b"), ("/b", "a")]);
        assert_eq!(told(&found), ["/a", "/b"]);
    }
}
