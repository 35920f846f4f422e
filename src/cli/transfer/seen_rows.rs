//! The rows that a dry run has seen: their ids, and their values that must be unique.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use serde::Deserialize;

use super::sending::RowParcel;
use crate::admin::{ParcelDone, RefusedLine};
use crate::num::as_u64;
use crate::record::{JsonObject, RecordIndex};

/// The rows that a dry run could import, so that it notices duplicates in a file. Each id takes 16 bytes, however long it is,
/// and each value that must be unique 24.
pub(super) struct SeenRows {
    ids: HashSet<Hash>,
    /// From values that must be unique to the record that has them.
    values: HashMap<Hash, u64>,
    states: (RandomState, RandomState),
    /// The indexes of each resource whose values must be unique.
    unique: BTreeMap<String, Vec<RecordIndex>>,
    rows: u64,
}

type Hash = (u64, u64);

impl SeenRows {
    /// None yet; `unique` has the names of the unique indexes of each resource.
    pub(super) fn new(unique: &BTreeMap<String, Vec<String>>) -> Self {
        let unique = unique.iter().map(|(name, names)| {
            let indexes = names.iter().map(|name| RecordIndex::of_name(name));
            (name.clone(), indexes.collect())
        });
        Self {
            ids: HashSet::new(),
            values: HashMap::new(),
            states: Default::default(),
            unique: unique.collect(),
            rows: 0,
        }
    }

    /// Corrects an answer to a dry run, which knows nothing of the rows of earlier parcels.
    pub(super) fn rehearse(&mut self, parcel: &RowParcel, done: &mut ParcelDone, upsert: bool) {
        let before = done.refused.len();
        done.refused.retain(|line| !self.has_all(&line.lacks));
        done.created += as_u64(before - done.refused.len());
        let refused: HashSet<_> = done.refused.iter().map(|line| line.at).collect();
        let existing: HashSet<_> = done.replaced_at.drain(..).collect();
        let lines = parcel.body.split(|byte| *byte == b'\n').enumerate();
        for (at, line) in lines.filter(|(at, line)| !line.is_empty() && !refused.contains(at)) {
            self.rows += 1;
            let id = id_of(line);
            let replaces = existing.contains(&at);
            let is_new = replaces
                || id.as_ref().is_none_or(|id| {
                    let hash = self.hash((&parcel.resource, id));
                    self.ids.insert(hash)
                });
            let fault = if let (false, false, Some(id)) = (is_new, upsert, &id) {
                Some(format!("a record with the id {id} exists already"))
            } else {
                self.repeated(&parcel.resource, id.as_deref(), line)
            };
            let counted = if replaces {
                &mut done.replaced
            } else {
                &mut done.created
            };
            if let Some(fault) = fault {
                *counted = counted.saturating_sub(1);
                let faults = vec![fault];
                let lacks = Vec::new();
                done.refused.push(RefusedLine { at, faults, lacks });
            } else if !is_new {
                *counted = counted.saturating_sub(1);
                done.replaced += 1;
            }
        }
    }

    /// The fault of a row that has values of an earlier one that must be unique.
    fn repeated(&mut self, resource: &str, id: Option<&str>, line: &[u8]) -> Option<String> {
        let unique = self.unique.get(resource)?;
        let object = JsonObject::parse(line).ok()?;
        let (rows, (state, _)) = (self.rows, &self.states);
        let record = id.map_or_else(|| state.hash_one(rows), |id| state.hash_one(id));
        let mut new = Vec::new();
        for index in unique {
            let Some(identity) = index.identity(object.members()) else {
                continue;
            };
            let hash = self.hash((resource, index.name(), identity));
            match self.values.get(&hash) {
                Some(other) if *other != record => {
                    let fields = index.fields();
                    return Some(format!(
                        "{fields}: a line before it has the same value, which must be unique"
                    ));
                }
                Some(_) => {}
                None => new.push(hash),
            }
        }
        self.values
            .extend(new.into_iter().map(|hash| (hash, record)));
        None
    }

    /// Whether a row refers to some records, and rows before it have brought all of them.
    fn has_all(&self, lacks: &[(String, String)]) -> bool {
        let is_in = |(to, id): &(String, String)| self.ids.contains(&self.hash((to, id)));
        !lacks.is_empty() && lacks.iter().all(is_in)
    }

    fn hash(&self, of: impl std::hash::Hash) -> Hash {
        let (one, other) = &self.states;
        (one.hash_one(&of), other.hash_one(&of))
    }
}

