//! The query of a list: which records of a resource a client asks for, in which order, and which part of them.
//!
//! ```text
//! author=Le Guin&year_gte=1960     conditions: all must hold
//! filter={"or":[{..},{..}]}        the same in JSON, with groups
//! _sort=author,-year               the order; records that are equal are sorted by id
//! _start=20&_end=30                the part, or _start and _limit, _page and _limit, _limit and _after, range
//! _fields=title&_meta=true         the form of each record
//! ```
//!
//! Order of reading: `filters` and `gathered` make the conditions, `condition` and `operand` say when they hold, `sort` has the
//! order, `part` the parts and the links between them, `cursor` the positions, `shape` the form.

// Decision: A query parameter without a meaning is refused.

mod condition;
mod cursor;
mod described;
mod error;
mod example;
mod feed;
mod filters;
mod gathered;
mod history;
mod json_dialect;
mod names;
mod operand;
mod operator;
mod parameters;
mod part;
mod path;
mod ranges;
mod shape;
mod sort;
mod told;

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::id::{IdScheme, RecordId};
use super::object::JsonObject;
use super::schema::Schema;
use super::selection::SELECTED_BYTES_MAX;
use super::{Record, Slice};
pub(super) use condition::QueryCondition;
pub(crate) use cursor::Position;
use cursor::query_number;
use described::OF_LISTS;
pub(crate) use described::{
    FilterParameter, FilterTest, ParameterValue, QueryParameter, filter_parameters,
};
pub(crate) use error::{QueryError, Wrong};
pub(crate) use feed::{FEED_BYTES_MAX, FeedPosition, FeedQuery};
use filters::Filters;
pub(crate) use history::{HISTORY_PARAMETERS, HistoryQuery};
use json_dialect::JsonDialect;
use names::Names;
use parameters::Parameters;
use part::{Extent, ListPart, PartOrigin};
pub(super) use path::at;
pub(crate) use ranges::{FieldRanges, IndexableQuery, WantedIndexes};
pub(crate) use shape::RecordShape;
pub(crate) use sort::{By, SortKey};
use sort::{sent_order, sort_keys};

/// The most parameters in a query.
const PARAMETERS_MAX: usize = 1000;
/// Those that will ask for the form of a record that a write answers with.
const OF_READS: [&str; 3] = ["_fields", "_embed", "_expand"];

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
    part: ListPart,
    /// The number of ids that are asked for.
    ids_sent: usize,
    /// Whether the matching records are counted even if the part does not need it.
    counted: bool,
    /// The query as it was sent, and the number that its positions have.
    sent: String,
    number: u64,
    /// The most records that the answer may have.
    records_max: Option<usize>,
    /// The most bytes of records that may be held now, if it is fewer than a selection keeps.
    room: Option<usize>,
}

