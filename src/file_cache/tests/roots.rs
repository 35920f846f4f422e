//! Folders that come and go while the cache runs, and limits that change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, TryStreamExt};
use tokio::time::Instant;

use super::super::budget::cost;
use super::super::handle::kept;
use super::super::roots::{ROOTS_MAX, RootFault};
use super::super::*;
use super::hangs::advance;
use super::site::{CachedSite, DEADLINE, any, limits, pass, paused, read_steps};
use crate::telemetry::exposed;

/// Longer than the child needs to find out that a folder is no longer in use, or that a limit has changed.
const A_TURN: u64 = 600;

fn at(route: &str, path: &Path) -> SiteRoot {
    SiteRoot {
        route: route.to_owned(),
        ..SiteRoot::plain(path)
    }
}

/// Looks whether a folder that is new can be read.
async fn probed(root: &RootHandle) -> Result<(), RootFault> {
    let fault = probe_new([root].into_iter()).await.pop();
    fault.map_or(Ok(()), Err)
}

async fn page(site: &CachedSite, root: &RootHandle, path: &str) -> String {
    match site.files.load(root, path).await.unwrap() {
        Loaded::Entry(entry) => String::from_utf8(entry.bytes().to_vec()).unwrap(),
        other @ (Loaded::Large(_) | Loaded::Moved | Loaded::Listing(_)) => {
            panic!("{path} gave {other:?}")
        }
    }
}

fn reasons(site: &CachedSite) -> Vec<(String, Option<String>)> {
    let roots = site.files.roots();
    let reasons = roots
        .iter()
        .map(|root| (root.site.route.clone(), root.fault()));
    reasons.collect()
}

#[test]
fn an_equal_folder_that_is_in_use_keeps_what_is_in_memory_and_another_is_read() {
    paused(async {
        let mut site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        site.write("other.html", "other");
        site.page("/").await;
        let same = site.files.add(SiteRoot::plain(site.folder.path())).unwrap();
        let now = Instant::now();
        assert!(site.files.hit(&same, "/", now).is_some());
        let mut other = SiteRoot::plain(site.folder.path());
        other.index = vec!["other.html".to_owned()];
        let other = site.files.add(other).unwrap();
        assert!(site.files.hit(&other, "/", now).is_none());
        assert_eq!(page(&site, &other, "/").await, "other");
        assert_eq!(site.counted().reads, 2);
        // The generation before goes, and the folder stays.
        site.root = same;
        pass(A_TURN).await;
        assert!(kept(&site.root, "/").is_some());
    });
}

#[test]
fn a_folder_that_nobody_uses_leaves_the_memory_the_metrics_and_the_checks() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        site.write("more/index.html", "more");
        site.page("/").await;
        let before = reasons(&site);
        let more = site.folder.path().join("more");
        let first = site.files.add(at("/more", &more)).unwrap();
        let second = site.files.add(at("/more", &more)).unwrap();
        assert_eq!(page(&site, &first, "/").await, "more");
        drop(first);
        pass(A_TURN).await;
        assert!(site.files.hit(&second, "/", Instant::now()).is_some());
        assert_eq!(site.counted().entries, 2);
        let row = "perennial_file_root_healthy{root=\"/more\"} 1";
        assert!(exposed(site.files.clone()).contains(row));
        let root = Arc::downgrade(&second.0);
        drop(second);
        assert_eq!(reasons(&site), before, "at once");
        assert!(!exposed(site.files.clone()).contains(row));
        pass(A_TURN).await;
        let bytes = u64::try_from(cost(4)).unwrap();
        assert_eq!((site.counted().entries, site.counted().bytes), (1, bytes));
        assert!(root.upgrade().is_none(), "nothing refers to it");
        let again = site.files.add(at("/more", &more)).unwrap();
        assert!(kept(&again, "/").is_none(), "a new one");
        assert_eq!(page(&site, &again, "/").await, "more");
    });
}

