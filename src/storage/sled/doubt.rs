//! A commit that is under way: if it ends with an error or a panic, the store is in doubt.

use tokio::time::Instant;

use super::holder::Holder;
use super::opening::CommitLog;

/// Held during a commit: unless it is dispelled, the store is in doubt when it is dropped, by an error or a panic.
pub(super) struct Doubt<'a> {
    holder: &'a Holder,
    pub(super) log: &'a mut CommitLog,
    doubtful: bool,
    /// Whether the group may be in the view in part.
    pub(super) view: bool,
}

impl<'a> Doubt<'a> {
    pub(super) fn begin(holder: &'a Holder, log: &'a mut CommitLog, begun: Instant) -> Self {
        holder.engine.clock_commit(Some(begun));
        Self {
            holder,
            log,
            doubtful: true,
            view: false,
        }
    }

    pub(super) fn dispel(mut self) {
        self.doubtful = false;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.holder.engine.clock_commit(None);
        if self.view {
            self.holder.doubt_view(self.log);
        }
        if self.doubtful {
            self.holder.doubt();
        }
    }
}
