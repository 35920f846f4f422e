//! Decides how the records that a query asks for are found: by their ids, by an index, or by a look at all of them. Pure.

// Decision: The planner chooses by rules first, and by sizes where rules don't decide.

use std::cmp::Ordering;

use crate::num::as_u64;
use crate::record::{
    By, EncodedRange, FieldRanges, FieldType, IdScheme, IndexColumn, IndexableQuery, ListQuery,
    Position, RecordId, RecordIndex, Slice,
};

/// The most ranges of an index that are read for one query: for a list of values of its first column, and otherwise.
const LIST_RANGES_MAX: usize = 2_000;
const RANGES_MAX: usize = 100;

/// The way in which the page of a query is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Read this part of the list in the order of ids, or in the reverse.
    Page { slice: Slice, descending: bool },
    /// Read only the records of these ids.
    Pick(Vec<RecordId>),
    /// Read the page from an index that has exactly the matching records, in the order asked for.
    Walk(IndexPart),
    /// Look at the records that indexes name: all that match are among them.
    Gather(IndexSet),
    /// Look at every record.
    Scan,
}

/// Records that indexes name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IndexSet {
    /// Those of one part.
    Part(IndexPart),
    /// Those that are in both parts.
    Both(IndexPart, IndexPart),
    /// Those that are in any of these sets.
    AnyOf(Vec<IndexSet>),
}

/// A part of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexPart {
    /// The position of the index among those of the resource.
    pub(crate) index: usize,
    /// Ranges of its values. They don't overlap.
    pub(crate) ranges: Vec<EncodedRange>,
    /// The number of first columns that have one value in each range.
    pub(crate) fixed: usize,
    /// Whether it is read from its end.
    pub(crate) descending: bool,
    /// Whether a search for the values of fields leads there, so that items of arrays count.
    pub(crate) searched: bool,
}

/// A resource as the planner sees it.
pub(crate) struct PlanFacts<'a> {
    pub(crate) ids: IdScheme,
    /// Its indexes.
    pub(crate) indexes: &'a [&'a RecordIndex],
    /// The number of its records.
    pub(crate) records: u64,
    /// About how many records a part of an index names.
    pub(crate) size: &'a dyn Fn(&IndexPart) -> u64,
}

/// The cost of a plan, as it is estimated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PlanCost {
    /// The keys of indexes that are read.
    pub(crate) keys: u64,
    /// The records that are looked at.
    pub(crate) records: u64,
}

impl Plan {
    /// The cheapest way to answer a query.
    pub(crate) fn of(query: &ListQuery, facts: &PlanFacts<'_>) -> Self {
        Self::with_cost(query, facts).0
    }

    /// The same with its cost.
    pub(crate) fn with_cost(query: &ListQuery, facts: &PlanFacts<'_>) -> (Self, PlanCost) {
        let read = |keys, records| PlanCost { keys, records };
        let page = facts.records.min(as_u64(query.slice().limit()));
        if let Some(descending) = by_id(query) {
            let slice = query.slice();
            return (Self::Page { slice, descending }, read(0, page));
        }
        if let Some(ids) = query.ids(facts.ids) {
            let cost = read(0, as_u64(ids.len()));
            return (Self::Pick(ids), cost);
        }
        let (conditions, order) = (query.indexable(), query.order());
        let uses = facts.indexes.iter().enumerate();
        let uses = uses.map(|(at, index)| IndexUse::of(at, index, &conditions, order));
        if let Some(found) = uses.flatten().find(|found| found.walks) {
            return (Self::Walk(found.part), read(page, page));
        }
        let records = facts.records.max(RECORDS_FEW);
        match SizedSet::of(&conditions, facts) {
            Some(found) if found.cost() <= records.saturating_mul(SCAN_COST) => {
                let cost = read(found.keys, found.records);
                (Self::Gather(found.set), cost)
            }
            Some(_) | None => (Self::Scan, read(0, facts.records)),
        }
    }
}

/// Records that indexes name, with what it costs to read them. The unit is one key of an index.
struct SizedSet {
    set: IndexSet,
    keys: u64,
    /// About how many records are in it.
    records: u64,
}

impl SizedSet {
    /// The cheapest set that has all records for which the conditions hold; `None` if no index helps.
    fn of(conditions: &IndexableQuery<'_>, facts: &PlanFacts<'_>) -> Option<Self> {
        let indexes = facts.indexes.iter().enumerate();
        let uses = indexes.filter_map(|(at, index)| IndexUse::of(at, index, conditions, &[]));
        let uses = uses.filter(|found| found.part.searched);
        let mut parts: Vec<_> = uses
            .map(|found| ((facts.size)(&found.part), found))
            .collect();
        parts.sort_by_key(|(size, _)| *size);
        let one = parts.first().map(|(size, found)| Self {
            set: IndexSet::Part(found.part.clone()),
            keys: *size,
            records: *size,
        });
        let groups = conditions.alternatives.iter();
        let groups = groups.filter_map(|groups| Self::any_of(groups, facts));
        let sets = one
            .into_iter()
            .chain(Self::both(&parts, facts))
            .chain(groups);
        sets.min_by_key(Self::cost)
    }

    /// The records in the smallest part and in another one of other fields. Their values are taken to be independent.
    fn both(parts: &[(u64, IndexUse)], facts: &PlanFacts<'_>) -> Option<Self> {
        let ((size, first), others) = parts.split_first()?;
        let is_other = |found: &IndexUse| {
            let of = |found: &IndexUse| {
                facts
                    .indexes
                    .get(found.part.index)?
                    .columns
                    .get(..found.used)
            };
            let (Some(one), Some(other)) = (of(first), of(found)) else {
                return false;
            };
            one.iter().all(|column| !other.contains(column))
        };
        let (other_size, other) = others.iter().find(|(_, found)| is_other(found))?;
        Some(Self {
            set: IndexSet::Both(first.part.clone(), other.part.clone()),
            keys: size.saturating_add(*other_size),
            records: size.saturating_mul(*other_size) / facts.records.max(1),
        })
    }

