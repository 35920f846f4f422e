//! Journals whose end is damaged: what was acknowledged is never cut off in silence, neither at the start nor while the store runs.

use std::fs::{self, OpenOptions};

use super::super::data_check::check_data;
use super::super::print::{print_journal, read_past};
use super::compaction::copy;
use super::opening::{flip, make, no_marks, segments, unclean, used};
use super::*;
use crate::record::HistoryQuery;
use crate::storage::feed::FeedStep;
use crate::storage::journal::MARK_FILES;

/// A thing that is done to the marks, and what the refusal tells then.
type MarksDamage = (fn(&Path), &'static str);

/// The view does not have the last change yet, and the journal's end is damaged. Whatever is left of the marks, that change is not
/// cut off as if nobody had been told of it.
#[test]
fn a_damaged_end_of_the_journal_is_refused_whatever_is_left_of_the_marks() {
    let named = "the changes 166 to 166 were acknowledged";
    let perhaps_more = "but change 166 was acknowledged, and perhaps later ones";
    let cases: [MarksDamage; 7] = [
        (|_| {}, named),
        (|data| fs::remove_file(data.join("marks")).unwrap(), named),
        (|data| flip(&data.join("marks"), 20), named),
        (|data| flip(&data.join("marks-copy"), 4_096 + 20), named),
        (
            |data| {
                for name in MARK_FILES {
                    flip(&data.join(name), 20);
                }
            },
            perhaps_more,
        ),
        (
            |data| {
                for name in MARK_FILES {
                    flip(&data.join(name), 4_096 + 20);
                }
            },
            perhaps_more,
        ),
        (no_marks, "changes after 165 may have been acknowledged"),
    ];
    for (marks, told) in cases {
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            make(folder.path()).await;
            let [view, before] = ["view", "view-before"].map(|name| folder.path().join(name));
            copy(&view, &before);
            let running = Running::on_sled(folder.path(), &Faults::none()).await;
            running.store.create(BOOKS, book(1), None).await.unwrap();
            running.stop().await;
            fs::remove_dir_all(&view).unwrap();
            fs::rename(&before, &view).unwrap();
            unclean(folder.path());
            marks(folder.path());
            let last = segments(folder.path()).pop().unwrap();
            flip(&last, used(&last) - 5);
            assert_refused(folder.path(), told);
        });
    }
}

#[test]
fn a_cut_journal_without_marks_is_refused_though_the_view_has_more() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).await;
        unclean(folder.path());
        no_marks(folder.path());
        let last = segments(folder.path()).pop().unwrap();
        let file = OpenOptions::new().write(true).open(&last).unwrap();
        file.set_len(used(&last) / 2).unwrap();
        assert_refused(folder.path(), "but change 165 was acknowledged");
    });
}

/// The start refuses the store with this text, `check --data` says that nothing mends it, and nothing is changed.
fn assert_refused(folder: &Path, told: &str) {
    let checked = check_data(folder, 1 << 20).unwrap();
    assert_eq!(checked.mends, Some(false), "{checked:?}");
    refusals::assert_refused(folder, told);
}

/// The last segment is damaged while the store runs. Nobody is told that a change does not exist.
#[test]
fn what_is_behind_damage_of_the_last_segment_is_not_taken_for_absent() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let running = Running::on_sled(data, &Faults::none()).await;
        let mut made = Vec::new();
        for n in 0..20 {
            made.push(running.store.create(BOOKS, book(n), None).await.unwrap());
        }
        let last = segments(data).pop().unwrap();
        flip(&last, used(&last) / 2);
        let id = &made[19].id;
        let query = HistoryQuery {
            limit: 10,
            before: u64::MAX,
        };
        let history = running.store.history(BOOKS, id, query).await;
        assert!(
            matches!(history, Err(StoreError::Unavailable)),
            "{history:?}"
        );
        // What is in memory is told from there.
        let fed = running.store.read_feed(2).await;
        assert!(
            matches!(fed, Ok(FeedStep::Page(_)) | Err(StoreError::Unavailable)),
            "{fed:?}"
        );
        let printed = print_journal(data, None, &mut Vec::new());
        assert!(printed.is_err_and(|error| error.is_damage()));
        let past = read_past(data, "books", id, query);
        assert!(past.is_err_and(|error| error.is_damage()));
        running.stop().await;
    });
}
