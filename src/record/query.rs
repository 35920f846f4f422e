//! The query of a list: which records of a resource a client asks for, in which order, and which part of them.
//!
//! ```text
//! author=Le Guin            the field equals the value; with a repeated name, one of the values; author.name=Joyce looks
//!                           into an object
//! _sort=author,-year        or _sort=author,year&_order=asc,desc; records that are equal are sorted by id
//! _start=20&_end=30         or _start=20&_limit=10, or _page=3&_limit=10
//! _meta=true                each record has its times and its revision
//! ```

// Decision: A query parameter without a meaning is refused.

mod condition;
mod error;
mod filters;
mod history;
mod json_dialect;
mod names;
mod operand;
mod operator;
mod parameters;
mod path;
mod sort;
mod told;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::id::{IdScheme, RecordId};
use super::schema::Schema;
use super::selection::SELECTED_BYTES_MAX;
use super::slice::{PAGE_RECORDS_MAX, Slice};
use crate::num::as_u64;
pub(crate) use condition::QueryCondition;
pub(crate) use error::{QueryError, Wrong};
use filters::Filters;
pub(crate) use history::HistoryQuery;
use json_dialect::JsonDialect;
use names::Names;
use parameters::Parameters;
pub(crate) use sort::{By, SortKey};

/// The most parameters in a query.
const PARAMETERS_MAX: usize = 1000;
/// The most names in `_sort`.
const SORT_KEYS_MAX: usize = 8;
/// The last record of a sorted list that can be asked for: this many records are kept in memory while the others are read.
const SORT_RECORDS_MAX: usize = 10_000;
/// The size of a page of which only the number was given.
const PAGE_RECORDS: usize = 10;
/// Those that will change the form of a record.
const SHAPES: [&str; 3] = ["_embed", "_expand", "_fields"];
/// The names that are known besides the fields.
const KNOWN: [&str; 8] = [
    "_start",
    "_end",
    "_limit",
    "_page",
    "_per_page",
    "_sort",
    "_order",
    "_meta",
];

/// The treatment of a name that is not a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    /// It is refused.
    Strict,
    /// It is ignored (RFC 7240 section 4.4).
    Lenient,
}

/// The records of a list that a client asks for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ListQuery {
    conditions: Vec<QueryCondition>,
    sort: Vec<By>,
    slice: Slice,
    page: Option<Page>,
    /// The most bytes of records that the answer may have, if it is fewer than a selection keeps.
    room: Option<usize>,
}

/// A page that was asked for by its number.
#[derive(Debug, Clone, PartialEq)]
struct Page {
    number: usize,
    /// The rest of the query, as it was sent.
    rest: String,
}

impl ListQuery {
    /// Reads the part of a URL after the `?`. In a resource without a schema every name is a field, except for names that
    /// begin with `_`: unknown ones are ignored.
    pub(crate) fn parse(
        query: &str,
        schema: &Schema,
        handling: Handling,
    ) -> Result<Self, QueryError> {
        let parameters = Parameters::parse(query)?;
        let names = Names::new(schema, handling);
        let json = JsonDialect::read(&parameters)?;
        let (slice, page) = slice(&parameters, json.range)?;
        let sort = sort_keys(sent_order(&parameters, &json)?, names)?;
        if !sort.is_empty() && slice.end() > SORT_RECORDS_MAX {
            return Err(QueryError::SortedTooFar);
        }
        let page = page.map(|number| Page {
            number,
            rest: Parameters::without(query, "_page"),
        });
        Ok(Self {
            conditions: conditions(&parameters, &json, names)?,
            sort,
            slice,
            page,
            room: None,
        })
    }

    /// The query for the number of all records.
    pub(crate) fn counting() -> Self {
        Self {
            slice: Slice::new(0, 0),
            ..Self::default()
        }
    }

    /// The same with an answer of at most `bytes` bytes.
    pub(crate) fn within(self, bytes: usize) -> Self {
        let room = Some(self.bytes_max().min(bytes));
        Self { room, ..self }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.room.unwrap_or(SELECTED_BYTES_MAX)
    }