    /// The records in the sets of all groups, of which one has to hold.
    fn any_of(groups: &[IndexableQuery<'_>], facts: &PlanFacts<'_>) -> Option<Self> {
        let sets = groups.iter().map(|group| Self::of(group, facts));
        let sets: Vec<_> = sets.collect::<Option<_>>()?;
        let sum = |of: fn(&Self) -> u64| sets.iter().map(of).fold(0, u64::saturating_add);
        let (keys, records) = (sum(|it| it.keys), sum(|it| it.records));
        let set = IndexSet::AnyOf(sets.into_iter().map(|it| it.set).collect());
        Some(Self { set, keys, records })
    }

    fn cost(&self) -> u64 {
        let looks = self.records.saturating_mul(LOOK_COST);
        self.keys.saturating_add(looks)
    }
}

/// The cost of looking a record up by its id, and of coming across it in a scan, compared with a key of an index: estimates, which only
/// have to be right within a factor.
const LOOK_COST: u64 = 7;
const SCAN_COST: u64 = 4;

/// The direction of a query for all records in the order of their ids: `true` for the reverse.
fn by_id(query: &ListQuery) -> Option<bool> {
    match query.order() {
        _ if query.is_filtered() => None,
        [] => Some(false),
        [by] if by.path == ["id"] => Some(by.order == Ordering::Greater),
        _ => None,
    }
}

/// So few records are looked at by any index rather than all.
const RECORDS_FEW: u64 = 64;

/// A way to use an index for a query.
struct IndexUse {
    part: IndexPart,
    /// The number of its first columns for which there are conditions.
    used: usize,
    /// Whether it has exactly the matching records, in the order asked for.
    walks: bool,
}

impl IndexUse {
    /// The best use of an index; `None` if it is of no use.
    fn of(
        at: usize,
        index: &RecordIndex,
        conditions: &IndexableQuery<'_>,
        order: &[By],
    ) -> Option<Self> {
        let mut ranges = vec![EncodedRange::all()];
        let (mut used, mut equal) = (0, 0);
        for column in &index.columns {
            let its = |field: &&FieldRanges<'_>| {
                field.path == column.path && field.moments == column.moments
            };
            let Some(field) = conditions.fields.iter().find(its) else {
                break;
            };
            let product = ranges.len().saturating_mul(field.ranges.len());
            let most = if used == 0 {
                LIST_RANGES_MAX
            } else {
                RANGES_MAX
            };
            if product > most {
                break;
            }
            let further = ranges.iter().flat_map(|before| {
                let next = field.ranges.iter();
                next.map(|range| before.followed_by(range))
            });
            ranges = further.collect();
            used += 1;
            if !field.ranges.iter().all(|range| range.one) {
                break;
            }
            equal += 1;
        }
        let covers = conditions.complete
            && used == conditions.fields.len()
            && ranges.iter().all(|range| range.exact);
        let direction = direction(index, equal, order);
        let walks = covers && ranges.len() == 1 && direction.is_some();
        let part = IndexPart {
            index: at,
            ranges,
            fixed: equal,
            descending: walks && direction == Some(true),
            searched: used > 0,
        };
        (walks || used > 0).then_some(Self { part, used, walks })
    }
}

/// Whether an index of which the first `equal` columns have one value has its records in this order (`false`), or in the
/// reverse (`true`); `None` if it has neither.
fn direction(index: &RecordIndex, equal: usize, order: &[By]) -> Option<bool> {
    let (fixed, rest) = index.columns.split_at_checked(equal)?;
    let order: Vec<_> = order.iter().filter(|by| !is_fixed(fixed, by)).collect();
    let same = rest.iter().zip(&order).all(|(column, by)| {
        let moments = by.kind == Some(FieldType::DateTime);
        column.path == by.path && column.moments == moments
    });
    let is_descending = |by: &By| by.order == Ordering::Greater;
    let descending = order.first().is_some_and(|by| is_descending(by));
    let one_way = order.iter().all(|by| is_descending(by) == descending);
    // Records that are equal in all that is asked for come in the order of ids.
    let whole = rest.len() == order.len();
    (same && one_way && whole).then_some(descending)
}

/// Whether a field has one value only, so that it does not order anything.
fn is_fixed(fixed: &[IndexColumn], by: &By) -> bool {
    fixed.iter().any(|column| column.path == by.path)
}

/// The entry that a record at the position of a query has in a part of an index that is walked, and its id. `None` if the index
/// does not have all of its values.
pub(crate) fn entry_at<'a>(
    index: &RecordIndex,
    part: &IndexPart,
    range: &EncodedRange,
    query: &ListQuery,
    position: &'a Position,
) -> Option<(Vec<u8>, &'a RecordId)> {
    let fixed = index.columns.get(..part.fixed)?;
    let values = query.order().iter().zip(position.key.values());
    let others = values.filter(|(by, _)| !is_fixed(fixed, by));
    let entry = RecordIndex::entry_at(part.fixed, &range.from, others.map(|(_, value)| value))?;
    Some((entry, &position.id))
}

/// The size of a part where nobody knows it: none is larger than another.
pub(crate) fn unknown_size(_: &IndexPart) -> u64 {
    0
}

#[cfg(test)]
mod tests;
