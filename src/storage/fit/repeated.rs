//! Finds records that share a value which must be unique.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};

use super::{CountedRecords, DataFinding};
use crate::record::{JsonObject, RecordId, RecordIndex};

/// Finds them among records that are shown to it one by one, in any order: of those with the same values, it is all but the one
/// with the first id. Of each record it keeps the id and a few bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct RepeatedValues {
    hasher: RandomState,
    of: Vec<UniqueValues>,
}

#[derive(Debug, Clone)]
struct UniqueValues {
    index: RecordIndex,
    /// The first id of each values, by their hash.
    seen: HashMap<u64, RecordId>,
    repeated: CountedRecords,
}

impl RepeatedValues {
    /// Looks at the values of those indexes that are unique.
    pub(crate) fn of<'a>(indexes: impl IntoIterator<Item = &'a RecordIndex>) -> Self {
        let unique = indexes.into_iter().filter(|index| index.unique);
        let of = unique.map(|index| UniqueValues {
            index: index.clone(),
            seen: HashMap::new(),
            repeated: CountedRecords::default(),
        });
        Self {
            hasher: RandomState::new(),
            of: of.collect(),
        }
    }

    /// Looks at a record. A text that is no object is damage, and told elsewhere.
    pub(crate) fn add(&mut self, id: &RecordId, json: &[u8]) {
        if self.of.is_empty() {
            return;
        }
        let object = JsonObject::parse(json).unwrap_or_default();
        for UniqueValues {
            index,
            seen,
            repeated,
        } in &mut self.of
        {
            let Some(identity) = index.identity(object.members()) else {
                continue;
            };
            match seen.entry(self.hasher.hash_one(identity)) {
                Entry::Vacant(first) => drop(first.insert(id.clone())),
                Entry::Occupied(first) if first.get() < id => repeated.add(id),
                Entry::Occupied(mut first) => repeated.add(&first.insert(id.clone())),
            }
        }
    }

    /// Those that were found in a resource.
    pub(crate) fn findings(self, resource: &str) -> Vec<DataFinding> {
        let found = self.of.into_iter();
        let found = found.filter(|values| values.repeated.count > 0);
        let found = found.map(|values| DataFinding::Repeated {
            resource: resource.to_owned(),
            fields: values.index.fields(),
            records: values.repeated,
        });
        found.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_with_values_of_an_earlier_one_is_found() {
        let unique = |name| RecordIndex {
            unique: true,
            ..RecordIndex::of_name(name)
        };
        let indexes = [unique("a"), unique("b,c"), RecordIndex::of_name("d")];
        let mut values = RepeatedValues::of(&indexes);
        for (n, json) in (1..).zip([
            r#"{"a":1,"b":1,"c":1,"d":1}"#,
            r#"{"a":1.0,"b":1,"c":2,"d":1}"#,
            r#"{"a":2,"b":1,"c":1,"d":1}"#,
            r#"{"a":null,"b":1}"#,
            r#"{"a":null,"b":1}"#,
            "no object",
        ]) {
            values.add(&RecordId::Number(n), json.as_bytes());
        }
        // Long texts differ in their last letter only.
        for (n, end) in (7..).zip(["x", "y", "x"]) {
            let json = format!(r#"{{"a":"{}{end}"}}"#, "9".repeat(300));
            values.add(&RecordId::Number(n), json.as_bytes());
        }
        let told: Vec<_> = values
            .findings("books")
            .iter()
            .map(DataFinding::to_string)
            .collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("[resource.books] has unique = [a], but 2 records (2, 9) "),
            "{told:?}"
        );
        assert!(told[1].contains("1 record (3)"), "{told:?}");
    }

    #[test]
    fn the_order_in_which_records_are_shown_makes_no_difference() {
        let index = RecordIndex {
            unique: true,
            ..RecordIndex::of_name("a")
        };
        let told = |ids: &[u64]| {
            let mut values = RepeatedValues::of([&index]);
            for id in ids {
                let json = format!(r#"{{"a":{}}}"#, id % 3);
                values.add(&RecordId::Number(*id), json.as_bytes());
            }
            values.findings("books")[0].to_string()
        };
        let expected = told(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(expected.contains("7 records (4, 5, 6, ..)"), "{expected}");
        assert_eq!(told(&[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]), expected);
        assert_eq!(told(&[5, 10, 1, 4, 9, 2, 7, 3, 8, 6]), expected);
    }
}
