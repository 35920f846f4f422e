//! An index of a resource: the keys under which a record is found by the values of its fields. Pure.
//!
//! A key has three parts: a section, the encoded values of the columns, and the record's id.
//!
//! ```text
//! 1  one key for each record, by which records are also sorted
//! 2  a key for each item of an array, in an index of one column: a record is found by each of its items
//! 3  a key without values for each record with an array that section 2 does not have; it is looked at in each search
//! ```

// Decision: An index has a key for each item of an array.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::compare::Scalar;
use super::encoding::{encode, encode_whole, end_of_value, has_order};
use super::query::at;
use super::schema::FieldType;

/// The most items of an array that have keys of their own.
const ITEMS_MAX: usize = 64;
/// The end of the name of a column of moments. No field's name has a colon.
const MOMENTS: &str = ":datetime";

/// The part of an index that a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IndexSection {
    Sorted,
    Items,
    Whole,
}

/// A field that an index has the values of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexColumn {
    /// The names that lead to it: `author.name` is a member of an object.
    pub path: Vec<String>,
    /// Whether it is declared as a date and time.
    pub moments: bool,
}

/// An index as it is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordIndex {
    /// Its fields, the most important first.
    pub columns: Vec<IndexColumn>,
    /// Whether no two records may have the same values.
    pub unique: bool,
}

impl IndexColumn {
    /// The name of its field.
    pub(crate) fn field(&self) -> String {
        self.path.join(".")
    }

    fn scalar<'a>(&self, value: Option<&'a Value>) -> Scalar<'a> {
        Scalar::of(value, self.moments.then_some(&FieldType::DateTime))
    }
}

impl RecordIndex {
    /// A text that is the same for indexes with the same keys only.
    pub(crate) fn name(&self) -> String {
        let columns = self.columns.iter().map(|column| {
            let kind = if column.moments { MOMENTS } else { "" };
            format!("{}{kind}", column.field())
        });
        columns.collect::<Vec<_>>().join(",")
    }

    /// The index of a name.
    pub(crate) fn of_name(name: &str) -> Self {
        let columns = name.split(',').map(|column| {
            let field = column.strip_suffix(MOMENTS);
            IndexColumn {
                moments: field.is_some(),
                path: field
                    .unwrap_or(column)
                    .split('.')
                    .map(str::to_owned)
                    .collect(),
            }
        });
        Self {
            columns: columns.collect(),
            unique: false,
        }
    }

    /// The members of a record that have its values.
    pub(crate) fn members(&self) -> impl Iterator<Item = &String> {
        self.columns.iter().filter_map(|column| column.path.first())
    }

    /// The names of its fields, for people.
    pub(crate) fn fields(&self) -> String {
        let fields = self.columns.iter().map(IndexColumn::field);
        fields.collect::<Vec<_>>().join(", ")
    }

    /// The keys of a record with these members, without its id.
    pub(crate) fn entries(&self, members: &Map<String, Value>) -> BTreeSet<Vec<u8>> {
        let mut arrays = self.columns.iter().filter_map(|column| {
            let value = at(members, &column.path)?;
            value.as_array()
        });
        let array = arrays.next_back();
        let mut entries = BTreeSet::from([self.sorted_entry(members)]);
        match (array, self.columns.as_slice()) {
            (None, _) => {}
            (Some(items), [column]) if items.len() <= ITEMS_MAX => {
                entries.extend(items.iter().map(|item| {
                    let mut key = IndexSection::Items.start();
                    encode(&column.scalar(Some(item)), &mut key);
                    key
                }));
            }
            (Some(_), _) => drop(entries.insert(IndexSection::Whole.start())),
        }
        entries
    }

    /// The key by which a record is sorted, without its id.
    pub(crate) fn sorted_entry(&self, members: &Map<String, Value>) -> Vec<u8> {
        let mut sorted = IndexSection::Sorted.start();
        for value in self.values(members) {
            encode(&value, &mut sorted);
        }
        sorted
    }

