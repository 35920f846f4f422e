//! Compares the settings with the stored records: ids that no request could name, resources that are declared no
//! longer, and fields whose rules old records break. Pure.

// Decision: Settings that would hide records are refused.

mod finding;
mod repeated;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::record::{IdScheme, JsonObject, RecordId};
use crate::settings::ResourceSettings;
use finding::BrokenRule;
pub(crate) use finding::DataFinding;
pub(crate) use repeated::RepeatedValues;

/// The name under which the answers of named requests are kept. No resource of the settings can have it: their names begin
/// with a letter.
pub(super) const ANSWERS: &str = "_answers";
/// The most ids that a finding names.
const IDS_NAMED: usize = 3;
/// The most broken rules of one resource that are told apart.
const RULES_MAX: usize = 20;

/// The declared resources, by name.
pub(crate) type Resources = BTreeMap<String, ResourceSettings>;

/// Records that have something in common: their number, and the first ids in the order of ids, whatever the order in which the
/// records are found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CountedRecords {
    pub(crate) count: u64,
    pub(crate) first: Vec<RecordId>,
}

impl CountedRecords {
    /// Counts one more.
    pub(crate) fn add(&mut self, id: &RecordId) {
        self.count += 1;
        let at = self.first.partition_point(|named| named < id);
        if at < IDS_NAMED {
            self.first.insert(at, id.clone());
            self.first.truncate(IDS_NAMED);
        }
    }

    /// Whether as many ids are named as a finding names.
    pub(crate) fn names_enough(&self) -> bool {
        self.first.len() >= IDS_NAMED
    }
}

impl fmt::Display for CountedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<_> = self.first.iter().map(RecordId::to_string).collect();
        let s = if self.count == 1 { "" } else { "s" };
        write!(f, "{} record{s} ({}", self.count, named.join(", "))?;
        let more = self.count > crate::num::as_u64(named.len());
        f.write_str(if more { ", ..)" } else { ")" })
    }
}

/// The stored ids of a resource that not every kind of ids reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoredIds {
    /// Ids that were counted.
    pub(crate) numbers: CountedRecords,
    /// Texts that read as a number where ids are counted.
    pub(crate) digits: CountedRecords,
}

impl StoredIds {
    fn add(&mut self, id: &RecordId) {
        match id {
            RecordId::Number(_) => self.numbers.add(id),
            RecordId::Text(_) if !IdScheme::Sequence.reaches(id) => self.digits.add(id),
            RecordId::Text(_) => {}
        }
    }

    /// The finding if some of them can't be asked for by ids of this kind. That is a refusal if another kind reaches more.
    pub(crate) fn judge(self, resource: &str, kind: IdScheme) -> Option<DataFinding> {
        let (lost, others, other) = match kind {
            IdScheme::Sequence => (self.digits, self.numbers, IdScheme::Uuid),
            IdScheme::Uuid | IdScheme::Client => (self.numbers, self.digits, IdScheme::Sequence),
        };
        let (resource, kind, other) = (resource.to_owned(), kind.name(), other.name());
        match lost.count {
            0 => None,
            count if count > others.count => Some(DataFinding::Ids {
                resource,
                kind,
                lost,
                other,
            }),
            _ => Some(DataFinding::MixedIds {
                resource,
                kind,
                lost,
                other,
            }),
        }
    }
}

/// All records of a resource, as far as they were looked at.
#[derive(Debug, Clone, Default)]
struct StoredResource {
    all: CountedRecords,
    ids: StoredIds,
    invalid: CountedRecords,
    rules: BTreeMap<String, CountedRecords>,
    /// Those that refer to nothing, by the field and the resource that it leads to.
    dangling: BTreeMap<(String, String), CountedRecords>,
}

/// Compares settings with records that are shown to it one by one.
#[derive(Debug, Clone)]
pub(crate) struct DataFit {
    resources: Resources,
    stored: BTreeMap<String, StoredResource>,
}

impl DataFit {
    pub(crate) fn new(resources: Resources) -> Self {
        Self {
            resources,
            stored: BTreeMap::new(),
        }
    }

