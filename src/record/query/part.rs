//! The part of a list that a client asks for, and the links to other parts.
//!
//! Whatever is asked for, an answer has only so many records and bytes. A part that was cut has a link to its rest, and
//! positions are always counted in the size that was asked for.

use super::cursor::Position;
use super::parameters::Parameters;
use super::{QueryError, conflict};
use crate::num::as_u64;
use crate::record::Slice;

/// The records of a list for which no size is asked.
const LIST_RECORDS: usize = 500;
/// The records of a page of which only the number is given.
const PAGE_RECORDS: usize = 10;
/// The names of all parameters that choose a part.
pub(super) const PART_NAMES: [&str; 7] = [
    "_start",
    "_end",
    "_limit",
    "_page",
    "_per_page",
    "_after",
    "range",
];

/// The parameters that may be sent together.
const TOGETHER: [(&str, &str); 4] = [
    ("_start", "_end"),
    ("_start", "_limit"),
    ("_page", "_limit"),
    ("_after", "_limit"),
];

/// The part of a list that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ListPart {
    /// From here to the end, which the client goes to from link to link. `size` is `_limit`.
    Rest {
        origin: PartOrigin,
        size: Option<usize>,
    },
    /// `_start` and `_end`, which is exclusive; `_start` and `_limit`.
    Between { start: usize, end: usize },
    /// `range`, with the first and the last record.
    Range { first: usize, last: usize },
    /// `_page` and `_limit`.
    Page { number: usize, size: usize },
}

/// The place in a list where a part begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PartOrigin {
    /// After so many records: `_start`.
    Counted(usize),
    /// At the beginning, for a client that goes on from position to position: an empty `_after`.
    First,
    /// After a position: `_after`.
    After(Position),
}

impl Default for ListPart {
    fn default() -> Self {
        let origin = PartOrigin::Counted(0);
        Self::Rest { origin, size: None }
    }
}

/// The records of an answer, as far as links to other parts depend on them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent<'a> {
    /// Their number.
    pub(super) records: usize,
    /// The number of all that match, if they were counted.
    pub(super) total: Option<u64>,
    /// Whether others follow in the list.
    pub(super) more: bool,
    /// The position of the last one.
    pub(super) last: Option<&'a str>,
}

impl ListPart {
    /// Reads it. `after` is what `_after` names.
    pub(super) fn read(
        parameters: &Parameters<'_>,
        range: Option<(usize, usize)>,
        after: Option<PartOrigin>,
    ) -> Result<Self, QueryError> {
        let page = parameters.number("_page", 1)?;
        let start = parameters.number("_start", 0)?;
        let end = parameters.number("_end", 0)?;
        let limit = match (
            parameters.number("_limit", 0)?,
            parameters.number("_per_page", 0)?,
        ) {
            (Some(_), Some(_)) => return Err(conflict("_limit", "_per_page")),
            (limit, per_page) => limit.or(per_page),
        };
        let sent = [
            ("range", range.is_some()),
            ("_page", page.is_some()),
            ("_after", after.is_some()),
            ("_start", start.is_some()),
            ("_end", end.is_some()),
            ("_limit", limit.is_some()),
        ];
        let sent = sent.iter().filter(|(_, is_sent)| *is_sent);
        let sent: Vec<_> = sent.map(|(name, _)| *name).collect();
        for (at, one) in sent.iter().enumerate() {
            let mut others = sent.iter().skip(at + 1);
            if let Some(other) = others.find(|other| !TOGETHER.contains(&(one, other))) {
                return Err(conflict(one, other));
            }
        }
        Ok(match (range, page, after) {
            (Some((first, last)), ..) => Self::Range { first, last },
            (_, Some(number), _) => {
                let size = limit.unwrap_or(PAGE_RECORDS);
                Self::Page { number, size }
            }
            (_, _, Some(origin)) => Self::Rest {
                origin,
                size: limit,
            },
            (None, None, None) => match (start, end, limit) {
                (start, Some(end), _) => {
                    let start = start.unwrap_or(0);
                    if end < start {
                        return Err(QueryError::Backwards);
                    }
                    Self::Between { start, end }
                }
                (Some(start), None, Some(limit)) => {
                    let end = start.saturating_add(limit);
                    Self::Between { start, end }
                }
                (start, None, size) => {
                    let origin = PartOrigin::Counted(start.unwrap_or(0));
                    Self::Rest { origin, size }
                }
            },
        })
    }

