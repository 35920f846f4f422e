//! Decides at the start what is done with a data folder, from what is found in it. Pure.

// Decision: What was acknowledged is known twice.
// Decision: A view is trusted in the same run of the machine.

use crate::storage::journal::{Acknowledged, Mark, MarksFound, boot_id};

/// The parts of a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataParts {
    pub(super) marks: MarksFound,
    pub(super) journal: bool,
    /// Snapshots or a view.
    pub(super) copies: bool,
    /// A store of the format before the journal.
    pub(super) old: bool,
}

/// The kind of store that a data folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    /// None yet.
    New,
    /// One of the format before the journal.
    Old,
    /// One with this newest mark.
    Marked(Mark),
    /// One whose marks can't be read.
    Unmarked,
}

/// The kind of store that these parts are.
pub(super) fn kind(parts: &DataParts) -> StoreKind {
    match parts.marks {
        MarksFound::Found { mark, .. } => StoreKind::Marked(mark),
        MarksFound::Damaged => StoreKind::Unmarked,
        MarksFound::Absent if parts.journal => StoreKind::Unmarked,
        // A store of the old format gets its first snapshot before its marks: it may be half way.
        MarksFound::Absent if parts.old => StoreKind::Old,
        MarksFound::Absent if parts.copies => StoreKind::Unmarked,
        MarksFound::Absent => StoreKind::New,
    }
}

/// Whether the view has all that it had when it was used last. It is never synced while it is used: after a power cut only
/// the journal is right.
pub(super) fn trusts_view(mark: &Mark, boot: u128) -> bool {
    mark.clean || boot != 0 && mark.boot == boot
}

/// The state of the view of a store at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ViewState {
    /// It has all that it had when it was used last.
    Trusted,
    /// The machine went down while it was used.
    Doubted,
    /// The store was made without one, by a restore or from an older format, and was not open yet.
    Unmade,
}

/// The state of the view by the marks of the store. A store that is made without a view has the mark of no run of the machine.
pub(super) fn view_state(mark: &Mark, boot: u128) -> ViewState {
    if trusts_view(mark, boot) {
        ViewState::Trusted
    } else if mark.boot == 0 && boot != 0 {
        ViewState::Unmade
    } else {
        ViewState::Doubted
    }
}

/// Whether the view is trusted in this run of the machine.
pub(in crate::storage) fn is_trusted(mark: &Mark) -> bool {
    trusts_view(mark, boot_id())
}

/// The state of the journal's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JournalState {
    /// Nothing was written behind its last frame.
    Whole,
    /// Its last frame can't be read.
    Torn,
    /// It is damaged before its end, or files are missing.
    Damaged,
}

/// The numbers of the last changes that the copies of a store have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copies {
    pub(super) acknowledged: Acknowledged,
    /// That of the view, if it can be trusted, with what the journal has right behind it, also if that is damaged before.
    pub(super) view: Option<u64>,
    pub(super) journal: u64,
    pub(super) state: JournalState,
}

/// The step that makes the copies of a store agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The view takes over what only the journal has. A torn end is left behind.
    Replay,
    /// The journal is made again from the view.
    Renew,
    /// Nothing: the changes from `first` to `last` were acknowledged, and no copy has them.
    Lost { first: u64, last: u64 },
    /// Nothing: the journal is damaged, and so are the marks. The change `certain` was acknowledged, and later ones may have
    /// been; the copies that count have all changes up to `last`.
    Unknown { certain: u64, last: u64 },
}

