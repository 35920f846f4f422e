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

mod error;
mod filter;
mod history;
mod parameters;
mod sort;
mod told;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::id::{IdScheme, RecordId};
use super::nearest;
use super::schema::{FieldType, Schema};
use super::selection::SELECTED_BYTES_MAX;
use super::slice::{PAGE_RECORDS_MAX, Slice};
use crate::num::as_u64;
pub(crate) use error::QueryError;
use filter::Filters;
pub(crate) use history::HistoryQuery;
use parameters::Parameters;
use sort::By;
pub(crate) use sort::SortKey;

/// The most parameters in a query.
const PARAMETERS_MAX: usize = 1000;
/// The most names in `_sort`.
const SORT_KEYS_MAX: usize = 8;
/// The last record of a sorted list that can be asked for: this many records are kept in memory while the others are read.
const SORT_RECORDS_MAX: usize = 10_000;
/// The size of a page of which only the number was given.
const PAGE_RECORDS: usize = 10;
/// Names that a later release will understand. Until then they are refused, so that no client uses them as fields.
const LATER: [&str; 10] = [
    "_after", "_count", "_embed", "_expand", "_fields", "_q", "q", "range", "sort", "filter",
];
/// Those of them that will change the form of a record.
const SHAPES: [&str; 3] = ["_embed", "_expand", "_fields"];
/// Ends of names that will ask for other comparisons than equality.
const OPERATORS: [&str; 6] = ["_gte", "_lte", "_gt", "_lt", "_ne", "_like"];
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
    filters: Filters,
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
        let (slice, page) = slice(&parameters)?;
        let sort = sort_keys(&parameters, schema, handling)?;
        if !sort.is_empty() && slice.end() > SORT_RECORDS_MAX {
            return Err(QueryError::SortedTooFar);
        }
        let page = page.map(|number| Page {
            number,
            rest: Parameters::without(query, "_page"),
        });
        Ok(Self {
            filters: filters(&parameters, schema, handling)?,
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

    /// The ids that are asked for, sorted, if the query filters by id: no other record can match.
    pub(crate) fn ids(&self, scheme: IdScheme) -> Option<Vec<RecordId>> {
        let wanted = self.filters.get(["id".to_owned()].as_slice())?.iter();
        // No record has an id of another form.
        let ids = wanted.filter_map(|wanted| scheme.parse(wanted.word()?).ok());
        let ids: BTreeSet<_> = ids.collect();
        Some(ids.into_iter().collect())
    }

    /// The part of the matching records that is asked for.
    pub(crate) fn slice(&self) -> Slice {
        self.slice
    }

    /// Whether all records match, in the order of ids.
    pub(crate) fn is_plain(&self) -> bool {
        self.filters.is_empty() && self.sort.is_empty()
    }

    /// Whether another order than that of ids is asked for.
    pub(crate) fn is_sorted(&self) -> bool {
        !self.sort.is_empty()
    }

    /// Whether a record with these members matches.
    pub(crate) fn matches(&self, members: &Map<String, Value>) -> bool {
        let mut filters = self.filters.iter();
        filters.all(|(path, any_of)| filter::matches(members, path, any_of))
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
        Some(_) => Err(QueryError::Value {
            name: "_meta".to_owned(),
            article: "true or false",
        }),
    }
}

/// The part of the list that is asked for, and the number of its page.
fn slice(parameters: &Parameters) -> Result<(Slice, Option<usize>), QueryError> {
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

fn sort_keys(
    parameters: &Parameters,
    schema: &Schema,
    handling: Handling,
) -> Result<Vec<By>, QueryError> {
    let mut keys = Vec::new();
    let mut directions = parameters.once("_order")?.unwrap_or_default().split(',');
    for name in parameters.once("_sort")?.unwrap_or_default().split(',') {
        let order = match directions.next().unwrap_or_default().trim() {
            "" => Ordering::Less,
            asc if asc.eq_ignore_ascii_case("asc") => Ordering::Less,
            desc if desc.eq_ignore_ascii_case("desc") => Ordering::Greater,
            _ => return Err(QueryError::Order),
        };
        let name = name.trim();
        let (name, order) = match name.strip_prefix('-') {
            Some(name) => (name, order.reverse()),
            None => (name, order),
        };
        if name.is_empty() {
            continue;
        }
        let path = path(name);
        let kind = match known(&path, schema, handling)? {
            Known::Any => None,
            Known::Field(kind) => Some(kind.clone()),
            Known::Nothing => continue,
        };
        keys.push(By { path, kind, order });
        if keys.len() > SORT_KEYS_MAX {
            return Err(QueryError::SortKeys);
        }
    }
    if directions.next().is_some() {
        return Err(QueryError::Order);
    }
    Ok(keys)
}

fn filters(
    parameters: &Parameters,
    schema: &Schema,
    handling: Handling,
) -> Result<Filters, QueryError> {
    let mut filters = Filters::new();
    for (name, value) in parameters.iter() {
        if KNOWN.contains(&name) {
            continue;
        }
        let path = path(name);
        let declared = schema.field(&path).is_some() || name == "id";
        if !declared && is_later(name) {
            return Err(QueryError::Later {
                name: name.to_owned(),
            });
        }
        let kind = match known(&path, schema, handling)? {
            Known::Any if name.starts_with('_') => continue,
            Known::Any => None,
            Known::Field(kind) => Some(kind),
            Known::Nothing => continue,
        };
        let wanted = filter::wanted(name, value, kind)?;
        filters.entry(path).or_default().push(wanted);
    }
    Ok(filters)
}

fn is_later(name: &str) -> bool {
    LATER.contains(&name)
        || name.contains(':')
        || OPERATORS.iter().any(|end| {
            name.strip_suffix(end)
                .is_some_and(|field| !field.is_empty())
        })
}

/// The meaning of a name in a query.
enum Known<'a> {
    /// A value of any type: the resource has no schema, or it is the id.
    Any,
    Field(&'a FieldType),
    /// Nothing; it is ignored.
    Nothing,
}

fn known<'a>(
    path: &[String],
    schema: &'a Schema,
    handling: Handling,
) -> Result<Known<'a>, QueryError> {
    if *schema == Schema::Any || path == ["id"] {
        return Ok(Known::Any);
    }
    match (schema.field(path), handling) {
        (Some(kind), _) => Ok(Known::Field(kind)),
        (None, Handling::Lenient) => Ok(Known::Nothing),
        (None, Handling::Strict) => {
            let name = path.join(".");
            let names = schema.names().chain(KNOWN).chain(["id"]);
            let near = nearest(&name, names).map(str::to_owned);
            Err(QueryError::Unknown { name, near })
        }
    }
}

fn path(name: &str) -> Vec<String> {
    name.split('.').map(str::to_owned).collect()
}

/// The value at a path of names, if there is one.
fn at<'a>(members: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let mut value = members.get(first)?;
    for name in rest {
        value = value.as_object()?.get(name)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests;
