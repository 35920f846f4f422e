//! The numbers of queries, by the way in which they were answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::scan::ScanLimitCounts;

/// The kind of a plan, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryPlan {
    Page,
    Ids,
    Index,
    Scan,
}

impl QueryPlan {
    const ALL: [Self; 4] = [Self::Page, Self::Ids, Self::Index, Self::Scan];

    fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ids => "ids",
            Self::Index => "index",
            Self::Scan => "scan",
        }
    }
}

/// The number of queries for each kind of plan.
#[derive(Debug, Default)]
pub(super) struct QueryCounts {
    plans: [AtomicU64; QueryPlan::ALL.len()],
    refused_histories: AtomicU64,
    pub(super) limits: ScanLimitCounts,
    /// The number of scans, by resource and by a field that an index would have to have.
    pub(super) scans: Mutex<BTreeMap<(String, String), u64>>,
}

impl QueryCounts {
    pub(super) fn refuse_history(&self) {
        self.refused_histories.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused_histories(&self) -> u64 {
        self.refused_histories.load(Ordering::Relaxed)
    }

    /// Counts a query.
    pub(super) fn count(&self, plan: QueryPlan) {
        let mut plans = QueryPlan::ALL.iter().zip(&self.plans);
        if let Some((_, count)) = plans.find(|(kind, _)| **kind == plan) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> [(&'static str, u64); QueryPlan::ALL.len()] {
        let mut plans = QueryPlan::ALL.iter().zip(&self.plans);
        QueryPlan::ALL.map(|_| {
            let next = plans.next();
            next.map_or(("", 0), |(plan, count)| {
                (plan.name(), count.load(Ordering::Relaxed))
            })
        })
    }
}