    /// Looks at a record.
    pub(crate) fn add(&mut self, resource: &str, id: &RecordId, json: &[u8]) {
        if resource == ANSWERS {
            return;
        }
        let stored = self.stored.entry(resource.to_owned()).or_default();
        stored.all.add(id);
        let Some(settings) = self.resources.get(resource) else {
            return;
        };
        stored.ids.add(id);
        if !settings.schema.has_rules() {
            return;
        }
        // A text that is no object is damage, and told elsewhere.
        let Ok(mut object) = JsonObject::parse(json) else {
            return;
        };
        object.remove_id();
        let Err(violations) = settings.schema.check_stored(object) else {
            return;
        };
        stored.invalid.add(id);
        let rules = violations.iter();
        let rules = rules.map(|it| format!("{} {}", of_any_item(&it.field()), it.detail));
        // A rule that several items break is broken once.
        for rule in rules.collect::<BTreeSet<_>>() {
            if stored.rules.len() < RULES_MAX || stored.rules.contains_key(&rule) {
                stored.rules.entry(rule).or_default().add(id);
            }
        }
    }

    /// Whether records of a resource may refer to others.
    pub(crate) fn has_references(&self, resource: &str) -> bool {
        let settings = self.resources.get(resource);
        settings.is_some_and(|settings| settings.schema.references().next().is_some())
    }

    /// Looks whether the records are there that a record refers to.
    pub(crate) fn add_references(
        &mut self,
        resource: &str,
        id: &RecordId,
        json: &[u8],
        is_there: impl Fn(&str, &RecordId) -> bool,
    ) {
        let (Some(settings), Ok(object)) = (self.resources.get(resource), JsonObject::parse(json))
        else {
            return;
        };
        let stored = self.stored.entry(resource.to_owned()).or_default();
        for (field, reference) in settings.schema.references() {
            let to = object.members().get(field);
            if let Some(to) = to.and_then(|to| reference.id(to))
                && !is_there(&reference.to, &to)
            {
                let key = (field.to_owned(), reference.to.clone());
                stored.dangling.entry(key).or_default().add(id);
            }
        }
    }

    /// The findings, those that refuse the store first.
    pub(crate) fn findings(self) -> Vec<DataFinding> {
        let without_records = self
            .resources
            .iter()
            .filter(|(name, _)| !self.stored.contains_key(*name));
        let empty = only_one(without_records);
        let mut found = Vec::new();
        for (resource, stored) in self.stored {
            let Some(settings) = self.resources.get(&resource) else {
                found.push(DataFinding::Undeclared {
                    records: stored.all,
                    empty: empty.clone(),
                    resource,
                });
                continue;
            };
            found.extend(stored.ids.judge(&resource, settings.ids));
            for ((field, to), records) in stored.dangling {
                found.push(DataFinding::Dangling {
                    resource: resource.clone(),
                    field,
                    to,
                    records,
                });
            }
            if stored.invalid.count > 0 {
                let rules = stored.rules.into_iter();
                let rules = rules.map(|(rule, records)| BrokenRule { rule, records });
                found.push(DataFinding::Fields {
                    records: stored.invalid,
                    rules: rules.collect(),
                    resource,
                });
            }
        }
        found.sort_by_key(|finding| !finding.is_refusal());
        found
    }
}

/// The name and the path of the resource, if there is exactly one.
pub(crate) fn only_one<'a>(
    mut resources: impl Iterator<Item = (&'a String, &'a ResourceSettings)>,
) -> Option<(String, String)> {
    let (name, settings) = resources.next()?;
    resources
        .next()
        .is_none()
        .then(|| (name.clone(), settings.path.clone()))
}

/// A field's name with `*` for the number of an item: `tags.*` for `tags.3`.
fn of_any_item(field: &str) -> String {
    let steps = field.split('.').map(|step| match step.parse::<usize>() {
        Ok(_) => "*",
        Err(_) => step,
    });
    steps.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests;
