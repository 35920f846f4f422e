//! The map that the store is compared with, and how it carries out the same commands.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Asked, Change, Condition};
use crate::record::{Absent, CommandError, Conditions, Record, RecordId, Revision, Tags};
use crate::storage::{StoreError, Written};

/// The model: the expected content of the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    pub(super) records: BTreeMap<RecordId, (u64, Value)>,
    seq: u64,
    given: u64,
}

/// The part of the answer to a write that is compared: what it did, and to which records.
pub(super) type Outcome = Result<(&'static str, Vec<Shown>), CommandError>;
/// Id, revision, members.
pub(super) type Shown = (RecordId, u64, Value);

pub(super) fn outcome(done: Result<Written, StoreError>) -> Outcome {
    match done {
        Ok(Written::Created(record)) => Ok(("created", vec![shown(&record)])),
        Ok(Written::Replaced(record)) => Ok(("replaced", vec![shown(&record)])),
        Ok(Written::Deleted(record)) => Ok(("deleted", vec![shown(&record)])),
        Ok(Written::DeletedMatching(records) | Written::PatchedMatching(records)) => {
            Ok(("deleted", records.iter().map(shown).collect()))
        }
        Err(StoreError::Refused(refusal)) => Err(refusal),
        Err(other) => panic!("{other}"),
    }
}

pub(super) fn shown(record: &Record) -> Shown {
    let mut json: Value = serde_json::from_slice(&record.json).unwrap();
    let id = json.as_object_mut().unwrap().shift_remove("id");
    let named = match &record.id {
        RecordId::Number(number) => Value::from(*number),
        RecordId::Text(text) => Value::from(&**text),
    };
    assert_eq!(id, Some(named));
    (record.id.clone(), record.revision.0, json)
}

impl Expected {
    fn revision(&self, id: &RecordId) -> Option<Revision> {
        self.records
            .get(id)
            .map(|(revision, _)| Revision(*revision))
    }

    pub(super) fn conditions(&self, change: &Change, condition: Condition) -> Conditions {
        let current = change.id().and_then(|id| self.revision(id));
        let tags = |right: bool| {
            let known = if right { current } else { Some(Revision(0)) };
            Some(Tags::OneOf(known.into_iter().collect()))
        };
        let (if_match, if_none_match) = match condition {
            // An example is its own condition.
            _ if matches!(change, Change::DeleteMatching(_)) => (None, None),
            Condition::None => (None, None),
            Condition::Match(right) => (tags(right), None),
            Condition::MatchAny => (Some(Tags::Any), None),
            Condition::NoneMatch(right) => (None, tags(right)),
            Condition::NoneMatchAny => (None, Some(Tags::Any)),
        };
        Conditions {
            if_match,
            if_none_match,
            owner: None,
        }
    }

    /// Carries out a change. A deletion by example is limited to the ids that were `listed` before it was sent.
    pub(super) fn apply(
        &mut self,
        change: &Change,
        conditions: &Conditions,
        listed: &[RecordId],
    ) -> Outcome {
        if let Change::DeleteMatching(example) = change {
            return Ok(("deleted", self.remove_matching(example, listed)));
        }
        let id = match change.id() {
            Some(id) => id.clone(),
            None => RecordId::Number(self.next()),
        };
        let current = self.revision(&id);
        let named = |tags: &Tags| match (tags, current) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::OneOf(all), Some(current)) => all.contains(&current),
        };
        if conditions
            .if_match
            .as_ref()
            .is_some_and(|tags| !named(tags))
            || conditions.if_none_match.as_ref().is_some_and(named)
        {
            return Err(CommandError::Precondition { current });
        }
        let before = self.records.get(&id).map(|(_, members)| members.clone());
        let after = match (change, before) {
            (Change::Create(..) | Change::CreateNext(_), Some(_)) => {
                return Err(CommandError::Duplicate { id });
            }
            (
                Change::Replace(_, _, Absent::Refuse)
                | Change::Merge(_, _, Absent::Refuse)
                | Change::Delete(_),
                None,
            ) => return Err(CommandError::Absent),
            (
                Change::Create(_, object)
                | Change::CreateNext(object)
                | Change::Replace(_, object, _),
                _,
            ) => object.clone(),
            (Change::Merge(_, patch, _), before) => merged(before.unwrap_or(Value::Null), patch),
            (Change::Delete(_), Some(_)) => return Ok(("deleted", vec![self.remove(&id)])),
            (Change::DeleteMatching(_), _) => panic!("is not about one record"),
        };
        if let (RecordId::Number(number), None) = (&id, current) {
            self.given = self.given.max(*number);
        }
        self.seq += 1;
        self.records.insert(id.clone(), (self.seq, after.clone()));
        let what = if current.is_some() {
            "replaced"
        } else {
            "created"
        };
        Ok((what, vec![(id, self.seq, after)]))
    }

    /// The first number after the largest one given that is no record's id.
    fn next(&self) -> u64 {
        let mut number = self.given + 1;
        while self.records.contains_key(&RecordId::Number(number)) {
            number += 1;
        }
        number
    }

    fn remove(&mut self, id: &RecordId) -> Shown {
        self.seq += 1;
        let (revision, members) = self.records.remove(id).unwrap();
        (id.clone(), revision, members)
    }

    fn remove_matching(&mut self, example: &Value, listed: &[RecordId]) -> Vec<Shown> {
        let like = |id: &RecordId, members: &Value| {
            let mut wanted = example.as_object().unwrap().iter();
            listed.contains(id) && wanted.all(|(name, value)| members.get(name) == Some(value))
        };
        let alike = self
            .records
            .iter()
            .filter(|(id, (_, members))| like(id, members));
        let alike: Vec<_> = alike.map(|(id, _)| id.clone()).collect();
        alike.iter().map(|id| self.remove(id)).collect()
    }

    /// The page, and how many match.
    pub(super) fn list(&self, asked: &Asked) -> (Vec<Shown>, usize) {
        let word = |members: &Value, name: &str, wanted: &dyn Fn(&Value) -> bool| match members
            .get(name)
        {
            Some(Value::Array(items)) => items.iter().any(wanted),
            Some(value) => wanted(value),
            None => false,
        };
        let matches = |id: &RecordId, members: &Value| {
            let number = |value: &Value| asked.numbers.iter().any(|n| *value == json!(n));
            let text = |value: &Value| asked.text.is_none_or(|text| *value == json!(text));
            (asked.ids.is_empty() || asked.ids.contains(id))
                && (asked.numbers.is_empty() || word(members, "n", &number))
                && (asked.text.is_none() || word(members, "t", &text))
        };
        let all = self.records.iter();
        let mut found: Vec<Shown> = all
            .filter(|(id, (_, members))| matches(id, members))
            .map(|(id, (revision, members))| (id.clone(), *revision, members.clone()))
            .collect();
        if let Some(descending) = asked.descending {
            // A record without `n` comes last.
            let key = |shown: &Shown| shown.2.get("n").and_then(Value::as_u64).unwrap_or(u64::MAX);
            found.sort_by(|a, b| {
                if descending {
                    key(b).cmp(&key(a))
                } else {
                    key(a).cmp(&key(b))
                }
            });
        }
        let total = found.len();
        let page = found.into_iter().skip(asked.start).take(asked.limit);
        (page.collect(), total)
    }
}

/// RFC 7396 section 2, as it is written there.
fn merged(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut target = match target {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    for (name, value) in patch {
        let old = target.shift_remove(name).unwrap_or(Value::Null);
        if !value.is_null() {
            target.insert(name.clone(), merged(old, value));
        }
    }
    Value::Object(target)
}