    /// The records that are asked for, as far as they may be in one answer. If no size is asked for, there are as many as
    /// there are `ids` in the query.
    pub(super) fn slice(&self, ids: usize, records_max: usize) -> Slice {
        let (start, size) = match self {
            Self::Rest { origin, size } => {
                let start = match origin {
                    PartOrigin::Counted(start) => *start,
                    PartOrigin::First | PartOrigin::After(_) => 0,
                };
                (start, size.unwrap_or(LIST_RECORDS.max(ids)))
            }
            Self::Between { start, end } => (*start, end.saturating_sub(*start)),
            Self::Range { first, last } => (*first, last.saturating_sub(*first).saturating_add(1)),
            Self::Page { number, size } => ((number - 1).saturating_mul(*size), *size),
        };
        Slice::new(start, size.min(records_max))
    }

    /// The position that the records follow.
    pub(super) fn after(&self) -> Option<&Position> {
        match self {
            Self::Rest {
                origin: PartOrigin::After(position),
                ..
            } => Some(position),
            Self::Rest { .. } | Self::Between { .. } | Self::Range { .. } | Self::Page { .. } => {
                None
            }
        }
    }

    /// Whether the list is read from position to position: then it is not counted, unless the client wants it.
    pub(super) fn is_by_position(&self) -> bool {
        let Self::Rest { origin, .. } = self else {
            return false;
        };
        !matches!(origin, PartOrigin::Counted(_))
    }

    /// Whether the link to what follows an answer with so many records names the position of the last one. That of a whole page
    /// names the next page; the rest of a page that was cut has no number.
    pub(super) fn goes_on_from_position(&self, records: usize) -> bool {
        match self {
            Self::Rest { .. } => true,
            Self::Page { size, .. } => records != *size,
            Self::Between { .. } | Self::Range { .. } => false,
        }
    }

    /// The queries of other parts, with their relations (RFC 8288). `sent` is the query.
    pub(super) fn links(&self, sent: &str, extent: Extent<'_>) -> Vec<(&'static str, String)> {
        let Self::Page { number, size } = self else {
            let next = self.next(sent, extent);
            return next.map(|next| ("next", next)).into_iter().collect();
        };
        let rest = rest_of(sent, &["_page"]);
        let to = |number: u64| format!("{rest}_page={number}");
        let total = extent.total.unwrap_or_default();
        let last = total.div_ceil(as_u64(*size).max(1)).max(1);
        let number = as_u64(*number);
        let mut links = vec![("first", to(1))];
        if number > 1 {
            links.push(("prev", to((number - 1).min(last))));
        }
        let next = if self.goes_on_from_position(extent.records) {
            self.next(sent, extent)
        } else {
            (extent.more && *size > 0).then(|| to(number + 1))
        };
        links.extend(next.map(|next| ("next", next)));
        links.push(("last", to(last)));
        links
    }

    /// The query of the records that follow, if there are some that the client wants.
    fn next(&self, sent: &str, extent: Extent<'_>) -> Option<String> {
        let Extent {
            records,
            more,
            last,
            ..
        } = extent;
        if !more {
            return None;
        }
        let with = |names: &[&str], parameter: &str| rest_of(sent, names) + parameter;
        match self {
            // A position that can't be named is counted.
            Self::Rest {
                origin: PartOrigin::Counted(start),
                ..
            } if last.is_none() && records > 0 => {
                let start = start.saturating_add(records);
                Some(with(&["_start"], &format!("_start={start}")))
            }
            Self::Rest { .. } | Self::Page { .. } => {
                let rest = ["_start", "_page", "_after"];
                last.map(|last| with(&rest, &format!("_after={last}")))
            }
            Self::Between { start, end } => {
                let next = start.saturating_add(records);
                let rest = ["_start", "_end", "_limit", "_per_page"];
                (records > 0 && next < *end)
                    .then(|| with(&rest, &format!("_start={next}&_end={end}")))
            }
            Self::Range { first, last } => {
                let next = first.saturating_add(records);
                (records > 0 && next <= *last)
                    .then(|| with(&["range"], &format!("range=%5B{next}%2C{last}%5D")))
            }
        }
    }
}

/// The query without the parameters of these names, fit to stand between `<` and `>`. Unless it is empty, it ends with `&`, so
/// that another parameter can follow.
fn rest_of(sent: &str, names: &[&str]) -> String {
    let mut rest = Parameters::without(sent, names);
    if rest.contains(['<', '>', '"']) {
        rest = rest
            .replace('<', "%3C")
            .replace('>', "%3E")
            .replace('"', "%22");
    }
    if !rest.is_empty() {
        rest.push('&');
    }
    rest
}