/// The id of a record, if it has one.
pub(super) fn id_of(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Identified {
        id: serde_json::Value,
    }
    let record: Identified = serde_json::from_slice(json).ok()?;
    let text = record.id.as_str().map(str::to_owned);
    Some(text.unwrap_or_else(|| record.id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(body: &str) -> RowParcel {
        RowParcel {
            resource: "books".to_owned(),
            body: body.as_bytes().to_vec(),
            ..RowParcel::default()
        }
    }

    fn answer(created: u64, replaced: u64, replaced_at: &[usize]) -> ParcelDone {
        ParcelDone {
            created,
            replaced,
            replaced_at: replaced_at.to_vec(),
            ..ParcelDone::default()
        }
    }

    #[test]
    fn a_dry_run_notices_an_id_that_was_there_in_an_earlier_parcel() {
        let mut seen = SeenRows::new(&BTreeMap::new());
        let mut first = answer(3, 0, &[]);
        seen.rehearse(
            &parcel("{\"id\":7}\n{}\n{\"id\":\"a\"}\n"),
            &mut first,
            false,
        );
        assert_eq!(first, answer(3, 0, &[]));
        // The second is in the store, and each that comes after it replaces it.
        let body = "{\"x\":1,\"id\":\"7\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n";
        let mut second = answer(2, 1, &[1]);
        seen.rehearse(&parcel(body), &mut second, true);
        assert_eq!(second, answer(1, 2, &[]));
        let mut third = answer(1, 0, &[]);
        seen.rehearse(&parcel("\n{\"id\":\"c\"}"), &mut third, false);
        let faults = vec!["a record with the id c exists already".to_owned()];
        assert_eq!(third.created, 0);
        let lacks = Vec::new();
        assert_eq!(
            third.refused,
            [RefusedLine {
                at: 1,
                faults,
                lacks
            }]
        );
    }

    #[test]
    fn a_row_may_refer_to_records_of_earlier_parcels() {
        let mut seen = SeenRows::new(&BTreeMap::new());
        seen.rehearse(&parcel("{\"id\":7}\n"), &mut answer(1, 0, &[]), false);
        let refused = |at, ids: &[&str]| RefusedLine {
            at,
            faults: vec!["a record is missing".to_owned()],
            lacks: ids
                .iter()
                .map(|id| ("books".to_owned(), (*id).to_owned()))
                .collect(),
        };
        let mut done = ParcelDone {
            refused: vec![refused(0, &["7"]), refused(1, &["7", "8"]), refused(2, &[])],
            ..ParcelDone::default()
        };
        seen.rehearse(&parcel("{\"id\":1}\n{\"id\":2}\n{}\n"), &mut done, false);
        assert_eq!(done.created, 1);
        assert_eq!(done.refused, [refused(1, &["7", "8"]), refused(2, &[])]);
    }

    #[test]
    fn a_dry_run_notices_values_that_must_be_unique_and_stand_twice() {
        let unique = BTreeMap::from([("books".to_owned(), vec!["isbn".to_owned()])]);
        for upsert in [false, true] {
            let mut seen = SeenRows::new(&unique);
            let mut first = answer(4, 0, &[]);
            let body = "{\"isbn\":1}\n{\"isbn\":null}\n{\"isbn\":1.0}\n{\"isbn\":[1]}";
            seen.rehearse(&parcel(body), &mut first, upsert);
            let at: Vec<_> = first.refused.iter().map(|line| line.at).collect();
            assert_eq!((first.created, at), (3, vec![2]));
            let text = &first.refused[0].faults[0];
            assert!(text.starts_with("isbn: a line before it"), "{text}");
            // In a later parcel, and of a record that is there already.
            let mut second = answer(1, 1, &[1]);
            let body = "{\"id\":\"a\",\"isbn\":2}\n{\"id\":\"b\",\"isbn\":1}\n";
            seen.rehearse(&parcel(body), &mut second, upsert);
            let at: Vec<_> = second.refused.iter().map(|line| line.at).collect();
            assert_eq!((second.created, second.replaced, at), (1, 0, vec![1]));
        }
        // A record that replaces itself keeps its values.
        let mut seen = SeenRows::new(&unique);
        let mut done = answer(2, 0, &[]);
        let body = "{\"id\":\"a\",\"isbn\":2}\n{\"id\":\"a\",\"isbn\":2}\n";
        seen.rehearse(&parcel(body), &mut done, true);
        assert_eq!(done, answer(1, 1, &[]));
    }
}
