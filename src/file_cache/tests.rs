//! The file cache as request handlers see it: on one thread, on a paused clock, with the real child and real files.

mod deaths;
mod encoding;
mod hangs;
mod roots;
mod sending;
mod site;
mod traversal;

use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use futures_util::{StreamExt, TryStreamExt};
use tokio::time::{Duration, Instant};

use super::budget::cost;
use super::handle::kept;
use super::root::BUILT_IN_PAGE;
use super::*;
use crate::supervision::AskError;
pub(crate) use hangs::HangSwitch;
use site::{CachedSite, MAX_FILE, any, pass, paused, read_steps, text};

#[test]
fn a_file_is_loaded_once_and_then_hit() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        site.write("a b.css", "p {}");
        assert!(site.hit("/").is_none());
        assert_eq!(site.page("/").await, "home");
        assert_eq!(text(site.hit("/")), Some("home".to_owned()));
        assert_eq!(site.page("/a%20b.css").await, "p {}");
        let entry = site.hit("/%61%20b.css").expect("another way to write it");
        assert_eq!(entry.about.content_type, "text/css; charset=utf-8");
        assert_eq!(site.hit("/a b.css").unwrap().about.etag, entry.about.etag);
        assert!(site.hit("/%zz").is_none());
        assert_eq!(site.counted().reads, 2);
        assert_eq!(site.counted().bytes, u64::try_from(cost(4) * 2).unwrap());
    });
}

#[test]
fn many_who_miss_at_once_cause_one_reading() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        let all = tokio::join!(
            site.load("/"),
            site.load("/"),
            site.load("/"),
            site.load("/")
        );
        assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok() && all.3.is_ok());
        assert_eq!(site.counted().reads, 1);
    });
}

#[test]
fn a_page_that_is_asked_for_often_never_waits_and_shows_a_change_within_a_second() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "old");
        site.page("/").await;
        site.write("index.html", "newer");
        let changed = Instant::now();
        let mut seen = None;
        for _ in 0..300 {
            pass(10).await;
            let content = text(site.hit("/")).expect("never a miss");
            if content == "newer" && seen.is_none() {
                seen = Some(changed.elapsed());
            }
        }
        assert!(seen.unwrap() <= Duration::from_secs(1), "{seen:?}");
        let figures = site.counted();
        assert_eq!(figures.reads, 2);
        assert!(
            (4..=7).contains(&figures.unchanged),
            "a look each half second: {figures:?}"
        );
    });
}

#[test]
fn a_page_that_is_asked_for_rarely_is_looked_at_first() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "old");
        site.page("/").await;
        site.write("index.html", "newer");
        pass(1000).await;
        assert!(site.hit("/").is_none(), "stale");
        assert_eq!(text(kept(&site.root, "/")), Some("old".to_owned()));
        assert_eq!(site.page("/").await, "newer");
        assert_eq!(text(site.hit("/")), Some("newer".to_owned()));
        pass(1000).await;
        assert_eq!(site.page("/").await, "newer");
        assert_eq!(site.counted().unchanged, 1);
    });
}

#[test]
fn what_is_gone_is_forgotten() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("a.html", "a");
        site.page("/a.html").await;
        site.remove("a.html");
        pass(600).await;
        assert!(site.hit("/a.html").is_some(), "within the second");
        pass(1).await;
        assert!(
            kept(&site.root, "/a.html").is_none(),
            "the hit has had it looked at"
        );
        assert_eq!(
            site.load("/a.html").await.unwrap_err(),
            AskError::Rejected(FileError::Absent)
        );
        assert_eq!((site.counted().entries, site.counted().bytes), (0, 0));
    });
}

#[test]
fn paths_that_break_a_rule_send_no_message() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.faults.arm("file-cache.message", 1);
        let refused = site.load("/../secret").await.unwrap_err();
        assert_eq!(
            refused,
            AskError::Rejected(FileError::Refused(PathRefusal::DotSegment))
        );
        assert_eq!(site.faults.points()["file-cache.message"], 1);
    });
}

