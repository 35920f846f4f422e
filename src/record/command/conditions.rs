//! The conditions on which a write is done.

use crate::record::{RecordOwner, Revision};

/// The entity tags in a condition, as they were sent, or as the revisions that they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags<T = Revision> {
    /// `*`: any record.
    Any,
    /// One of these. Tags that are no revision's are left out of revisions, since they match nothing.
    OneOf(Vec<T>),
}

impl Tags {
    fn matches(&self, current: Option<Revision>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::OneOf(tags), Some(current)) => tags.contains(&current),
        }
    }
}

/// The conditions of a write (RFC 9110 section 13.1). The store checks them and writes in one step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Conditions {
    /// `If-Match`
    pub(crate) if_match: Option<Tags>,
    /// `If-None-Match`
    pub(crate) if_none_match: Option<Tags>,
    /// The client that may change its own records alone.
    pub(crate) owner: Option<Box<RecordOwner>>,
}

impl Conditions {
    /// Whether a record of this revision (`None`: no record) meets them.
    pub(crate) fn hold(&self, current: Option<Revision>) -> bool {
        let matches = |tags: &Tags| tags.matches(current);
        self.if_match.as_ref().is_none_or(matches)
            && !self.if_none_match.as_ref().is_some_and(matches)
    }
}
