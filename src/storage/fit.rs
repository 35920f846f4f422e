//! Whether the settings fit the records that are stored: ids that no request could name, resources that are declared no
//! longer, and fields whose rules old records break. Pure.

// Decision: Settings that would hide records are refused.

mod finding;
mod repeated;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::sled::ANSWERS;
use crate::record::{IdScheme, JsonObject, RecordId};
use crate::settings::ResourceSettings;
use finding::BrokenRule;
pub(crate) use finding::DataFinding;
pub(crate) use repeated::RepeatedValues;

/// The most ids that a finding names.
const IDS_NAMED: usize = 3;
/// The most broken rules of one resource that are told apart.
const RULES_MAX: usize = 20;

/// The declared resources, by name.
pub(crate) type Resources = BTreeMap<String, ResourceSettings>;

/// Records that have something in common: their number, and the first ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CountedRecords {
    pub(crate) count: u64,
    pub(crate) first: Vec<RecordId>,
}

impl CountedRecords {
    /// Counts one more.
    pub(crate) fn add(&mut self, id: &RecordId) {
        self.count += 1;
        if !self.names_enough() {
            self.first.push(id.clone());
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
        let Err(violations) = settings.schema.check(&mut object) else {
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{Bounds, Field, FieldType, Schema};

    fn counted(ids: &[RecordId]) -> CountedRecords {
        let mut counted = CountedRecords::default();
        for id in ids {
            counted.add(id);
        }
        counted
    }

    fn text(id: &str) -> RecordId {
        RecordId::parse(id).unwrap()
    }

    #[test]
    fn a_kind_of_ids_is_refused_if_another_one_reaches_more_of_the_stored_records() {
        use IdScheme::{Client, Sequence, Uuid};
        let (n, t) = (RecordId::Number, text);
        for (kind, stored, refused) in [
            (Sequence, vec![n(1), n(2)], None),
            (Uuid, vec![n(1), n(2)], Some(true)),
            (Client, vec![n(1)], Some(true)),
            (Uuid, vec![t("1"), t("dune")], None),
            (Client, vec![t("1"), t("dune")], None),
            // Where ids are counted, texts that don't read as a number stay reachable.
            (Sequence, vec![t("dune"), t("01"), t("0190-x")], None),
            (Sequence, vec![t("dune"), t("1")], Some(true)),
            // No kind reaches all: the one that reaches more is taken.
            (Uuid, vec![n(1), n(2), t("1")], Some(true)),
            (Sequence, vec![n(1), n(2), t("1")], Some(false)),
            (Uuid, vec![n(1), t("1")], Some(false)),
            (Sequence, vec![], None),
        ] {
            let mut ids = StoredIds::default();
            for id in &stored {
                ids.add(id);
            }
            let found = ids.judge("books", kind);
            let found = found.as_ref().map(DataFinding::is_refusal);
            assert_eq!(found, refused, "{kind:?} {stored:?}");
        }
        let lost = counted(&[n(1), n(2), n(3), n(4)]);
        let ids = StoredIds {
            numbers: lost,
            ..StoredIds::default()
        };
        assert_eq!(
            ids.judge("books", Uuid).unwrap().to_string(),
            "[resource.books] has id = \"uuidv7\", but 4 records (1, 2, 3, ..) were given ids by id = \"sequence\", and no \
             request could name them any more; write id = \"sequence\" into [resource.books] again. Nothing was changed"
        );
    }

    #[test]
    fn records_that_break_a_rule_are_counted_by_resource_and_rule() {
        let year = FieldType::Integer(Bounds {
            min: None,
            max: Some(2000),
        });
        let tags = FieldType::Array {
            items: Some(Box::new(FieldType::Boolean)),
            length: Bounds::default(),
        };
        let field = |name: &str, kind| Field {
            name: name.to_owned(),
            kind,
            required: name == "year",
            default: None,
        };
        let books = ResourceSettings {
            schema: Arc::new(Schema::Fields(vec![
                field("year", year),
                field("tags", tags),
            ])),
            ..ResourceSettings::at("/books")
        };
        let resources = [
            ("books".to_owned(), books),
            ("novels".to_owned(), ResourceSettings::at("/read")),
        ];
        let resources = resources.into();
        let mut fit = DataFit::new(resources);
        for (id, json) in [
            ("a", r#"{"id":"a","year":1999,"tags":[true]}"#),
            ("b", r#"{"id":"b","year":2001,"tags":[1,true,2]}"#),
            ("c", r#"{"id":"c","year":2002}"#),
            ("d", r#"{"id":"d"}"#),
        ] {
            fit.add("books", &text(id), json.as_bytes());
        }
        fit.add("old", &text("x"), b"{}");
        let found = fit.findings();
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "the fields of [resource.books] do not fit 3 records (b, c, d): tags.* must be true or false: 1 \
                 record (b); year must be at most 2000: 2 records (b, c); year must be there: 1 record (d). They are served \
                 as they are; a PATCH of other members is accepted, a PUT has to keep every rule",
                "the resource old is not in the settings, and the store has 1 record (x) of it. Nothing was deleted; declare \
                 [resource.old] again to serve or to export them. Was it renamed to novels? Records are found by the name of \
                 their resource: write [resource.old] with path = \"/read\" in the place of [resource.novels]",
            ]
        );
    }
}