#[test]
fn folders_want_their_slash() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("docs/index.html", "docs");
        assert!(matches!(site.load("/docs").await, Ok(Loaded::Moved)));
        assert_eq!(site.page("/docs/").await, "docs");
        assert!(site.hit("/docs").is_none());
    });
}

#[test]
fn large_files_are_handed_over_open_and_stream_what_was_promised() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        let content = "0123456789".repeat(30_000);
        site.write("film.mp4", &content);
        let Ok(Loaded::Large(large)) = site.load("/film.mp4").await else {
            panic!("it is large")
        };
        assert_eq!(
            (large.length(), &*large.about().content_type),
            (300_000, &b"video/mp4"[..])
        );
        assert!(
            large.about().etag.starts_with(b"\"493e0-"),
            "{:?}",
            large.about().etag
        );
        assert!(site.hit("/film.mp4").is_none());
        let all: Vec<_> = read_steps(&large, 0..large.length(), any())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all.concat(), content.as_bytes());
        let part: Vec<_> = read_steps(&large, 15..25, any())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(part.concat(), b"5678901234");
        assert_eq!(read_steps(&large, 7..7, any()).count().await, 0);
        let most = any();
        let mut pieces = read_steps(&large, 0..100, Arc::clone(&most));
        for (bytes, wanted) in [(30, 30), (1, 1), (0, 1), (1000, 68)] {
            most.store(bytes, Ordering::Relaxed);
            assert_eq!(pieces.next().await.unwrap().unwrap().len(), wanted);
        }
        drop(pieces);
        assert!(
            read_steps(&large, 299_999..300_001, any())
                .try_collect::<Vec<_>>()
                .await
                .is_err()
        );
        // Removed or replaced, the opened file is still the one that was promised; written to, it is not.
        site.write("next.mp4", "x");
        fs::rename(
            site.folder.path().join("next.mp4"),
            site.folder.path().join("film.mp4"),
        )
        .unwrap();
        assert_eq!(
            read_steps(&large, 0..10, any())
                .try_collect::<Vec<_>>()
                .await
                .unwrap()
                .concat(),
            b"0123456789"
        );
        site.write("film2.mp4", &content);
        let Ok(Loaded::Large(large)) = site.load("/film2.mp4").await else {
            panic!("it is large")
        };
        site.write("film2.mp4", &content.replace('0', "00"));
        assert!(
            read_steps(&large, 0..10, any())
                .try_collect::<Vec<_>>()
                .await
                .is_err()
        );
    });
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_sent_as_far_as_was_promised() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        let content = "0123456789".repeat(60_000);
        site.write("log.txt", &content);
        let large = site.large("/log.txt").await;
        let append = || {
            let log = fs::File::options()
                .append(true)
                .open(site.folder.path().join("log.txt"));
            std::io::Write::write_all(&mut log.unwrap(), b"a new line\n").unwrap();
        };
        append();
        let mut pieces = read_steps(&large, 0..large.length(), any());
        let mut sent = Vec::new();
        while let Some(piece) = pieces.next().await {
            sent.extend_from_slice(&piece.unwrap());
            append();
        }
        assert!(sent == content.as_bytes(), "{} bytes", sent.len());
    });
}

#[test]
fn a_file_that_is_rewritten_or_cut_while_it_is_sent_is_broken_off() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        let (old, new) = ("0123456789".repeat(60_000), "abcdefghij".repeat(60_000));
        let longer = format!("{new}{new}");
        for next in [new.as_str(), &longer, "0123456789", ""] {
            site.write("film.mp4", &old);
            let large = site.large("/film.mp4").await;
            let mut pieces = read_steps(&large, 0..large.length(), any());
            assert!(pieces.next().await.unwrap().is_ok());
            site.write("film.mp4", next);
            let error = pieces.next().await.unwrap().unwrap_err().to_string();
            assert!(error.contains("while it was sent"), "{error}");
            assert!(pieces.next().await.is_none(), "no more after the error");
        }
    });
}

