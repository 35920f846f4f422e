//! What the child and everybody else share: it outlives the child's lives.

use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::settings;

use super::figures::Counters;
use super::root::{Root, RootId};
use super::table::Table;

/// The published side of the cache.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) limits: settings::FileCacheSettings,
    pub(crate) counters: Counters,
    /// [`limits.revalidate`](settings::FileCacheSettings::revalidate) in milliseconds.
    pub(crate) revalidate_ms: u64,
    roots: Vec<Root>,
    /// Where the cache's own clock begins.
    base: Instant,
}

impl Published {
    pub(crate) fn new(
        roots: Vec<Root>,
        limits: settings::FileCacheSettings,
        base: Instant,
    ) -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::empty(roots.len())),
            counters: Counters::default(),
            revalidate_ms: millis(limits.revalidate),
            limits,
            roots,
            base,
        }
    }

    pub(crate) fn root(&self, id: RootId) -> Option<&Root> {
        self.roots.get(id.place())
    }

    /// `now` on the cache's own clock.
    pub(crate) fn millis_at(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.base))
    }
}

fn millis(duration: Duration) -> u64 {
    crate::num::as_millis(duration)
}
