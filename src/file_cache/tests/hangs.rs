//! A folder that does not answer, or answers with errors.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use tokio::time::Instant;

use super::super::health::{Condition, PROBE_HEALTHY};
use super::super::root_io::CALLS_PER_ROOT;
use super::super::*;
use super::site::{CachedSite, DEADLINE, any, pass, paused, read_steps, text};
use crate::supervision::AskError;

/// Makes every call of a root hang, for a test.
#[derive(Debug, Default)]
pub(crate) struct HangSwitch {
    on: Mutex<bool>,
    changed: Condvar,
}

impl HangSwitch {
    pub(crate) fn set(&self, on: bool) {
        *self.on.lock() = on;
        self.changed.notify_all();
    }

    pub(crate) fn pass(&self) {
        let mut on = self.on.lock();
        while *on {
            self.changed.wait(&mut on);
        }
    }
}

/// Moves the paused clock, which stands still while a call hangs, and lets tasks run.
pub(super) async fn advance(time: Duration) {
    tokio::time::advance(time).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_root_that_hangs_is_answered_from_memory_and_delays_no_other() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        site.write("other.html", "other");
        site.write("nowhere/index.html", "elsewhere");
        assert_eq!(site.page("/").await, "home");
        pass(2000).await;
        let root = Arc::clone(&site.root.0);
        root.hang.set(true);
        let (kept, unknown) = (site.load("/"), site.load("/other.html"));
        let both = async { tokio::join!(kept, unknown) };
        let mut both = Box::pin(both);
        assert!((&mut both).now_or_never().is_none());
        let other_root = site.files.load(&site.nowhere, "/").await;
        assert!(matches!(other_root, Ok(Loaded::Entry(_))), "{other_root:?}");
        advance(DEADLINE * 3 / 4 + Duration::from_millis(1)).await;
        let (kept, unknown) = both.await;
        assert!(matches!(kept, Ok(Loaded::Entry(entry)) if entry.bytes() == "home"));
        assert_eq!(unknown.unwrap_err(), AskError::Rejected(FileError::Hung));
        assert_eq!(root.condition(), Condition::Hung);
        assert!(site.root.0.fault().unwrap().contains("does not answer"));
        assert_eq!(site.nowhere.0.fault(), None);
        // From now on nobody waits, and no more threads are used up.
        let begun = Instant::now();
        let stuck = root.stuck();
        for _ in 0..100 {
            assert_eq!(site.page("/").await, "home");
            let unknown = site.load("/other.html").await;
            assert_eq!(unknown.unwrap_err(), AskError::Rejected(FileError::Hung));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(root.stuck(), stuck);
        root.hang.set(false);
        pass(2000).await;
        assert_eq!(root.condition(), Condition::Healthy);
        assert_eq!(root.stuck(), 0);
        assert_eq!(site.page("/other.html").await, "other");
    });
}

#[test]
fn the_threads_of_a_root_that_hangs_are_bounded() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        let root = Arc::clone(&site.root.0);
        pass(1).await;
        root.hang.set(true);
        let paths: Vec<_> = (0..3 * CALLS_PER_ROOT).map(|n| format!("/{n}")).collect();
        let all = paths.iter().map(|path| site.load(path));
        let mut all = Box::pin(futures_util::future::join_all(all));
        assert!((&mut all).now_or_never().is_none());
        advance(Duration::from_millis(10)).await;
        assert!((&mut all).now_or_never().is_none());
        advance(DEADLINE * 3 / 4).await;
        // Those who waited for their turn are answered too. (The slot's queue of four holds back the rest.)
        let answers = all.await;
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        for _ in 0..100 {
            advance(Duration::from_secs(40)).await;
        }
        let stuck = usize::try_from(root.stuck()).unwrap();
        assert!((1..=CALLS_PER_ROOT + 8).contains(&stuck), "{stuck}");
        root.hang.set(false);
        pass(1000).await;
        assert_eq!(root.stuck(), 0);
    });
}

