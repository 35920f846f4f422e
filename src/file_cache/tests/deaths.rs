//! Requests while the file-cache child is restarted.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::cache::FileCache;
use super::super::containment::SafePath;
use super::super::handle::kept;
use super::super::message::FileMessage;
use super::super::*;
use super::site::{CachedSite, pass, paused, text};
use crate::file_cache::budget::cost;
use crate::supervision::{
    AskError, ChildSpec, Env, Faults, Incarnation, PreparedTree, QueueLimits, Slot, SupervisorSpec,
};

#[test]
fn through_its_death_hits_go_on_and_callers_get_their_files() {
    paused(async {
        for point in ["file-cache.message", "file-cache.loaded"] {
            let site = CachedSite::new(cost(10) * 2).await;
            site.write("index.html", "home");
            site.write("a.html", "a");
            site.write("b.html", "b");
            site.page("/").await;
            site.faults.arm(point, 1);
            let (answer, hit) = tokio::join!(site.page("/a.html"), async { text(site.hit("/")) });
            assert_eq!((answer.as_str(), hit.as_deref()), ("a", Some("home")));
            assert_eq!(site.faults.points()[point], 0, "it has died");
            // The new life knows what the old one kept, and keeps to the budget.
            site.page("/b.html").await;
            assert_eq!(site.counted().entries, 2);
            assert!(kept(&site.root, "/b.html").is_some());
        }
    });
}

#[test]
fn a_file_that_kills_it_twice_is_a_typed_error() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        site.faults.arm("file-cache.loaded", 2);
        let error = site.load("/").await.unwrap_err();
        assert!(
            matches!(error, AskError::Crashed { attempts: 2, .. }),
            "{error:?}"
        );
        assert_eq!(site.page("/").await, "home");
    });
}

#[test]
fn stopped_it_says_so_and_what_is_in_memory_is_still_there() {
    paused(async {
        let mut site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        site.page("/").await;
        site.tree.stopper().stop();
        site.tree.exit.wait_for(Option::is_some).await.unwrap();
        assert!(site.hit("/").is_some());
        assert_eq!(site.page("/").await, "home");
        let other = site.load("/other.html").await;
        assert!(matches!(other, Err(AskError::ShuttingDown)));
        assert!(Path::new(site.folder.path()).exists());
    });
}

#[test]
fn an_incarnation_that_was_replaced_publishes_nothing() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("index.html", "home");
        let published = Arc::clone(&site.files.published);
        let revenant =
            |life: &Incarnation| FileCache::new(Arc::clone(&published), life, Faults::none());
        // Another child of the same kind, for the sake of a life that has ended.
        let limits = QueueLimits {
            messages: 1,
            bytes: 1 << 10,
        };
        let (slot, _) = Slot::<FileMessage>::with_limits("other", limits);
        let (lives, other) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(&published));
        let seen = Arc::clone(&lives);
        let spec = ChildSpec::actor(&slot, move |life: Incarnation| {
            seen.lock().unwrap().push(life.clone());
            let other = Arc::clone(&other);
            async move { Ok(FileCache::new(other, &life, Faults::none())) }
        });
        let spec = SupervisorSpec::new("root").child(spec);
        let mut tree = PreparedTree::new(spec).unwrap().start(Env {
            inline: true,
            ..Env::default()
        });
        (&mut tree.ready).await.unwrap();
        let life = lives.lock().unwrap()[0].clone();
        tree.hung(0, life.generation(), Duration::from_secs(9));
        pass(100).await;
        let current = lives.lock().unwrap()[1].clone();
        let path = SafePath::new("/").unwrap();
        assert!(matches!(
            revenant(&life).load(&site.root, &path).await,
            Ok(Loaded::Entry(_))
        ));
        assert!(site.hit("/").is_none(), "the old life had its say");
        assert!(matches!(
            revenant(&current).load(&site.root, &path).await,
            Ok(Loaded::Entry(_))
        ));
        assert!(site.hit("/").is_some());
    });
}