    /// The bytes that no two records may have in common, if their values must be unique: other bytes for other values. `None`
    /// if one of the values is null or missing, or has no order: any number of records may have such ones.
    pub(crate) fn identity(&self, members: &Map<String, Value>) -> Option<Vec<u8>> {
        let mut identity = Vec::new();
        for value in self.values(members) {
            if matches!(value, Scalar::Unordered | Scalar::Null | Scalar::Missing) {
                return None;
            }
            encode_whole(&value, &mut identity);
        }
        Some(identity)
    }

    /// The same for all records with this key, without its id, as far as the key tells.
    pub(crate) fn identity_of_entry(entry: &[u8]) -> EntryIdentity {
        let mut rest = entry.strip_prefix(&[IndexSection::Sorted.byte()]);
        let mut any_is_cut = false;
        while let Some(bytes) = rest.filter(|rest| !rest.is_empty()) {
            match end_of_value(bytes) {
                Some((length, is_cut)) if has_order(bytes) => {
                    any_is_cut |= is_cut;
                    rest = bytes.get(length..);
                }
                Some(_) | None => return EntryIdentity::None,
            }
        }
        match rest {
            None => EntryIdentity::None,
            Some(_) if any_is_cut => EntryIdentity::OfRecord,
            Some(_) => EntryIdentity::OfEntry,
        }
    }

    fn values<'a>(&'a self, members: &'a Map<String, Value>) -> impl Iterator<Item = Scalar<'a>> {
        let columns = self.columns.iter();
        columns.map(|column| column.scalar(at(members, &column.path)))
    }

    /// The entry of a record that has the first `fixed` values of `beginning`, and these in the other columns; `None` if a text
    /// was cut.
    pub(crate) fn entry_at<'a>(
        fixed: usize,
        beginning: &[u8],
        others: impl Iterator<Item = &'a Scalar<'a>>,
    ) -> Option<Vec<u8>> {
        let whole = |bytes: &[u8]| match end_of_value(bytes) {
            Some((length, false)) => Some(length),
            Some((_, true)) | None => None,
        };
        let mut at = 0;
        for _ in 0..fixed {
            at += whole(beginning.get(at..)?)?;
        }
        let mut entry = IndexSection::Sorted.start();
        entry.extend_from_slice(beginning.get(..at)?);
        for value in others {
            let from = entry.len();
            encode(value, &mut entry);
            whole(entry.get(from..)?)?;
        }
        Some(entry)
    }

    /// Divides a key into its values, with the section, and the id. The part of the values that is in the order of the
    /// records ends earlier if a text was cut.
    pub(crate) fn split<'a>(&self, key: &'a [u8]) -> Option<IndexEntry<'a>> {
        let mut at = 1;
        let mut cut = None;
        let columns = if key.first() == Some(&IndexSection::Whole.byte()) {
            0
        } else {
            self.columns.len()
        };
        for _ in 0..columns {
            let (length, is_cut) = end_of_value(key.get(at..)?)?;
            at += length;
            if is_cut && cut.is_none() {
                cut = Some(at);
            }
        }
        Some(IndexEntry {
            group: key.get(..cut.unwrap_or(at))?,
            is_cut: cut.is_some(),
            id: key.get(at..)?,
        })
    }
}

/// The knowledge that a key gives of the [identity](RecordIndex::identity) of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryIdentity {
    /// It has none.
    None,
    /// All records with this key have the same, and no others.
    OfEntry,
    /// The record must be looked at: a text was cut.
    OfRecord,
}

/// The parts of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry<'a> {
    /// The beginning that orders the records of the index: those with the same one are ordered by id, or by the records
    /// themselves if `is_cut`.
    pub(crate) group: &'a [u8],
    pub(crate) is_cut: bool,
    /// The key of the record.
    pub(crate) id: &'a [u8],
}