#[test]
fn a_file_that_outgrows_the_cache_leaves_it() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("log.txt", "short");
        site.page("/log.txt").await;
        site.write("log.txt", &"long".repeat(MAX_FILE));
        pass(1000).await;
        assert!(matches!(site.load("/log.txt").await, Ok(Loaded::Large(_))));
        assert!(kept(&site.root, "/log.txt").is_none());
        assert_eq!(site.counted().bytes, 0);
    });
}

#[test]
fn a_file_that_changes_again_and_again_counts_once() {
    paused(async {
        let site = CachedSite::new(cost(100) * 2).await;
        for n in 1..=50 {
            site.write("log.txt", &"x".repeat(n));
            assert_eq!(site.page("/log.txt").await.len(), n);
            let figures = site.counted();
            assert_eq!(figures.bytes, u64::try_from(cost(n)).unwrap());
            assert_eq!((figures.entries, figures.evictions), (1, 0));
            pass(1000).await;
        }
    });
}

#[test]
fn the_budget_holds_and_what_is_used_stays() {
    paused(async {
        let site = CachedSite::new(cost(100) * 4).await;
        for n in 0..40 {
            site.write(&format!("{n}.txt"), &"x".repeat(100));
        }
        site.write("index.html", &"h".repeat(100));
        site.page("/").await;
        for n in 0..40 {
            assert!(site.hit("/").is_some() || n > 0 && site.page("/").await.len() == 100);
            site.page(&format!("/{n}.txt")).await;
            assert!(site.counted().bytes <= u64::try_from(cost(100) * 4).unwrap());
        }
        assert!(kept(&site.root, "/").is_some(), "it was used all the time");
        let figures = site.counted();
        assert_eq!(
            (figures.entries, figures.evictions, figures.reads),
            (4, 37, 41)
        );
    });
}

#[test]
fn a_file_above_the_whole_budget_is_served_and_not_kept() {
    paused(async {
        let site = CachedSite::new(cost(100)).await;
        site.write("a.txt", &"a".repeat(101));
        assert_eq!(site.page("/a.txt").await.len(), 101);
        assert!(site.hit("/a.txt").is_none());
    });
}

#[test]
fn the_built_in_page_stands_in_until_the_folder_exists() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        let Ok(Loaded::Entry(page)) = site.files.load(&site.nowhere, "/").await else {
            panic!("a page")
        };
        assert_eq!(*page.bytes(), BUILT_IN_PAGE);
        assert_eq!(page.about.content_type, "text/html; charset=utf-8");
        let other = site.files.load(&site.nowhere, "/other").await;
        assert_eq!(other.unwrap_err(), AskError::Rejected(FileError::Absent));
        site.write("nowhere/index.html", "mine");
        pass(1000).await;
        assert!(
            matches!(site.files.load(&site.nowhere, "/").await, Ok(Loaded::Entry(page)) if page.bytes() == "mine")
        );
    });
}

#[test]
fn a_full_queue_leaves_the_question_open() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "old");
        site.page("/").await;
        pass(500).await;
        // Four fill the queue; none is handled before this task waits.
        let waiting: Vec<_> = (0..4)
            .map(|n| Box::pin(site.files.load(&site.root, ["/1", "/2", "/3", "/4"][n])))
            .collect();
        let mut waiting = futures_util::future::join_all(waiting);
        let first = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut waiting).poll(cx))).await;
        assert!(first.is_pending());
        assert!(site.hit("/").is_some());
        assert!(matches!(
            site.load("/5").await,
            Err(AskError::Overloaded { .. })
        ));
        waiting.await;
        site.write("index.html", "newer");
        assert!(site.hit("/").is_some());
        pass(1).await;
        assert_eq!(text(site.hit("/")), Some("newer".to_owned()));
    });
}