#[test]
fn what_was_begun_ends_after_its_folder_has_gone() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        site.write("film.mp4", &"x".repeat(300_000));
        site.write("more/index.html", "more");
        let more = site.folder.path().join("more");
        let root = site.files.add(at("/more", site.folder.path())).unwrap();
        let Ok(Loaded::Large(large)) = site.files.load(&root, "/film.mp4").await else {
            panic!("it is large")
        };
        // Somebody asks for a page and goes away; his question is still answered, and nothing of it is kept.
        assert!(site.files.load(&root, "/").now_or_never().is_none());
        drop(root);
        let other = site.files.add(at("/more", &more)).unwrap();
        pass(A_TURN).await;
        assert_eq!((site.counted().entries, site.counted().bytes), (0, 0));
        let steps = read_steps(&large, 0..large.length(), any());
        let sent: Vec<_> = steps.try_collect().await.unwrap();
        assert_eq!(sent.concat().len(), 300_000);
        assert_eq!(page(&site, &other, "/").await, "more");
        let rows = exposed(site.files.clone());
        assert_eq!(
            rows.matches("root_healthy{root=\"/more\"}").count(),
            1,
            "{rows}"
        );
    });
}

#[test]
fn of_two_folders_of_one_route_the_metrics_and_checks_tell_of_the_younger() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("more/index.html", "more");
        let absent = site.files.add(at("/more", Path::new("/absent"))).unwrap();
        assert!(probed(&absent).await.is_err());
        assert!(reasons(&site).iter().any(|(_, fault)| fault.is_some()));
        let more = site.folder.path().join("more");
        let root = site.files.add(at("/more", &more)).unwrap();
        probed(&root).await.unwrap();
        assert!(reasons(&site).iter().all(|(_, fault)| fault.is_none()));
        drop(root);
        assert!(
            reasons(&site).iter().any(|(_, fault)| fault.is_some()),
            "rolled back"
        );
    });
}

#[test]
fn a_child_that_is_restarted_finds_the_folders_of_the_moment() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        site.write("more/index.html", "more");
        let more = site
            .files
            .add(at("/more", &site.folder.path().join("more")))
            .unwrap();
        let gone = site.files.add(at("/gone", site.folder.path())).unwrap();
        page(&site, &more, "/").await;
        page(&site, &gone, "/").await;
        drop(gone);
        site.faults.arm("file-cache.message", 1);
        site.page("/").await;
        assert_eq!(site.faults.points()["file-cache.message"], 0, "it has died");
        pass(A_TURN).await;
        assert_eq!(site.counted().entries, 2);
        assert!(kept(&more, "/").is_some());
    });
}

#[test]
fn of_folders_that_are_the_same_on_the_disk_one_is_looked_at() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("more/index.html", "more");
        let more = site.folder.path().join("more");
        let add = |route: &str, path: &Path| site.files.add(at(route, path)).unwrap();
        let (first, second) = (add("/a", &more), add("/b", &more));
        // It would never answer.
        second.0.hang.set(true);
        let faults = probe_new([&first, &second].into_iter()).await;
        assert_eq!(faults, []);
        // What one shows counts for all.
        let gone = [
            add("/c", Path::new("/absent")),
            add("/d", Path::new("/absent")),
        ];
        gone[1].0.hang.set(true);
        let faults = probe_new(gone.iter()).await;
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told.iter()
                .all(|text| text.contains("/absent can't be read")),
            "{told:?}"
        );
        second.0.hang.set(false);
        gone[1].0.hang.set(false);
    });
}

#[test]
fn more_folders_that_hang_than_probes_at_a_time_delay_no_other() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        let folders: Vec<_> = (0..9)
            .map(|n| site.folder.path().join(n.to_string()))
            .collect();
        for n in 0..8 {
            site.write(&format!("{n}/index.html"), "page");
        }
        let add = |path: &std::path::PathBuf| {
            site.files
                .add(at(&path.display().to_string(), path))
                .unwrap()
        };
        let roots: Vec<_> = folders.iter().map(add).collect();
        roots[..8].iter().for_each(|root| root.0.hang.set(true));
        let mut probe = Box::pin(probe_new(roots.iter()));
        // The clock stands still while they hang; each step lets some more begin.
        for _ in 0..4 {
            assert!((&mut probe).now_or_never().is_none());
            advance(Duration::from_millis(60)).await;
        }
        // The folder that answers, since it is missing, is known before any other is overdue.
        while !roots[8]
            .0
            .fault()
            .is_some_and(|fault| fault.contains("can't be read"))
        {
            assert!((&mut probe).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        advance(DEADLINE).await;
        let faults = probe.await;
        // The threads that hang would keep a failed test from ending.
        roots[..8].iter().for_each(|root| root.0.hang.set(false));
        let hung = faults
            .iter()
            .filter(|fault| fault.to_string().contains("does not answer"));
        assert_eq!((faults.len(), hung.count()), (9, 8), "{faults:?}");
    });
}

