//! A corpus of hostile paths against a real folder, whose neighbours hold secrets and whose links lead to them. Whatever
//! comes back, it is never a secret, and whatever is honest is still served.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::sync::Semaphore;

use super::super::containment::SafePath;
use super::super::file_error::FileError;
use super::super::folder::{FoundPath, Located, find, open};
use super::super::loader::{Loader, Look};
use super::super::metrics::CacheCounters;
use super::super::root::SiteRoot;
use crate::memory_file::MemoryFiles;

const SECRET: &str = "SECRET";

/// Paths that do not fit the pattern of steps upward.
const ODD: &str = r"
    /.env /%2eenv /.git/config /.git/ /.git /sub/.htpasswd /sub/.hidden/ /sub/.hidden /.index.html
    /link.txt /full.txt /absolute.txt /passwd /up/secret.txt /up/index.html /up/ /up /sub/up/
    /sub/up/secret.txt /sub/up/outside/ /out /out/ /out/index.html /out/secret.txt /two/ /two
    /two/index.html /chain /sub/chain2 /proc/environ /proc/cwd/ /dev/null /dev/zero /dev /ring
    /ring/ /dangling /dangling/ /socket /socket/ /empty/ /empty /empty/index.html /etc/passwd
    //etc/passwd ///etc/passwd /C:/Windows/win.ini /c|/boot.ini C:\boot.ini \\host\share
    file:///etc/passwd http://localhost/secret.txt /file:///etc/passwd secret.txt ../secret.txt
    ./index.html /..data/mounted.html /~root/ /~ /index.html/ /index.html/..
    /index.html/../../secret.txt /index.html%00.txt /sub/index.html.d /sub/index.html.d/
    /site-two/index.html /../site-two/index.html -two/index.html %2d /secret.txt /SECRET.TXT /* /?
    /# /$HOME/secret.txt /`id` /|id /%0a /%0d%0a /% /%% /%2 %00 %2f %2f..%2f %5c /%ff%fe
";

/// `site/` is served; `secret.txt`, `outside/`, `site-two/` lie beside it.
fn world() -> tempfile::TempDir {
    let world = tempfile::tempdir().unwrap();
    let at = |path: &str| world.path().join(path);
    for folder in [
        "site/sub/deep",
        "site/empty",
        "site/.git",
        "site/.well-known",
        "site/..data",
        "site/sub/.hidden",
    ] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    for folder in ["outside", "site-two", "site/sub/index.html.d"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    for secret in [
        "secret.txt",
        "index.html",
        "outside/index.html",
        "outside/secret.txt",
        "site-two/index.html",
        "site/.env",
        "site/.git/config",
        "site/.git/index.html",
        "site/sub/.hidden/index.html",
        "site/sub/.htpasswd",
        "site/.index.html",
    ] {
        fs::write(at(secret), SECRET).unwrap();
    }
    for honest in [
        "site/index.html",
        "site/sub/index.html",
        "site/sub/deep/a b.txt",
        "site/%2e%2e",
        "site/caf\u{e9}.txt",
        "site/a..b",
        "site/.well-known/security.txt",
        "site/..data/mounted.html",
    ] {
        fs::write(at(honest), "honest").unwrap();
    }
    for (link, target) in [
        ("site/link.txt", "../secret.txt"),
        ("site/absolute.txt", "/etc/hostname"),
        ("site/passwd", "/etc/passwd"),
        ("site/up", ".."),
        ("site/sub/up", "../.."),
        ("site/out", "../outside"),
        ("site/two", "../site-two"),
        ("site/chain", "sub/chain2"),
        ("site/sub/chain2", "../../secret.txt"),
        ("site/proc", "/proc/self"),
        ("site/dev", "/dev"),
        ("site/ring", "ring"),
        ("site/dangling", "nowhere"),
        ("site/mounted.html", "..data/mounted.html"),
        ("site/inside", "sub/deep"),
        ("site/round", "../site/sub"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    symlink(at("secret.txt"), at("site/full.txt")).unwrap();
    symlink(at("outside/index.html"), at("site/empty/index.html")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(at("site/socket")).unwrap());
    world
}

/// The content that is served for `raw`, or the error.
fn served(root: &Path, raw: &str) -> Result<String, FileError> {
    let root = SiteRoot::plain(root);
    let counters = CacheCounters::default();
    let loader = Loader {
        root: &root,
        max_file_bytes: 1 << 20,
        counters: &counters,
        memory_files: &MemoryFiles::new(1),
        large_files: &Arc::new(Semaphore::new(1)),
        now: SystemTime::now(),
        now_ms: 0,
    };
    match loader.look(&SafePath::new(raw)?, None, || ())? {
        Look::Read(entry) => Ok(String::from_utf8_lossy(entry.bytes()).into_owned()),
        Look::Moved => Ok("moved".to_owned()),
        Look::Listing(_) => Ok("listing".to_owned()),
        Look::Unchanged(_) | Look::Large(_) => {
            panic!("nothing is known, and nothing here is large")
        }
    }
}

/// Every way of writing a step upward, at every place, towards every secret; and what does not fit that pattern.
fn corpus(world: &Path) -> Vec<String> {
    let ups = [
        "..",
        "%2e%2e",
        "%2E%2E",
        ".%2e",
        "%2e.",
        "%252e%252e",
        "..%00",
        "..;",
        "...",
        "....",
        "%c0%ae%c0%ae",
        "%e0%80%ae%e0%80%ae",
        "%uff0e%uff0e",
        "..%01",
        ". .",
        " ..",
        "..%20",
        "%EF%BC%8E%EF%BC%8E",
    ];
    let separators = [
        "/",
        "%2f",
        "%2F",
        "\\",
        "%5c",
        "//",
        "/./",
        "%252f",
        "%c0%af",
        "%e2%88%95",
        "/%2e/",
    ];
    let mut paths = Vec::new();
    for up in ups {
        for separator in separators {
            for start in ["/", "/sub/", "/sub/deep/", ""] {
                for depth in [1, 2, 3, 8] {
                    let climb = format!("{up}{separator}").repeat(depth);
                    for target in ["secret.txt", "outside/secret.txt", "etc/passwd", ""] {
                        paths.push(format!("{start}{climb}{target}"));
                    }
                }
            }
        }
    }
    paths.extend(ODD.split_whitespace().map(str::to_owned));
    paths.extend(
        [
            "/\u{feff}../secret.txt",
            "/\u{2215}etc",
            "/.\u{200b}./secret.txt",
        ]
        .map(str::to_owned),
    );
    paths.push(world.join("secret.txt").display().to_string());
    paths.push(format!("/{}", world.join("secret.txt").display()));
    paths.push("/..".repeat(2000));
    paths.push("/a".repeat(2000));
    paths.push(format!("/{}", "a".repeat(4000)));
    paths
}

#[test]
fn no_path_of_the_corpus_reaches_a_secret() {
    let world = world();
    let root = world.path().join("site");
    let corpus = corpus(world.path());
    assert!(corpus.len() > 100);
    for raw in &corpus {
        if let Ok(content) = served(&root, raw) {
            assert!(
                content == "honest" || content == "moved",
                "{raw:?} served {content:?}"
            );
        }
    }
}

#[test]
fn links_that_lead_out_are_told_from_files_that_are_not_there() {
    let world = world();
    let root = world.path().join("site");
    for outside in [
        "/link.txt",
        "/full.txt",
        "/passwd",
        "/up/secret.txt",
        "/out/",
        "/out",
        "/two/",
        "/chain",
        "/empty/",
        "/empty",
    ] {
        assert_eq!(served(&root, outside), Err(FileError::Outside), "{outside}");
    }
    for absent in [
        "/nothing",
        "/nothing/",
        "/ring",
        "/dangling",
        "/index.html/",
        "/sub/deep/",
        "/sub/deep",
        "/sub/index.html.d",
    ] {
        assert_eq!(served(&root, absent), Err(FileError::Absent), "{absent}");
    }
    assert_eq!(served(&root, "/socket"), Err(FileError::Irregular));
}

#[test]
fn honest_paths_are_served_links_inside_included() {
    let world = world();
    let root = world.path().join("site");
    for honest in [
        "/",
        "/index.html",
        "/sub/",
        "/sub/index.html",
        "/sub/deep/a%20b.txt",
        "/sub/deep/a b.txt",
        "/%252e%252e",
        "/caf%C3%A9.txt",
        "/a..b",
        "/.well-known/security.txt",
        "/mounted.html",
        "/inside/a%20b.txt",
        "/round/",
    ] {
        assert_eq!(served(&root, honest), Ok("honest".to_owned()), "{honest}");
    }
    for folder in ["", "/sub", "/round"] {
        assert_eq!(served(&root, folder), Ok("moved".to_owned()), "{folder:?}");
    }
}

#[test]
fn a_root_that_is_a_link_is_followed_to_where_it_leads_now() {
    let world = world();
    let current = world.path().join("current");
    symlink("site", &current).unwrap();
    assert_eq!(served(&current, "/"), Ok("honest".to_owned()));
    fs::create_dir(world.path().join("release")).unwrap();
    fs::write(world.path().join("release/index.html"), "released").unwrap();
    symlink("release", world.path().join("next")).unwrap();
    fs::rename(world.path().join("next"), &current).unwrap();
    assert_eq!(served(&current, "/"), Ok("released".to_owned()));
    assert_eq!(served(&current, "/sub/"), Err(FileError::Absent));
}

#[test]
fn a_root_that_is_a_link_to_a_file_or_to_itself_is_no_root() {
    let world = world();
    let link = |target: &str| {
        let link = world.path().join("link-to-root");
        drop(fs::remove_file(&link));
        symlink(target, &link).unwrap();
        link
    };
    for target in ["secret.txt", "link-to-root", "nowhere"] {
        for path in ["", "/", "/secret.txt", "/a/b"] {
            let served = served(&link(target), path);
            assert!(
                matches!(served, Err(FileError::Root(_))),
                "{target} {path:?}: {served:?}"
            );
        }
    }
}

#[test]
fn a_missing_root_is_no_missing_file() {
    let world = world();
    let gone = served(&world.path().join("gone"), "/");
    assert_eq!(gone, Err(FileError::Root(rustix::io::Errno::NOENT)));
}

/// The file that a path leads to.
fn located(site: &SiteRoot, path: &SafePath) -> Located {
    match find(site, path).unwrap() {
        FoundPath::File(located) => located,
        other @ (FoundPath::Moved | FoundPath::Folder(_)) => panic!("{other:?}"),
    }
}

#[test]
fn what_is_swapped_between_the_look_and_the_opening_is_not_served() {
    let world = world();
    let (root, page) = (
        world.path().join("site"),
        world.path().join("site/sub/index.html"),
    );
    let site = SiteRoot::plain(&root);
    let look = || located(&site, &SafePath::new("/sub/").unwrap());
    assert!(open(&look()).unwrap().is_some());
    let located = look();
    fs::write(world.path().join("fresh"), "honest").unwrap();
    fs::rename(world.path().join("fresh"), &page).unwrap();
    assert!(open(&located).unwrap().is_none(), "another file");
    let located = look();
    fs::remove_file(&page).unwrap();
    assert!(open(&located).unwrap().is_none(), "no file");
    fs::hard_link(world.path().join("secret.txt"), &page).unwrap();
    let located = look();
    fs::remove_file(&page).unwrap();
    symlink("../../secret.txt", &page).unwrap();
    assert!(
        open(&located).unwrap().is_none(),
        "the same file, by a way that leads out"
    );
}

/// Opens `located` on a thread of its own, which has some seconds for it.
fn opened_in_time(located: Located) -> Result<bool, FileError> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(open(&located).map(|opened| opened.is_some())));
    let opened = receiver.recv_timeout(std::time::Duration::from_secs(10));
    opened.expect("the opening does not wait")
}

#[test]
fn a_pipe_or_a_socket_in_the_place_of_a_file_is_opened_without_waiting_and_not_served() {
    let world = world();
    let page = world.path().join("site/sub/index.html");
    let site = SiteRoot::plain(&world.path().join("site"));
    let path = SafePath::new("/sub/").unwrap();
    let pipe = |page: &Path| mknodat(CWD, page, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let socket = |page: &Path| drop(std::os::unix::net::UnixListener::bind(page).unwrap());
    let replacements: [&dyn Fn(&Path); 2] = [&pipe, &socket];
    for replace in replacements {
        fs::write(&page, "honest").unwrap();
        let found = located(&site, &path);
        fs::remove_file(&page).unwrap();
        replace(&page);
        let name = found.name.clone();
        assert_eq!(opened_in_time(found), Ok(false), "swapped in");
        // A new file may have the number of one that was removed.
        let metadata = page.symlink_metadata().unwrap();
        let path = page.canonicalize().unwrap();
        let same = Located {
            name,
            path,
            metadata,
        };
        assert_eq!(opened_in_time(same), Ok(false), "with the same number");
        fs::remove_file(&page).unwrap();
    }
}
