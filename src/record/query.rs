//! Which records of a resource a client asks for, in which order, and which part of them.
//!
//! ```text
//! author=Le Guin            equal; a repeated name means or; author.name=Joyce looks into an object
//! _sort=author,-year        or _sort=author,year&_order=asc,desc; always ends with the id
//! _start=20&_end=30         or _start=20&_limit=10, or _page=3&_limit=10
//! ```

mod filter;
mod parameters;
mod sort;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::id::{IdScheme, RecordId};
use super::nearest;
use super::schema::{FieldType, Schema};
use super::slice::{PAGE_RECORDS_MAX, Slice};
use filter::Filter;
use parameters::Parameters;
pub(crate) use sort::SortKey;
use sort::SortKeys;

/// How many names and values a query may have.
const PARAMETERS_MAX: usize = 1000;
/// How many keys a list is sorted by at most.
const SORT_KEYS_MAX: usize = 8;
/// How far into a sorted list a page may end: so many records are kept while the rest is looked at.
const SORT_RECORDS_MAX: usize = 10_000;
/// How many records a page has if only its number is said.
const PAGE_RECORDS: usize = 10;
/// What a later release will understand: nobody is to take it for a field until then.
const LATER: [&str; 10] = [
    "_after", "_count", "_embed", "_expand", "_fields", "_q", "q", "range", "sort", "filter",
];
/// Of these, what will change the form of a record.
const SHAPES: [&str; 3] = ["_embed", "_expand", "_fields"];
/// The end of a name that will ask for something else than equality.
const OPERATORS: [&str; 6] = ["_gte", "_lte", "_gt", "_lt", "_ne", "_like"];
/// What is known beside the fields.
const KNOWN: [&str; 7] = [
    "_start",
    "_end",
    "_limit",
    "_page",
    "_per_page",
    "_sort",
    "_order",
];

/// What is wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    /// `%` without two digits, or not UTF-8.
    #[error("the query is not percent-encoded UTF-8")]
    Encoding,
    /// More than anybody needs.
    #[error("the query has more than {PARAMETERS_MAX} parameters")]
    TooMany,
    /// There is no such field.
    #[error("{name} is no field of this resource{}", hint(near.as_deref()))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        near: Option<String>,
    },
    /// It will be understood one day.
    #[error("{name} is not available yet")]
    Later {
        /// What was asked for.
        name: String,
    },
    /// It may be said once.
    #[error("{name} must be given once")]
    Repeated {
        /// What was said again.
        name: &'static str,
    },
    /// It must be a number.
    #[error("{name} must be a whole number, {least} or more")]
    Number {
        /// Whose value it is.
        name: &'static str,
        /// What it must be at least.
        least: usize,
    },
    /// A slice that ends before it begins.
    #[error("_end must not be less than _start")]
    Backwards,
    /// Two ways to say which part.
    #[error("{one} and {other} exclude each other")]
    Conflict {
        /// One way.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// No direction.
    #[error("_order consists of asc and desc, one for each name in _sort at most")]
    Order,
    /// Too many sort keys.
    #[error("_sort has {SORT_KEYS_MAX} names at most")]
    SortKeys,
    /// Too far into a sorted list.
    #[error(
        "a sorted page ends at record {SORT_RECORDS_MAX} at the latest; filter, or ask without _sort"
    )]
    SortedTooFar,
    /// A value that no field of this type can have.
    #[error("{name} must be {article}")]
    Value {
        /// The field.
        name: String,
        /// Its type, with its article.
        article: &'static str,
    },
    /// A field that nothing is equal to.
    #[error("{name} is an object; name one of its members, such as {name}.MEMBER")]
    Object {
        /// The field.
        name: String,
    },
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

/// What is done about a name that is no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    /// It is a fault.
    Strict,
    /// It is passed over (RFC 7240 section 4.4).
    Lenient,
}

/// What a client asks of a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ListQuery {
    filters: Vec<Filter>,
    sort: SortKeys,
    slice: Slice,
    page: Option<Page>,
}

/// A page by its number, and what else the query says.
#[derive(Debug, Clone, PartialEq)]
struct Page {
    number: usize,
    /// As it was sent, without the page.
    rest: String,
}

impl ListQuery {
    /// Reads the part of a URL after the `?`. In a schemaless resource every name is a field's, but for those that begin
    /// with `_`, which are passed over if they mean nothing.
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
        })
    }

    /// Refuses what will ask for a part of a record or for more than it, where one record is asked for or written. All else
    /// means nothing there.
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

    /// The ids that are asked for, in their order, if they are: nothing else needs to be looked at then.
    pub(crate) fn ids(&self, scheme: IdScheme) -> Option<Vec<RecordId>> {
        let id = |filter: &&Filter| filter.is_of(&["id".to_owned()]);
        let words = self.filters.iter().find(id)?.words();
        // What can't be an id is nobody's.
        let ids: BTreeSet<_> = words.filter_map(|word| scheme.parse(word).ok()).collect();
        Some(ids.into_iter().collect())
    }

    /// Which part of what matches is asked for.
    pub(crate) fn slice(&self) -> Slice {
        self.slice
    }

    /// Whether everything matches and the order is that of the ids.
    pub(crate) fn is_plain(&self) -> bool {
        self.filters.is_empty() && self.sort.is_empty()
    }

    /// Whether another order than that of the ids is asked for.
    pub(crate) fn is_sorted(&self) -> bool {
        !self.sort.is_empty()
    }

    /// Whether a record with these members is asked for.
    pub(crate) fn matches(&self, members: &Map<String, Value>) -> bool {
        self.filters.iter().all(|filter| filter.matches(members))
    }

    /// What decides a record's place in the order.
    pub(crate) fn sort_key(&self, members: &Map<String, Value>) -> SortKey {
        self.sort.of(members)
    }

    /// Which of two comes first; equal ones come in the order of their ids.
    pub(crate) fn compare(&self, a: &SortKey, b: &SortKey) -> Ordering {
        self.sort.compare(a, b)
    }

    /// The pages around this one, as relation and query (RFC 8288): none unless a page was asked for by its number.
    pub(crate) fn links(&self, total: u64) -> Vec<(&'static str, String)> {
        let Some(page) = &self.page else {
            return Vec::new();
        };
        let limit = u64::try_from(self.slice.limit()).unwrap_or(u64::MAX);
        let last = total.div_ceil(limit.max(1)).max(1);
        let number = u64::try_from(page.number).unwrap_or(u64::MAX);
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

/// The part that is asked for, and the number of its page.
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
    let place = (page, start, end, limit);
    let slice = match place {
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
) -> Result<SortKeys, QueryError> {
    let mut keys = SortKeys::default();
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
        match known(&path, schema, handling)? {
            Known::Any => keys.push(path, None, order),
            Known::Field(kind) => keys.push(path, Some(kind.clone()), order),
            Known::Nothing => {}
        }
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
) -> Result<Vec<Filter>, QueryError> {
    let mut filters: Vec<Filter> = Vec::new();
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
        match filters.iter_mut().find(|filter| filter.is_of(&path)) {
            Some(filter) => filter.or(wanted),
            None => filters.push(Filter::new(path, wanted)),
        }
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

enum Known<'a> {
    /// The resource has no schema, or it is the id.
    Any,
    Field(&'a FieldType),
    /// It is to be passed over.
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

/// The value at a path, if there is one.
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
