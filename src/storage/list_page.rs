//! A page of a list, and what it costs to find it.

use std::time::Duration;

use super::plan::{Plan, PlanCost};
use crate::record::{Record, RecordIndex};

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListPage {
    /// The records, in the order that was asked for.
    pub(crate) records: Vec<Record>,
    /// The number of matching records on all pages together.
    /// `None` if the query asks for no total.
    pub(crate) total: Option<u64>,
    /// Whether matching records follow these in the list.
    pub(crate) more: bool,
    /// The number of the resource's last change: as long as it stays the same, so does the list.
    pub(crate) seq: u64,
    /// The number of records that were looked at for it.
    pub(crate) looked: u64,
}

/// The way in which a page was found.
#[derive(Debug)]
pub(crate) struct QueryCost {
    pub(crate) plan: Plan,
    /// The indexes that could be used.
    pub(crate) indexes: Vec<RecordIndex>,
    pub(crate) estimated: PlanCost,
    /// The time until it was found.
    pub(crate) took: Duration,
    pub(crate) page: ListPage,
}