impl IndexSection {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Sorted => 1,
            Self::Items => 2,
            Self::Whole => 3,
        }
    }

    /// The beginning of its keys.
    pub(crate) fn start(self) -> Vec<u8> {
        vec![self.byte()]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn index(fields: &[&str]) -> RecordIndex {
        let columns = fields.iter().map(|field| IndexColumn {
            path: field.split('.').map(str::to_owned).collect(),
            moments: field.ends_with("_at"),
        });
        RecordIndex {
            columns: columns.collect(),
            unique: false,
        }
    }

    fn sections(index: &RecordIndex, record: &Value) -> Vec<u8> {
        let entries = index.entries(record.as_object().unwrap());
        entries.iter().map(|entry| entry[0]).collect()
    }

    #[test]
    fn a_record_has_a_key_for_its_values_and_one_for_each_item_of_an_array() {
        let tags = index(&["tags"]);
        let compound = index(&["author.name", "tags"]);
        let many: Vec<_> = (0..=ITEMS_MAX).collect();
        for (record, of_tags, of_compound) in [
            (json!({}), vec![1], vec![1]),
            (
                json!({"tags": "x", "author": {"name": 1}}),
                vec![1],
                vec![1],
            ),
            (json!({"tags": ["x", "y", "x"]}), vec![1, 2, 2], vec![1, 3]),
            (json!({"tags": []}), vec![1], vec![1, 3]),
            (json!({"tags": many}), vec![1, 3], vec![1, 3]),
        ] {
            assert_eq!(sections(&tags, &record), of_tags, "{record}");
            assert_eq!(sections(&compound, &record), of_compound, "{record}");
        }
        assert_eq!(compound.name(), "author.name,tags");
        assert_eq!(index(&["seen_at"]).name(), "seen_at:datetime");
        for index in [compound, index(&["seen_at", "a.b"])] {
            assert_eq!(RecordIndex::of_name(&index.name()), index);
        }
    }

    #[test]
    fn only_values_that_are_there_must_be_unique() {
        use EntryIdentity::{None, OfEntry, OfRecord};
        let index = index(&["a", "b"]);
        let long = "z".repeat(300);
        for (record, of_entry) in [
            (json!({"a": 1, "b": "x"}), OfEntry),
            (json!({"a": 1, "b": null}), None),
            (json!({"a": 1}), None),
            (json!({"a": 1, "b": [1]}), None),
            (json!({"a": long, "b": "x"}), OfRecord),
            (json!({"a": long}), None),
        ] {
            let members = record.as_object().unwrap();
            let identity = index.identity(members);
            assert_eq!(identity.is_some(), of_entry != None, "{record}");
            let entry = index.sorted_entry(members);
            assert!(index.entries(members).contains(&entry));
            assert_eq!(RecordIndex::identity_of_entry(&entry), of_entry, "{record}");
            // A number has one identity, however it is written.
            let same = json!({"a": 1.0, "b": "x"});
            let is_same =
                identity.is_some() && identity == index.identity(same.as_object().unwrap());
            assert_eq!(is_same, of_entry == OfEntry, "{record}");
        }
        for section in [IndexSection::Items, IndexSection::Whole] {
            let entry = RecordIndex::identity_of_entry(&section.start());
            assert_eq!(entry, None);
        }
        // Long texts that begin in the same way have the same key and are not the same.
        let [one, other] = ["x", "y"].map(|end| json!({"a": 1, "b": format!("{long}{end}")}));
        let [one, other] = [&one, &other].map(|record| record.as_object().unwrap());
        assert_eq!(index.sorted_entry(one), index.sorted_entry(other));
        assert_ne!(index.identity(one), index.identity(other));
    }

    #[test]
    fn a_key_is_divided_into_values_and_id() {
        let index = index(&["a", "b"]);
        let long = "x".repeat(300);
        for (record, cut) in [
            (json!({"a": 1, "b": "x"}), false),
            (json!({"a": long, "b": "x"}), true),
            (json!({"a": "x", "b": long}), true),
            (json!({"a": [1]}), false),
        ] {
            for entry in index.entries(record.as_object().unwrap()) {
                let key = [entry.as_slice(), b"id-1"].concat();
                let split = index.split(&key).unwrap();
                assert_eq!(split.id, b"id-1");
                let is_sorted = entry[0] == 1;
                assert_eq!(split.is_cut, cut && is_sorted, "{record}");
                let whole = split.group.len() == entry.len();
                assert_eq!(whole, !cut || !is_sorted || record["a"] == "x", "{record}");
            }
        }
        assert_eq!(index.split(&[1, 0x20, 0]), None);
    }
}