    /// Refuses the names that will ask for a part of a record or for more than a record, where a single record is read or
    /// written. All other names are ignored there.
    pub(crate) fn refuse_shape(query: &str) -> Result<(), QueryError> {
        if query.is_empty() {
            return Ok(());
        }
        let parameters = Parameters::parse(query)?;
        let mut names = parameters.iter().map(|(name, _)| name);
        match names.find(|name| SHAPES.contains(name)) {
            Some(name) => Err(QueryError::Later {
                name: name.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The conditions that must all hold, in the order in which their names were first sent. With [`order`](Self::order) and
    /// [`slice`](Self::slice) it is all that a plan is made from.
    #[cfg_attr(not(test), expect(dead_code, reason = "indexes will be chosen by it"))]
    pub(crate) fn conditions(&self) -> &[QueryCondition] {
        &self.conditions
    }

    /// The fields by which the list is sorted, the most important first. Records that are equal in them are in the order of
    /// ids; without any, all are.
    #[cfg_attr(not(test), expect(dead_code, reason = "indexes will be chosen by it"))]
    pub(crate) fn order(&self) -> &[By] {
        &self.sort
    }

    /// The ids that are asked for, sorted, if the query filters by id: no other record can match.
    pub(crate) fn ids(&self, scheme: IdScheme) -> Option<Vec<RecordId>> {
        let wanted = condition::words(&self.conditions, "id")?.into_iter();
        // No record has an id of another form.
        let ids = wanted.filter_map(|wanted| scheme.parse(wanted).ok());
        let ids: BTreeSet<_> = ids.collect();
        Some(ids.into_iter().collect())
    }

    /// The part of the matching records that is asked for.
    pub(crate) fn slice(&self) -> Slice {
        self.slice
    }

    /// Whether all records match, in the order of ids.
    pub(crate) fn is_plain(&self) -> bool {
        self.conditions.is_empty() && self.sort.is_empty()
    }

    /// Whether another order than that of ids is asked for.
    pub(crate) fn is_sorted(&self) -> bool {
        !self.sort.is_empty()
    }

    /// Whether a record with these members matches.
    pub(crate) fn matches(&self, members: &Map<String, Value>) -> bool {
        condition::all_hold(&self.conditions, members)
    }

    /// The values by which a record is sorted.
    pub(crate) fn sort_key(&self, members: &Map<String, Value>) -> SortKey {
        SortKey::new(&self.sort, members)
    }

    /// The order of two records, without their ids.
    pub(crate) fn compare(&self, a: &SortKey, b: &SortKey) -> Ordering {
        a.compare(b, &self.sort)
    }

    /// The queries of the first, previous, next and last page, with their relations (RFC 8288), if a page was asked for by
    /// its number.
    pub(crate) fn links(&self, total: u64) -> Vec<(&'static str, String)> {
        let Some(page) = &self.page else {
            return Vec::new();
        };
        let limit = as_u64(self.slice.limit());
        let last = total.div_ceil(limit.max(1)).max(1);
        let number = as_u64(page.number);
        let to = |number: u64| {
            let rest = &page.rest;
            let and = if rest.is_empty() { "" } else { "&" };
            format!("{rest}{and}_page={number}")
        };
        let mut links = vec![("first", to(1))];
        if number > 1 {
            links.push(("prev", to((number - 1).min(last))));
        }
        if number < last {
            links.push(("next", to(number + 1)));
        }
        links.push(("last", to(last)));
        links
    }
}

/// Whether a query asks for the times and the revision of a record.
pub(crate) fn wants_meta(query: &str) -> Result<bool, QueryError> {
    if query.is_empty() {
        return Ok(false);
    }
    match Parameters::parse(query)?.once("_meta")? {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(sent) => Err(QueryError::wrong("_meta", sent, Wrong::Boolean)),
    }
}

/// The part of the list that is asked for, and the number of its page.
fn slice(
    parameters: &Parameters,
    range: Option<(usize, usize)>,
) -> Result<(Slice, Option<usize>), QueryError> {
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
    if let Some((first, last)) = range {
        return match (page, start, end, limit) {
            (None, None, None, None) => {
                Ok((Slice::new(first, (last - first).saturating_add(1)), None))
            }
            (Some(_), ..) => Err(conflict("range", "_page")),
            (_, Some(_), ..) => Err(conflict("range", "_start")),
            (_, _, Some(_), _) => Err(conflict("range", "_end")),
            (_, _, _, Some(_)) => Err(conflict("range", "_limit")),
        };
    }
    let slice = match (page, start, end, limit) {
        (Some(_), Some(_), ..) => return Err(conflict("_page", "_start")),
        (Some(_), _, Some(_), _) => return Err(conflict("_page", "_end")),
        (_, _, Some(_), Some(_)) => return Err(conflict("_end", "_limit")),
        (Some(page), None, None, limit) => {
            let limit = limit.unwrap_or(PAGE_RECORDS).min(PAGE_RECORDS_MAX);
            Slice::new((page - 1).saturating_mul(limit), limit)
        }
        (None, start, Some(end), None) => {
            let start = start.unwrap_or(0);
            let length = end.checked_sub(start).ok_or(QueryError::Backwards)?;
            Slice::new(start, length)
        }
        (None, start, None, limit) => {
            Slice::new(start.unwrap_or(0), limit.unwrap_or(PAGE_RECORDS_MAX))
        }
    };
    Ok((slice, page))
}

fn conflict(one: &'static str, other: &'static str) -> QueryError {
    QueryError::Conflict { one, other }
}

/// The names that a list is sorted by, with their directions as they were sent.
fn sent_order(
    parameters: &Parameters,
    json: &JsonDialect,
) -> Result<Vec<(String, Ordering)>, QueryError> {
    let names = parameters.once("_sort")?;
    if let Some(sort) = &json.sort {
        return match names {
            Some(_) => Err(conflict("_sort", "sort")),
            None => Ok(sort.clone()),
        };
    }
    let names = names.unwrap_or_default().split(',');
    let mut directions = parameters.once("_order")?.unwrap_or_default().split(',');
    let mut sort = Vec::new();
    for name in names {
        let order = directions.next().unwrap_or_default();
        let order = direction(order).ok_or(QueryError::Order)?;
        let name = name.trim();
        let (name, order) = match name.strip_prefix('-') {
            Some(name) => (name, order.reverse()),
            None => (name, order),
        };
        if !name.is_empty() {
            sort.push((name.to_owned(), order));
        }
    }
    if directions.next().is_some() {
        return Err(QueryError::Order);
    }
    Ok(sort)
}

/// The order that a direction means; ascending if it is empty.
fn direction(direction: &str) -> Option<Ordering> {
    match direction.trim() {
        "" => Some(Ordering::Less),
        asc if asc.eq_ignore_ascii_case("asc") => Some(Ordering::Less),
        desc if desc.eq_ignore_ascii_case("desc") => Some(Ordering::Greater),
        _ => None,
    }
}

fn sort_keys(sort: Vec<(String, Ordering)>, names: Names<'_>) -> Result<Vec<By>, QueryError> {
    let mut keys = Vec::new();
    for (name, order) in sort {
        let Some((path, kind)) = names.plain(&name)? else {
            continue;
        };
        let ends = path == ["id"];
        let kind = kind.cloned();
        keys.push(By { path, kind, order });
        if keys.len() > SORT_KEYS_MAX {
            return Err(QueryError::SortKeys);
        }
        // No two records have one id.
        if ends {
            break;
        }
    }
    // Records that are equal are in the order of their ids anyway.
    keys.pop_if(|last| last.path == ["id"] && last.order == Ordering::Less);
    Ok(keys)
}

fn conditions(
    parameters: &Parameters,
    json: &JsonDialect,
    names: Names<'_>,
) -> Result<Vec<QueryCondition>, QueryError> {
    let mut filters = Filters::new(names);
    for (name, value) in parameters.iter() {
        if KNOWN.contains(&name) || json.has(name) {
            continue;
        }
        if names.are_declared() && !names.declares(name) {
            JsonDialect::misused(name, value).map_or(Ok(()), Err)?;
        }
        filters.add(name, value)?;
    }
    if let Some(members) = &json.filter {
        filters.add_object("", members)?;
    }
    filters.finish()
}

#[cfg(test)]
mod tests;
