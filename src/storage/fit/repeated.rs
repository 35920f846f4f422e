//! Records with values that another one has, too, where no two may have the same.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use super::{CountedRecords, DataFinding};
use crate::record::{JsonObject, RecordId, RecordIndex};

/// Finds them among records that are shown to it one by one. Of each record it keeps a few bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct RepeatedValues {
    hasher: RandomState,
    of: Vec<UniqueValues>,
}

#[derive(Debug, Clone)]
struct UniqueValues {
    index: RecordIndex,
    /// The hashes of all values.
    seen: HashSet<u64>,
    repeated: CountedRecords,
}

impl RepeatedValues {
    /// Looks at the values of those indexes that are unique.
    pub(crate) fn of<'a>(indexes: impl IntoIterator<Item = &'a RecordIndex>) -> Self {
        let unique = indexes.into_iter().filter(|index| index.unique);
        let of = unique.map(|index| UniqueValues {
            index: index.clone(),
            seen: HashSet::new(),
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
            if let Some(identity) = index.identity(object.members())
                && !seen.insert(self.hasher.hash_one(identity))
            {
                repeated.add(id);
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
}