#[test]
fn a_download_from_a_root_that_hangs_is_broken_off() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("film.mp4", &"x".repeat(600_000));
        let large = site.large("/film.mp4").await;
        let mut pieces = read_steps(&large, 0..large.length(), any());
        assert!(pieces.next().await.unwrap().is_ok());
        let root = Arc::clone(&site.root.0);
        root.hang.set(true);
        let mut next = pieces.next();
        assert!((&mut next).now_or_never().is_none());
        advance(DEADLINE).await;
        let error = next.await.unwrap().unwrap_err().to_string();
        assert!(error.contains("does not answer"), "{error}");
        assert_eq!(root.condition(), Condition::Hung);
        root.hang.set(false);
    });
}

#[test]
fn a_download_waits_a_minute_for_a_thread_of_its_folder() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("film.mp4", &"x".repeat(600_000));
        let large = site.large("/film.mp4").await;
        let root = Arc::clone(&site.root.0);
        let mut turns = Vec::new();
        for _ in 0..CALLS_PER_ROOT {
            turns.push(root.turn().await);
        }
        let mut pieces = read_steps(&large, 0..large.length(), any());
        let mut next = pieces.next();
        assert!((&mut next).now_or_never().is_none());
        advance(Duration::from_secs(59)).await;
        assert!((&mut next).now_or_never().is_none());
        turns.pop();
        assert!(next.await.unwrap().is_ok(), "a thread is free in time");
        turns.push(root.turn().await);
        let mut next = pieces.next();
        assert!((&mut next).now_or_never().is_none());
        advance(Duration::from_secs(60)).await;
        let error = next.await.unwrap().unwrap_err().to_string();
        assert!(
            error.contains("no thread of the folder was free"),
            "{error}"
        );
        assert!(pieces.next().await.is_none(), "no more after the error");
    });
}

#[test]
fn a_root_that_is_taken_away_is_noticed_without_requests_and_comes_back() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        assert_eq!(site.page("/").await, "home");
        let (place, away) = (
            site.folder.path().to_owned(),
            site.folder.path().with_extension("away"),
        );
        fs::rename(&place, &away).unwrap();
        pass(6000).await;
        assert!(
            site.root
                .0
                .fault()
                .unwrap()
                .contains("No such file or directory")
        );
        let kind = Errno::NOENT;
        let gone = site.load("/").await.unwrap_err();
        assert_eq!(gone, AskError::Rejected(FileError::Root(kind)));
        fs::write(&place, "a file in the place of the folder").unwrap();
        let kind = Errno::NOTDIR;
        let file = site.load("/").await.unwrap_err();
        assert_eq!(file, AskError::Rejected(FileError::Root(kind)));
        fs::remove_file(&place).unwrap();
        fs::rename(&away, &place).unwrap();
        tokio::time::sleep(PROBE_HEALTHY * 7).await;
        assert_eq!(site.root.0.fault(), None);
        assert_eq!(site.page("/").await, "home");
        assert_eq!(site.counted().reads, 1, "its stamp is the same");
    });
}

#[test]
fn a_copy_in_memory_outlives_errors_and_not_the_file() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("a/index.html", "a");
        assert_eq!(site.page("/a/").await, "a");
        pass(2000).await;
        // A ring of links, a name below a file: the file is gone.
        let a = site.folder.path().join("a");
        fs::remove_dir_all(&a).unwrap();
        fs::write(&a, "a file").unwrap();
        let gone = site.load("/a/").await.unwrap_err();
        assert_eq!(gone, AskError::Rejected(FileError::Absent));
        assert!(text(site.hit("/a/")).is_none());
    });
}

#[test]
fn an_error_that_says_nothing_about_the_file_is_bridged() {
    let io = FileError::Io;
    let root = FileError::Root;
    for error in [
        io(Errno::IO),
        io(Errno::STALE),
        root(Errno::NOTCONN),
        FileError::Hung,
        FileError::Busy,
        FileError::Restless,
    ] {
        assert_eq!(error.bridged_for(), Duration::MAX, "{error}");
        assert!(!error.is_about_the_file(), "{error}");
    }
    for error in [FileError::Absent, FileError::Denied, FileError::Outside] {
        assert_eq!(error.bridged_for(), Duration::ZERO, "{error}");
        assert!(error.is_about_the_file(), "{error}");
    }
    for error in [FileError::Barred, root(Errno::ACCESS)] {
        assert!(!error.bridged_for().is_zero(), "{error}");
        assert!(error.bridged_for() < Duration::MAX, "{error}");
    }
    assert!(root(Errno::NOENT).bridged_for().is_zero());
}
