//! From names and values to conditions.

use serde_json::{Map, Value};

use super::condition::{FieldCondition, QueryCondition, Search, Test, TextPlace};
use super::described::{ParameterValue, QueryParameter, parameter};
use super::gathered::{Gathered, Sent, needle};
use super::names::Names;
use super::operator::Operator;
use super::{QueryError, Wrong};

/// The most conditions of a query, those in its groups included.
const CONDITIONS_MAX: usize = 200;
/// The most values that one field is compared with in one way.
const VALUES_MAX: usize = 1000;
/// The most texts that are looked for inside others in one query.
const NEEDLES_MAX: usize = 50;
/// The most levels of groups in a filter.
const GROUP_DEPTH_MAX: usize = 4;
/// The search for a text in all fields.
pub(super) const SEARCH: QueryParameter = parameter(
    "q",
    ParameterValue::Text,
    "A text that a record has in one of its strings, in any case",
);
/// The names of groups in a filter.
const GROUPS: [&str; 2] = ["or", "and"];

/// The conditions that must all hold, while they are read.
#[derive(Debug)]
pub(super) struct Filters<'a> {
    names: Names<'a>,
    /// The number of groups that these conditions are in.
    depth: usize,
    fields: Vec<Gathered<'a>>,
    others: Vec<QueryCondition>,
}

impl<'a> Filters<'a> {
    pub(super) fn new(names: Names<'a>) -> Self {
        Self::nested(names, 0)
    }

    fn nested(names: Names<'a>, depth: usize) -> Self {
        Self {
            names,
            depth,
            fields: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Reads a parameter.
    pub(super) fn add(&mut self, name: &str, value: &str) -> Result<(), QueryError> {
        self.gather(name, Sent::Text(value.to_owned()))
    }

    /// Reads a filter of the second dialect. `prefix` is the way to the object that has these members.
    pub(super) fn add_object(
        &mut self,
        prefix: &str,
        members: &Map<String, Value>,
    ) -> Result<(), QueryError> {
        for (name, value) in members {
            let name = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            if GROUPS.contains(&name.as_str()) && !self.names.declares(&name) {
                let Value::Array(groups) = value else {
                    return Err(QueryError::wrong(&name, value, Wrong::Groups));
                };
                self.add_groups(&name, groups)?;
                continue;
            }
            match value {
                Value::Object(members) => {
                    if self.is_search(&name) || !self.names.may_be_object(&name)? {
                        return Err(QueryError::wrong(&name, value, Wrong::Nested));
                    }
                    self.add_object(&name, members)?;
                }
                Value::Array(values) => {
                    if values.is_empty() {
                        self.gather_none(&name)?;
                    }
                    for value in values {
                        self.gather(&name, Sent::of(&name, value)?)?;
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    self.gather(&name, Sent::of(&name, value)?)?;
                }
            }
        }
        Ok(())
    }

    fn add_groups(&mut self, name: &str, groups: &[Value]) -> Result<(), QueryError> {
        if self.depth == GROUP_DEPTH_MAX {
            return Err(QueryError::Limit {
                told: "levels of groups in a filter",
                most: GROUP_DEPTH_MAX,
            });
        }
        let mut read = Vec::new();
        for group in groups {
            let Value::Object(members) = group else {
                return Err(QueryError::wrong(name, group, Wrong::Groups));
            };
            let mut filters = Filters::nested(self.names, self.depth + 1);
            filters.add_object("", members)?;
            read.push(filters.finish()?);
        }
        // A group without conditions holds for every record: then the whole condition says nothing.
        if name == "and" {
            self.others.extend(read.into_iter().flatten());
        } else if !read.iter().any(Vec::is_empty) {
            self.others.push(QueryCondition::AnyOf(read));
        }
        Ok(())
    }

    fn gather(&mut self, name: &str, value: Sent) -> Result<(), QueryError> {
        if self.is_search(name) {
            return self.search(value);
        }
        let Some((gathered, operator)) = self.field(name)? else {
            return Ok(());
        };
        match (operator, value) {
            (Operator::In, Sent::Text(list)) => {
                let values = list.split(',').map(|value| Sent::Text(value.to_owned()));
                gathered.values.extend(values);
            }
            (_, value) => gathered.values.push(value),
        }
        if gathered.values.len() > VALUES_MAX {
            return Err(QueryError::Limit {
                told: "values for one name",
                most: VALUES_MAX,
            });
        }
        Ok(())
    }

    /// A list without values: nothing is equal to one of them. As texts to look for, they are none.
    fn gather_none(&mut self, name: &str) -> Result<(), QueryError> {
        if self.is_search(name) {
            return Ok(());
        }
        self.field(name).map(drop)
    }

    fn is_search(&self, name: &str) -> bool {
        name == SEARCH.name && !self.names.declares(name)
    }

    /// The values that were gathered for a name, and its operator; `None` if the name is ignored.
    fn field(&mut self, name: &str) -> Result<Option<(&mut Gathered<'a>, Operator)>, QueryError> {
        let Some(((path, kind), operator)) = self.names.field(name)? else {
            return Ok(None);
        };
        let test = if operator == Operator::In {
            Operator::Equal
        } else {
            operator
        };
        let mut known = self.fields.iter();
        let known = known.position(|known| known.operator == test && known.path == path);
        let at = known.unwrap_or_else(|| {
            self.fields.push(Gathered {
                name: name.to_owned(),
                path,
                kind,
                operator: test,
                values: Vec::new(),
            });
            self.fields.len() - 1
        });
        let gathered = self.fields.get_mut(at);
        Ok(gathered.map(|gathered| (gathered, operator)))
    }

    fn search(&mut self, value: Sent) -> Result<(), QueryError> {
        let Sent::Text(text) = value else {
            return Ok(());
        };
        if !text.is_empty() {
            let search = Search {
                needle: needle(SEARCH.name, &text, TextPlace::Anywhere)?,
                texts_only: self.names.are_declared(),
            };
            self.others.push(QueryCondition::Search(search));
        }
        Ok(())
    }

    /// The conditions.
    pub(super) fn finish(self) -> Result<Vec<QueryCondition>, QueryError> {
        let mut conditions: Vec<QueryCondition> = Vec::new();
        for gathered in self.fields {
            let condition = gathered.condition()?;
            let merged = conditions.iter_mut().any(|known| known.narrow(&condition));
            if !merged {
                conditions.push(condition);
            }
        }
        conditions.extend(self.others);
        let limits = [
            ("conditions", CONDITIONS_MAX, count(&conditions, |_| 1)),
            (
                "texts to look for",
                NEEDLES_MAX,
                count(&conditions, needles),
            ),
        ];
        for (told, most, found) in limits {
            if found > most {
                return Err(QueryError::Limit { told, most });
            }
        }
        Ok(conditions)
    }
}

/// The sum of what each condition counts for, those in groups included.
fn count(conditions: &[QueryCondition], one: fn(&QueryCondition) -> usize) -> usize {
    let counts = conditions.iter().map(|condition| match condition {
        QueryCondition::AnyOf(groups) => {
            let groups = groups.iter().map(|group| count(group, one));
            one(condition) + groups.sum::<usize>()
        }
        QueryCondition::Field(_) | QueryCondition::Search(_) => one(condition),
    });
    counts.sum()
}

/// The texts that a condition looks for.
fn needles(condition: &QueryCondition) -> usize {
    match condition {
        QueryCondition::Search(_) => 1,
        QueryCondition::Field(FieldCondition {
            test: Test::Text(needles),
            ..
        }) => needles.len(),
        QueryCondition::Field(_) | QueryCondition::AnyOf(_) => 0,
    }
}
