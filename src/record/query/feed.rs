//! The query of a change feed: `_since=4711-k3x9q2&_wait=30s&_limit=100`, and conditions as in lists.

use std::time::Duration;

use super::described::{ParameterValue, QueryParameter, parameter};
use super::names::Names;
use super::parameters::Parameters;
use super::part::PART_NAMES;
use super::{
    Handling, JsonDialect, ListQuery, QueryError, RecordShape, SELECTED_BYTES_MAX, Wrong,
    conditions,
};
use crate::record::Schema;

/// The longest time that a request waits for changes.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The most changes of one answer, and their number if none is asked for.
const CHANGES_MAX: usize = 1000;
const CHANGES: usize = 100;
/// The parameters that a feed reads differently from a list, or that only a feed has.
const OF_FEEDS: [QueryParameter; 3] = [
    parameter(
        "_since",
        ParameterValue::FeedPosition,
        "The position after which the changes begin, as a feed gave it; without it, only new changes",
    ),
    parameter(
        "_wait",
        ParameterValue::Wait,
        "How long the answer waits for changes, 60s at most; then it is JSON",
    ),
    parameter(
        "_limit",
        ParameterValue::Number(1, Some(CHANGES_MAX)),
        "The most changes of an answer that is no stream",
    ),
];
/// The parameters of lists that mean the same in a feed.
const AS_IN_LISTS: [&str; 4] = ["_meta", "_fields", "q", "filter"];
/// The names of lists that mean nothing in a feed.
const OF_LISTS: [&str; 4] = ["_sort", "_order", "sort", "_count"];

/// The changes that a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeedQuery {
    /// The position after which the changes begin.
    pub(crate) since: Option<FeedPosition>,
    /// The time that the answer may wait for changes, if it is not a stream.
    pub(crate) wait: Option<Duration>,
    /// The most changes of such an answer.
    pub(crate) limit: usize,
    /// The conditions of the records.
    pub(crate) filter: ListQuery,
    /// The form of the records.
    pub(crate) shape: RecordShape,
}

/// A position between two changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeedPosition {
    /// The number of the change before it.
    pub(crate) seq: u64,
    /// The mark of its store, unless only a number was sent.
    pub(crate) mark: Option<String>,
}

impl FeedPosition {
    /// Reads the text of a position: `4711-k3x9q2`, or `4711`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (seq, mark) = match text.split_once('-') {
            Some((seq, mark)) => (seq, Some(mark)),
            None => (text, None),
        };
        let is_number = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
        let mark_is_known = mark.is_none_or(|mark| {
            !mark.is_empty() && mark.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        Some(Self {
            seq: seq.parse().ok().filter(|_| is_number && mark_is_known)?,
            mark: mark.map(str::to_owned),
        })
    }
}

