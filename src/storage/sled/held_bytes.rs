//! The bytes that the parts of a store hold, and whether they are so many that the view or a snapshot is made again.

/// The bytes that the view may hold besides a multiple of what lives.
const VIEW_BYTES_MIN: u64 = if cfg!(test) { 2 << 20 } else { 16 << 20 };
/// The same for the journal and the snapshots: two of the journal's files are always there.
const KEPT_BYTES_MIN: u64 = if cfg!(test) { 256 << 10 } else { 40 << 20 };
/// The bytes that a record takes besides its text.
pub(super) const RECORD_BYTES: u64 = 64;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeldBytes {
    /// Of the records.
    pub(super) live: u64,
    /// Of the keys of indexes, which are in the view only.
    pub(super) indexes: u64,
    pub(super) view: u64,
    /// Of the journal and the snapshots.
    pub(super) kept: u64,
    /// Whether hardly anything is written.
    pub(super) quiet: bool,
    pub(super) fresh: FreshView,
}

/// The view when it was made last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FreshView {
    /// The bytes of records and indexes before it was made.
    pub(super) live: u64,
    /// Its bytes.
    pub(super) view: u64,
    /// Whether hardly anything was written meanwhile: then another one would not be smaller.
    pub(super) undisturbed: bool,
}

impl HeldBytes {
    /// The bytes that live in the view.
    pub(super) fn in_view(&self) -> u64 {
        self.live + self.indexes
    }

    /// The bytes that a view would hold that is made now.
    pub(super) fn expected(&self) -> u64 {
        let FreshView {
            live,
            view,
            undisturbed,
        } = self.fresh;
        if view <= VIEW_BYTES_MIN || live == 0 || self.quiet && !undisturbed {
            return self.in_view();
        }
        // In thousandths, so that no product is too large.
        let ratio = (view.saturating_mul(1000) / live).clamp(1000, 4000);
        self.in_view() / 1000 * ratio
    }

    /// Whether the view holds so much that it is made again, and would hold less then.
    pub(super) fn view_is_due(&self) -> bool {
        let expected = self.expected();
        // While it is written to, it holds more for some time: sled cleans up later. How much is known once one was made.
        let multiple = if self.quiet || self.fresh.view > 0 {
            2
        } else {
            3
        };
        let most = self.in_view().saturating_mul(multiple);
        let most = most.max(expected + expected / 2);
        let fresh = self.fresh;
        let can_shrink = !fresh.undisturbed
            || self.view > fresh.view + fresh.view / 4
            || self.in_view() < fresh.live - fresh.live / 4;
        can_shrink && self.view > most + VIEW_BYTES_MIN
    }

    /// Whether journal and snapshots hold so much that a snapshot is made, which takes the place of older ones.
    pub(super) fn snapshot_is_due(&self) -> bool {
        self.kept > self.live.saturating_mul(4) + KEPT_BYTES_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_due_when_it_holds_much_more_than_one_that_was_made_just_now() {
        const MB: u64 = 1 << 20;
        for (live, view, fresh, undisturbed, quiet, due) in [
            (0, 0, (0, 0), false, false, false),
            (0, 30, (0, 0), false, false, true),
            (100, 200, (0, 0), false, false, false),
            (100, 230, (0, 0), false, true, true),
            // Of what was written just now.
            (100, 230, (0, 0), false, false, false),
            (100, 330, (0, 0), false, false, true),
            // One that was made just now held 1.8 times what lived.
            (100, 230, (100, 180), true, false, false),
            (100, 300, (100, 180), true, false, true),
            (50, 180, (100, 180), true, false, true),
            // It would hold as much again.
            (0, 60, (0, 60), true, true, false),
            (0, 90, (0, 60), true, true, true),
            // Much was written while it was made: it waits for a quiet moment, or until it is larger by half.
            (100, 330, (100, 320), false, false, false),
            (100, 330, (100, 320), false, true, true),
            (100, 500, (100, 320), false, false, true),
            (0, 90, (100, 90), false, true, true),
        ] {
            let held = HeldBytes {
                live: live * MB,
                indexes: 0,
                view: view * MB,
                kept: 0,
                quiet,
                fresh: FreshView {
                    live: fresh.0 * MB,
                    view: fresh.1 * MB,
                    undisturbed,
                },
            };
            assert_eq!(held.view_is_due(), due, "{held:?}");
            let (live, indexes) = (held.live / 3, held.live - held.live / 3);
            let divided = HeldBytes {
                live,
                indexes,
                ..held
            };
            assert_eq!(divided.view_is_due(), due, "keys of indexes live, too");
        }
    }
}