#[test]
fn a_new_folder_is_looked_at_before_it_is_used_and_one_in_use_is_not() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        let absent = || site.files.add(at("/absent", Path::new("/absent"))).unwrap();
        let first = absent();
        let fault = probed(&first).await.unwrap_err();
        let text = "route /absent: its folder /absent can't be read: No such file or directory (os error 2): \
            correct files.root, or look at its permissions, disk or mount";
        assert_eq!(fault.to_string(), text);
        assert_eq!(probed(&absent()).await, Ok(()), "it is in use");
        assert!(probed(&first).await.is_err());
        site.write("more/index.html", "more");
        let hung = site
            .files
            .add(at("/hung", &site.folder.path().join("more")))
            .unwrap();
        hung.0.hang.set(true);
        let mut probe = Box::pin(probed(&hung));
        assert!((&mut probe).now_or_never().is_none());
        advance(DEADLINE * 3 / 4 + Duration::from_millis(1)).await;
        let fault = probe.await.unwrap_err().to_string();
        assert!(fault.contains("does not answer"), "{fault}");
        hung.0.hang.set(false);
    });
}

#[test]
fn no_more_folders_are_in_use_than_there_may_be() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        let add = |n: usize| site.files.add(at(&format!("/{n}"), site.folder.path()));
        let handles: Vec<_> = (2..ROOTS_MAX).map(|n| add(n).unwrap()).collect();
        assert_eq!(add(0).unwrap_err(), RootFault::TooMany);
        assert!(add(2).is_ok(), "it is in use already");
        let full = "perennial_file_cache_roots_full_total 1";
        assert!(exposed(site.files.clone()).contains(full));
        drop(handles);
        pass(A_TURN).await;
        let _again = add(0).unwrap();
        assert_eq!(site.files.published.roots.all().len(), 3);
    });
}

#[test]
fn the_limits_change_while_it_runs() {
    paused(async {
        let site = CachedSite::new(cost(100) * 4).await;
        for n in 0..4 {
            site.write(&format!("{n}.txt"), &"x".repeat(100));
            site.page(&format!("/{n}.txt")).await;
        }
        assert_eq!(site.counted().entries, 4);
        let mut next = limits(cost(100) * 2);
        site.files.set_limits(&next, DEADLINE);
        pass(A_TURN).await;
        assert_eq!((site.counted().entries, site.counted().evictions), (2, 2));
        // A file is not kept any more once the limit is below it, and again when it is above.
        next.max_file_bytes = 99;
        next.revalidate = Duration::ZERO;
        site.files.set_limits(&next, DEADLINE);
        assert!(site.hit("/3.txt").is_none(), "each is compared first");
        assert!(matches!(site.load("/3.txt").await, Ok(Loaded::Large(_))));
        assert!(kept(&site.root, "/3.txt").is_none());
        next.max_file_bytes = 100;
        next.budget_bytes = cost(100) * 9;
        next.revalidate = Duration::from_secs(1);
        site.files.set_limits(&next, DEADLINE);
        pass(A_TURN).await;
        for n in 0..4 {
            site.page(&format!("/{n}.txt")).await;
        }
        assert_eq!(site.counted().entries, 4);
        assert!(site.hit("/3.txt").is_some());
        let second = Duration::from_secs(1);
        site.files.set_limits(&next, second);
        site.root.0.hang.set(true);
        let mut waits = Box::pin(site.load("/other.txt"));
        assert!((&mut waits).now_or_never().is_none());
        advance(second).await;
        assert!(waits.await.is_err());
        site.root.0.hang.set(false);
    });
}