/// Decides how the copies of a store are made to agree.
pub(super) fn remedy(copies: &Copies) -> Remedy {
    let (view, journal) = (copies.view.unwrap_or(0), copies.journal);
    let acknowledged = match copies.acknowledged {
        Acknowledged::Exactly(acknowledged) => acknowledged,
        Acknowledged::AtLeast(certain) => {
            let whole = copies.state == JournalState::Whole && journal >= certain.max(view);
            return if whole {
                Remedy::Replay
            } else {
                let last = view.max(journal);
                Remedy::Unknown { certain, last }
            };
        }
    };
    let whole = match copies.state {
        JournalState::Whole | JournalState::Torn => journal >= acknowledged.max(view),
        JournalState::Damaged => false,
    };
    if whole {
        Remedy::Replay
    } else if copies.view.is_some() && view >= acknowledged.max(journal) {
        Remedy::Renew
    } else {
        Remedy::Lost {
            first: view.max(journal) + 1,
            last: acknowledged.max(view.max(journal) + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::journal::StoreId;

    const MARK: Mark = Mark {
        store: StoreId(1),
        branch: 0,
        boot: 7,
        acknowledged: 3,
        clean: false,
    };

    #[test]
    fn the_kind_of_a_store_follows_from_its_parts() {
        let found = MarksFound::Found {
            mark: MARK,
            damaged: true,
            newest: true,
        };
        let absent = MarksFound::Absent;
        let parts = |marks, [journal, copies, old]: [bool; 3]| DataParts {
            marks,
            journal,
            copies,
            old,
        };
        for (parts, expected) in [
            (parts(absent, [false, false, false]), StoreKind::New),
            (parts(absent, [false, false, true]), StoreKind::Old),
            (parts(absent, [false, true, true]), StoreKind::Old),
            (parts(absent, [true, true, true]), StoreKind::Unmarked),
            (parts(absent, [true, false, false]), StoreKind::Unmarked),
            (parts(absent, [false, true, false]), StoreKind::Unmarked),
            (parts(MarksFound::Damaged, [false; 3]), StoreKind::Unmarked),
            (parts(found, [false, false, true]), StoreKind::Marked(MARK)),
        ] {
            assert_eq!(kind(&parts), expected, "{parts:?}");
        }
    }

    #[test]
    fn a_view_is_trusted_after_a_clean_stop_or_in_the_same_run_of_the_machine() {
        assert!(trusts_view(&MARK, 7));
        assert!(!trusts_view(&MARK, 8), "the machine was started again");
        let clean = Mark {
            clean: true,
            ..MARK
        };
        assert!(trusts_view(&clean, 8));
        let unknown = Mark { boot: 0, ..MARK };
        assert!(!trusts_view(&unknown, 0), "the machine does not tell");
        for (mark, boot, expected) in [
            (MARK, 7, ViewState::Trusted),
            (MARK, 8, ViewState::Doubted),
            (unknown, 8, ViewState::Unmade),
            (unknown, 0, ViewState::Doubted),
        ] {
            assert_eq!(view_state(&mark, boot), expected, "{boot}");
        }
    }

    #[test]
    fn what_was_acknowledged_is_taken_from_the_copy_that_has_it_or_refused() {
        use JournalState::{Damaged, Torn, Whole};
        use Remedy::{Lost, Renew, Replay, Unknown};
        let lost = |first, last| Lost { first, last };
        let unknown = |certain, last| Unknown { certain, last };
        let mut cases = Vec::new();
        for (acknowledged, view, journal, state, expected) in [
            (5, Some(5), 5, Whole, Replay),
            (5, Some(2), 5, Whole, Replay),
            (5, None, 5, Whole, Replay),
            (5, Some(5), 6, Torn, Replay),
            (5, Some(4), 5, Torn, Replay),
            // The end of the journal is gone.
            (5, Some(5), 4, Whole, Renew),
            (5, Some(5), 4, Torn, Renew),
            (5, Some(6), 5, Torn, Renew),
            (5, Some(5), 2, Damaged, Renew),
            (5, Some(4), 2, Damaged, lost(5, 5)),
            (5, Some(4), 3, Torn, lost(5, 5)),
            (5, None, 3, Torn, lost(4, 5)),
            (5, None, 3, Whole, lost(4, 5)),
            (5, None, 5, Damaged, lost(6, 6)),
            (0, None, 0, Whole, Replay),
        ] {
            let exactly = Acknowledged::Exactly(acknowledged);
            cases.push((exactly, view, journal, state, expected));
        }
        // A damaged end of the journal may have been acknowledged.
        for (certain, view, journal, state, expected) in [
            (4, Some(5), 5, Whole, Replay),
            (5, Some(4), 5, Whole, Replay),
            (5, None, 5, Whole, Replay),
            (0, None, 5, Whole, Replay),
            (5, Some(5), 5, Torn, unknown(5, 5)),
            (4, Some(5), 5, Torn, unknown(4, 5)),
            (5, Some(6), 5, Whole, unknown(5, 6)),
            (5, Some(6), 5, Torn, unknown(5, 6)),
            (6, Some(5), 5, Whole, unknown(6, 5)),
            (5, None, 4, Whole, unknown(5, 4)),
            (5, Some(6), 6, Damaged, unknown(5, 6)),
        ] {
            let certain = Acknowledged::AtLeast(certain);
            cases.push((certain, view, journal, state, expected));
        }
        for (acknowledged, view, journal, state, expected) in cases {
            let copies = Copies {
                acknowledged,
                view,
                journal,
                state,
            };
            assert_eq!(remedy(&copies), expected, "{copies:?}");
        }
    }
}