impl FeedQuery {
    /// The parameters of a feed, for documents. Those of its filters depend on the fields.
    pub(crate) fn parameters() -> impl Iterator<Item = &'static QueryParameter> {
        let shared = ListQuery::parameters();
        let shared = shared.filter(|parameter| AS_IN_LISTS.contains(&parameter.name));
        OF_FEEDS.iter().chain(shared)
    }

    /// Reads the part of a URL after the `?`.
    pub(crate) fn parse(
        query: &str,
        schema: &Schema,
        handling: Handling,
    ) -> Result<Self, QueryError> {
        let parameters = Parameters::parse(query)?;
        let since = parameters.once("_since")?.map(|text| {
            FeedPosition::parse(text)
                .ok_or_else(|| QueryError::wrong("_since", text, Wrong::FeedPosition))
        });
        let wait = parameters.once("_wait")?.map(|text| {
            let wait = seconds(text).filter(|wait| *wait <= WAIT_MAX);
            wait.ok_or_else(|| QueryError::wrong("_wait", text, Wrong::Wait))
        });
        let limit = parameters.number("_limit", 1)?.unwrap_or(CHANGES);
        if limit > CHANGES_MAX {
            return Err(QueryError::Limit {
                told: "changes in one answer of a feed",
                most: CHANGES_MAX,
            });
        }
        let of_lists = PART_NAMES.into_iter().chain(OF_LISTS);
        let of_lists = of_lists.filter(|name| !names_of_feeds().any(|known| known == *name));
        for name in of_lists {
            let declared = Names::new(schema, handling).declares(name);
            if !declared && handling == Handling::Strict && parameters.once(name)?.is_some() {
                return Err(QueryError::NotInFeed { name });
            }
        }
        let filter = Parameters::without(query, &names_of_feeds().collect::<Vec<_>>());
        let filter = Parameters::parse(&filter)?;
        let json = JsonDialect::read(&filter)?;
        let names = Names::new(schema, handling);
        Ok(Self {
            since: since.transpose()?,
            wait: wait.transpose()?,
            limit,
            filter: ListQuery {
                conditions: conditions(&filter, &json, names)?,
                ..ListQuery::default()
            },
            shape: RecordShape::parse(query, schema, handling)?,
        })
    }

    /// Whether each change is told with the record as it is stored.
    pub(crate) fn is_plain(&self) -> bool {
        self.filter.selects_all() && self.shape.is_whole()
    }
}

fn names_of_feeds() -> impl Iterator<Item = &'static str> {
    OF_FEEDS.iter().map(|parameter| parameter.name)
}

/// The most bytes of records in one answer, and one record more.
pub(crate) const FEED_BYTES_MAX: usize = SELECTED_BYTES_MAX >> 4;

/// Reads `30` or `30s`, and other durations as the settings write them.
fn seconds(text: &str) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    humantime::parse_duration(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(seq: u64, mark: Option<&str>) -> FeedPosition {
        let mark = mark.map(str::to_owned);
        FeedPosition { seq, mark }
    }

    #[test]
    fn a_position_is_a_number_and_maybe_a_mark() {
        for (text, expected) in [
            ("0", Some(position(0, None))),
            ("4711", Some(position(4711, None))),
            ("4711-k3x9q2", Some(position(4711, Some("k3x9q2")))),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("4711-", None),
            ("4711-k3-9q2", None),
            ("99999999999999999999", None),
            ("\"4711-k3x9q2\"", None),
        ] {
            assert_eq!(FeedPosition::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_parameters_of_a_feed_are_read_and_those_of_lists_are_refused() {
        let read = |query| FeedQuery::parse(query, &Schema::Any, Handling::Strict);
        let query = read("_since=3&_wait=30&_limit=7&author=Joyce&_fields=title").unwrap();
        assert_eq!(query.since, Some(position(3, None)));
        assert_eq!(query.wait, Some(Duration::from_secs(30)));
        assert_eq!(query.limit, 7);
        assert!(query.filter.is_filtered() && !query.is_plain());
        let plain = read("").unwrap();
        assert!(plain.is_plain() && plain.since.is_none() && plain.wait.is_none());
        assert_eq!(
            read("_wait=500ms").unwrap().wait,
            Some(Duration::from_millis(500))
        );
        for (query, error) in [
            (
                "_since=x",
                "_since must be a position that a feed gave, such as 4711-k3x9q2, or a number, not \"x\"",
            ),
            (
                "_wait=61",
                "_wait must be a time of at most 60s, such as 30s, not \"61\"",
            ),
            (
                "_wait=-1",
                "_wait must be a time of at most 60s, such as 30s, not \"-1\"",
            ),
            (
                "_sort=title",
                "_sort means nothing in a change feed, which is in the order of the changes",
            ),
            (
                "_page=2",
                "_page means nothing in a change feed, which is in the order of the changes",
            ),
            (
                "_limit=1001",
                "a query has 1000 changes in one answer of a feed at most",
            ),
        ] {
            assert_eq!(read(query).unwrap_err().to_string(), error, "{query}");
        }
    }
}
