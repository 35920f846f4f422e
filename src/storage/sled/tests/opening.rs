//! Stores that are opened again: leftovers of sled are moved aside, a lost end is refused, the log keeps its length.

use std::collections::BTreeSet;

use super::super::database::SledEngine;
use super::super::engine::{CommitError, Engine as _, Group};
use super::super::log::seq_key;
use super::super::recovery;
use super::memory::MemoryEngine;
use super::recovering::{logged, names, put};
use super::*;

#[test]
fn a_fenced_writer_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sled");
    let engine = SledEngine::open(&path, 1 << 20, &names()).unwrap();
    let mut group = Group::default();
    put(&mut group, 1, 1, ChangeKind::Put);
    assert!(matches!(
        engine.commit(&group, &|| false),
        Err(CommitError::Fenced)
    ));
    assert!(engine.last(Keyspace::Log).unwrap().is_none());
    engine.commit(&group, &|| true).unwrap();
    assert_eq!(
        engine
            .get(Keyspace::Log, &seq_key(1))
            .unwrap()
            .map(|v| v.len() > 20),
        Some(true)
    );
}

#[test]
fn unfinished_scratch_files_are_moved_aside_and_the_store_opens() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let record = running.store.create(BOOKS, book(1), None).await.unwrap();
        running.stop().await;
        let sled = folder.path().join("sled");
        std::fs::write(sled.join("snap.00000.generating"), b"half").unwrap();
        std::fs::write(sled.join("conf"), b"").unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.all().await, [record]);
        running.stop().await;
        let mut aside = BTreeSet::new();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("aside-")
            {
                let files = std::fs::read_dir(path).unwrap();
                aside.extend(files.map(|file| file.unwrap().file_name()));
            }
        }
        let expected = ["conf", "snap.00000.generating"].map(Into::into);
        assert_eq!(aside, BTreeSet::from(expected), "nothing was deleted");
    });
}

#[test]
fn a_store_that_lost_acknowledged_changes_is_refused() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        for n in 0..20 {
            running.store.create(BOOKS, book(n), None).await.unwrap();
        }
        running.stop().await;
        let sled = folder.path().join("sled");
        std::fs::rename(&sled, folder.path().join("gone")).unwrap();
        let (store, spec) = on_sled(folder.path(), &Faults::none());
        let spec = SupervisorSpec::new("root").child(spec);
        let mut root = PreparedTree::new(spec).unwrap().start(Env::default());
        let exit = root.exit.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(exit.map(|reason| reason.cause()), Some("start_failed"));
        let refusal = store.refusal().unwrap();
        assert!(
            refusal.contains("it is empty, but it was made before, and change 20 was acknowledged"),
            "{refusal}"
        );
        assert!(refusal.contains("restore the last backup"), "{refusal}");
    });
}

#[test]
fn the_log_is_trimmed_to_its_length() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let mut short = settings(folder.path());
        short.storage.log_keep = 3000;
        let opener = MemoryOpener(Arc::clone(&memory), folder.path().join("memory"));
        let made = with_engine(Box::new(opener), &short, &Faults::none());
        let running = Running::start(made).await;
        for n in 0..3100 {
            running.store.create(BOOKS, book(n), None).await.unwrap();
        }
        assert_eq!(logged(&MemoryEngine(Arc::clone(&memory))).len(), 3000);
        running.stop().await;
        let engine = MemoryEngine(memory);
        assert_eq!(
            recovery::check(&engine, &names(), Some(3100))
                .unwrap()
                .log_first,
            101
        );
    });
}