impl ListQuery {
    /// The parameters that a list knows besides the fields and those of the second dialect.
    fn known() -> impl Iterator<Item = &'static str> {
        OF_LISTS.iter().map(|parameter| parameter.name)
    }

    /// Whether a list knows a parameter of this name.
    fn is_known(name: &str) -> bool {
        Self::known().any(|known| known == name)
    }

    /// The parameters of a list, for documents. Those of its filters depend on the fields.
    pub(crate) fn parameters() -> impl Iterator<Item = &'static QueryParameter> {
        OF_LISTS
            .iter()
            .chain(&json_dialect::PARAMETERS)
            .chain([&filters::SEARCH])
    }

    /// The parameters of a change of all records that match, for documents.
    pub(crate) fn parameters_of_change() -> impl Iterator<Item = &'static QueryParameter> {
        [&json_dialect::FILTERS, &filters::SEARCH].into_iter()
    }

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
        let sort = sort_keys(sent_order(&parameters, &json)?, names)?;
        let number = query_number(&parameters);
        let after = parameters.once("_after")?.map(|text| match text {
            "" => Ok(PartOrigin::First),
            text => Position::decode(text, number, sort.len())
                .map(PartOrigin::After)
                .ok_or(QueryError::Position),
        });
        let after = after.transpose()?;
        let part = ListPart::read(&parameters, json.range, after)?;
        let counted = match parameters.once("_count")? {
            None => false,
            Some("exact") => true,
            Some(sent) => return Err(QueryError::wrong("_count", sent, Wrong::Count)),
        };
        let conditions = conditions(&parameters, &json, names)?;
        Ok(Self {
            ids_sent: condition::words(&conditions, "id").map_or(0, |ids| ids.len()),
            conditions,
            sort,
            part,
            counted,
            sent: query.to_owned(),
            number,
            records_max: None,
            room: None,
        })
    }

    /// Reads the conditions of a change of all records that match. Whatever else a list has would mean nothing.
    pub(crate) fn of_change(
        query: &str,
        schema: &Schema,
        handling: Handling,
    ) -> Result<Self, QueryError> {
        let read = Self::parse(query, schema, handling)?;
        if read.is_sorted() || read.part != ListPart::default() || read.counted {
            return Err(QueryError::OfChange);
        }
        Ok(read)
    }

    /// The same for the first matching records, and the number of all.
    pub(crate) fn first(self, records: usize) -> Self {
        let part = ListPart::Between {
            start: 0,
            end: records,
        };
        Self { part, ..self }
    }

    /// The same for the records of its page only.
    pub(crate) fn of_page(self) -> Self {
        let end = self.slice().limit();
        let part = ListPart::Between { start: 0, end };
        Self { part, ..self }
    }

    /// The same with an answer of at most so many records. The rest is linked.
    pub(crate) fn at_most(self, records: usize) -> Self {
        let records_max = Some(records);
        Self {
            records_max,
            ..self
        }
    }

    /// The same while there is room for only so many bytes of records. More than that is an error.
    pub(crate) fn within(self, bytes: usize) -> Self {
        let room = Some(bytes);
        Self { room, ..self }
    }

    /// The same for those of its records that meet one more condition. Links and positions are those of the query as it was sent.
    pub(super) fn and(mut self, condition: QueryCondition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// The most bytes of records that may be held now; `None` if as many as the answer may have.
    pub(super) fn room(&self) -> Option<usize> {
        self.room.filter(|room| *room < SELECTED_BYTES_MAX)
    }

    /// Refuses the names that will ask for a part of a record or for more than a record, where it is written. All other names
    /// are ignored there.
    pub(crate) fn refuse_shape(query: &str, reads: bool) -> Result<(), QueryError> {
        if reads || query.is_empty() {
            return Ok(());
        }
        let parameters = Parameters::parse(query)?;
        let mut names = parameters.iter().map(|(name, _)| name);
        match names.find(|name| OF_READS.contains(name)) {
            Some(name) => Err(QueryError::Later {
                name: name.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The fields by which the list is sorted, the most important first. Records that are equal in them are in the order of
    /// ids; without any, all are.
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

    /// The part of the matching records that is asked for. If there is a [position](Self::after), it is counted from there.
    pub(crate) fn slice(&self) -> Slice {
        let records_max = self.records_max.unwrap_or(usize::MAX);
        self.part.slice(self.ids_sent, records_max)
    }

    /// The position that the records of the answer follow: they come after its id or, in a sorted list, after its values, and
    /// after its id where the values are equal.
    pub(crate) fn after(&self) -> Option<&Position> {
        self.part.after()
    }

    /// The id that all records of the answer follow, if nothing else has to be looked at: the list is in the order of ids and is
    /// not counted.
    pub(crate) fn first_id(&self) -> Option<&RecordId> {
        let first = self
            .after()
            .filter(|_| !self.is_sorted() && !self.wants_total());
        first.map(|after| &after.id)
    }

    /// Whether the number of all matching records is told. If not, it is enough to know whether more follow.
    pub(crate) fn wants_total(&self) -> bool {
        self.counted || !self.part.is_by_position()
    }

    /// Whether all records match.
    pub(crate) fn selects_all(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether a record with this key and this id is in the list, but not after the position.
    pub(crate) fn is_before(&self, key: &SortKey, id: &RecordId) -> bool {
        self.after().is_some_and(|after| {
            let order = self
                .compare(key, &after.key)
                .then_with(|| id.cmp(&after.id));
            order.is_le()
        })
    }

    /// The first and the last record that `range` asks for, if it is sent: then the answer tells its own range.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        match self.part {
            ListPart::Range { first, last } => Some((first, last)),
            ListPart::Rest { .. } | ListPart::Between { .. } | ListPart::Page { .. } => None,
        }
    }

    /// Whether only some records match.
    pub(crate) fn is_filtered(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Whether another order than that of ids is asked for.
    pub(crate) fn is_sorted(&self) -> bool {
        !self.sort.is_empty()
    }

    /// The members of a record that the conditions and the order look at; `None` if they look at all.
    pub(super) fn names(&self) -> Option<Vec<String>> {
        let mut names = BTreeSet::new();
        let all_told = condition::add_names(&self.conditions, &mut names);
        names.extend(self.sort.iter().filter_map(|by| by.path.first()));
        all_told.then(|| names.into_iter().cloned().collect())
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

    /// The queries of other parts of the list, with their relations (RFC 8288). `records` are those of the answer, `total` is
    /// the number of all that match, and `more` says whether others follow.
    pub(crate) fn links(
        &self,
        records: &[Record],
        total: Option<u64>,
        more: bool,
    ) -> Result<Vec<(&'static str, String)>, QueryError> {
        let from_position = more && self.part.goes_on_from_position(records.len());
        let last = records.last().filter(|_| from_position);
        let last = last.and_then(|record| self.position(record)?.encode(self.number));
        if more && last.is_none() && !records.is_empty() && self.part.is_by_position() {
            return Err(QueryError::PositionTooLong);
        }
        let extent = Extent {
            records: records.len(),
            total,
            more,
            last: last.as_deref(),
        };
        Ok(self.part.links(&self.sent, extent))
    }

    /// Whether an answer with so many records has fewer than were asked for, although there are more.
    pub(crate) fn is_cut(&self, records: usize, more: bool) -> bool {
        more && records < self.part.slice(self.ids_sent, usize::MAX).limit()
    }

    /// The position after a record.
    fn position(&self, record: &Record) -> Option<Position> {
        let members = if self.is_sorted() {
            JsonObject::parse(&record.json).ok()?
        } else {
            JsonObject::default()
        };
        Some(Position {
            key: self.sort_key(members.members()),
            id: record.id.clone(),
        })
    }
}

fn conflict(one: &'static str, other: &'static str) -> QueryError {
    QueryError::Conflict { one, other }
}

fn conditions(
    parameters: &Parameters<'_>,
    json: &JsonDialect,
    names: Names<'_>,
) -> Result<Vec<QueryCondition>, QueryError> {
    let mut filters = Filters::new(names);
    for (name, value) in parameters.iter() {
        if ListQuery::is_known(name) || json.has(name) {
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
