//! From names and values to conditions.

use std::ops::Bound;

use serde_json::{Map, Value};

use super::condition::{
    FieldCondition, Needle, QueryCondition, Search, Test, TextPlace, ValueRange,
};
use super::names::Names;
use super::operand::Operand;
use super::operator::{Operator, Side};
use super::{QueryError, Wrong};
use crate::record::compare::ExactNumber;
use crate::record::schema::FieldType;

/// The most conditions of a query, those in its groups included.
const CONDITIONS_MAX: usize = 200;
/// The most values that one field is compared with in one way.
const VALUES_MAX: usize = 1000;
/// The longest text that is looked for inside other texts, in bytes.
const NEEDLE_BYTES_MAX: usize = 1024;
/// The most levels of groups in a filter.
const GROUP_DEPTH_MAX: usize = 4;
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

/// All values that one field is compared with in one way.
#[derive(Debug)]
struct Gathered<'a> {
    /// The name as it was sent.
    name: String,
    path: Vec<String>,
    kind: Option<&'a FieldType>,
    operator: Operator,
    values: Vec<Sent>,
}

/// A value as it was sent.
#[derive(Debug)]
enum Sent {
    Text(String),
    Null,
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
            match value {
                Value::Array(groups)
                    if GROUPS.contains(&name.as_str()) && !self.names.declares(&name) =>
                {
                    self.add_groups(&name, groups)?;
                }
                Value::Object(members) => self.add_object(&name, members)?,
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
        if name == "and" {
            self.others.extend(read.into_iter().flatten());
        } else {
            self.others.push(QueryCondition::AnyOf(read));
        }
        Ok(())
    }

    fn gather(&mut self, name: &str, value: Sent) -> Result<(), QueryError> {
        if name == "q" && !self.names.declares(name) {
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

    /// A list without values: nothing is equal to one of them.
    fn gather_none(&mut self, name: &str) -> Result<(), QueryError> {
        self.field(name).map(drop)
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
                needle: needle("q", &text, TextPlace::Anywhere)?,
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
        if count(&conditions) > CONDITIONS_MAX {
            return Err(QueryError::Limit {
                told: "conditions",
                most: CONDITIONS_MAX,
            });
        }
        Ok(conditions)
    }
}

fn count(conditions: &[QueryCondition]) -> usize {
    let counts = conditions.iter().map(|condition| match condition {
        QueryCondition::AnyOf(groups) => 1 + groups.iter().map(|group| count(group)).sum::<usize>(),
        QueryCondition::Field(_) | QueryCondition::Search(_) => 1,
    });
    counts.sum()
}

impl Sent {
    fn of(name: &str, value: &Value) -> Result<Self, QueryError> {
        match value {
            Value::Null => Ok(Self::Null),
            Value::String(text) => Ok(Self::Text(text.clone())),
            Value::Bool(value) => Ok(Self::Text(value.to_string())),
            Value::Number(number) => {
                let text = ExactNumber::of(number).map(|number| number.to_string());
                Ok(Self::Text(text.unwrap_or_else(|| number.to_string())))
            }
            Value::Array(_) | Value::Object(_) => {
                Err(QueryError::wrong(name, value, Wrong::Nested))
            }
        }
    }
}

impl Gathered<'_> {
    fn condition(self) -> Result<QueryCondition, QueryError> {
        let test = match self.operator {
            Operator::Equal | Operator::In | Operator::NotEqual => return self.equality(),
            Operator::Bounded(side) => return self.range(side),
            Operator::Like(place) => {
                if let Some(kind @ FieldType::Object(_)) = self.kind {
                    return Err(QueryError::of_object(&self.name, kind));
                }
                let mut needles = Vec::new();
                for text in self.texts()? {
                    needles.push(needle(&self.name, text, place)?);
                }
                Test::Text(needles)
            }
            Operator::Null => match self.texts()?.as_slice() {
                ["true"] => Test::Null(true),
                ["false"] => Test::Null(false),
                [wrong] => {
                    return Err(QueryError::wrong(&self.name, wrong, Wrong::Boolean));
                }
                _ => return Err(QueryError::Repeated { name: self.name }),
            },
        };
        Ok(self.with(test))
    }

    fn with(self, test: Test) -> QueryCondition {
        QueryCondition::Field(FieldCondition {
            path: self.path,
            kind: self.kind.cloned(),
            test,
        })
    }

    /// The values, none of which may be null.
    fn texts(&self) -> Result<Vec<&str>, QueryError> {
        let texts = self.values.iter().map(|value| match value {
            Sent::Text(text) => Ok(text.as_str()),
            Sent::Null => Err(QueryError::wrong(&self.name, "null", Wrong::NotNull)),
        });
        texts.collect()
    }

    /// Equal to one of the values or to none of them. Null is not compared: it is there, or it is not.
    fn equality(self) -> Result<QueryCondition, QueryError> {
        let not = self.operator == Operator::NotEqual;
        let null = self.values.iter().any(|value| matches!(value, Sent::Null));
        let texts = self.values.iter().filter_map(|value| match value {
            Sent::Text(text) => Some(text),
            Sent::Null => None,
        });
        let operands = texts.map(|text| self.operand(text, false));
        let operands: Vec<_> = operands.collect::<Result<_, _>>()?;
        let (path, kind) = (self.path, self.kind);
        let field = |test| {
            let (path, kind) = (path.clone(), kind.cloned());
            QueryCondition::Field(FieldCondition { path, kind, test })
        };
        Ok(match (not, null) {
            (false, false) => field(Test::OneOf(operands)),
            // What is null passes no other test.
            (true, true) if operands.is_empty() => field(Test::Null(false)),
            (true, _) => field(Test::NoneOf(operands)),
            (false, true) if operands.is_empty() => field(Test::Null(true)),
            (false, true) => {
                let either = [Test::OneOf(operands), Test::Null(true)];
                QueryCondition::AnyOf(either.map(|test| vec![field(test)]).to_vec())
            }
        })
    }

    /// Beyond at least one of the values.
    fn range(self, side: Side) -> Result<QueryCondition, QueryError> {
        let operands = self.texts()?.into_iter();
        let operands = operands.map(|text| self.operand(text, true));
        let operands: Vec<_> = operands.collect::<Result<_, _>>()?;
        let ranges = operands.into_iter().map(|operand| match side {
            Side::AtLeast => (Bound::Included(operand), Bound::Unbounded),
            Side::More => (Bound::Excluded(operand), Bound::Unbounded),
            Side::AtMost => (Bound::Unbounded, Bound::Included(operand)),
            Side::Less => (Bound::Unbounded, Bound::Excluded(operand)),
        });
        let (path, kind) = (self.path, self.kind);
        let mut ranges = ranges.map(|(lower, upper)| {
            let test = Test::Range(Box::new(ValueRange { lower, upper }));
            let (path, kind) = (path.clone(), kind.cloned());
            QueryCondition::Field(FieldCondition { path, kind, test })
        });
        Ok(match (ranges.next(), ranges.next()) {
            (Some(only), None) => only,
            (first, second) => {
                let ranges = first.into_iter().chain(second).chain(ranges);
                QueryCondition::AnyOf(ranges.map(|range| vec![range]).collect())
            }
        })
    }

    /// A value to compare with. A bound of whole numbers need not be one.
    fn operand(&self, text: &str, bound: bool) -> Result<Operand, QueryError> {
        let kind = match self.kind {
            Some(FieldType::Array { items, .. }) => items.as_deref(),
            kind => kind,
        };
        match (Operand::parse(text, kind), kind) {
            (Some(operand), Some(FieldType::Integer(_))) if !bound && !operand.is_whole() => {
                let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
                let wrong = if digits {
                    Wrong::Integer
                } else {
                    Wrong::Type("a whole number")
                };
                Err(QueryError::wrong(&self.name, text, wrong))
            }
            (Some(operand), _) => Ok(operand),
            (None, Some(kind @ FieldType::Object(_))) => {
                Err(QueryError::of_object(&self.name, kind))
            }
            (None, kind) => {
                let article = kind.map_or("something else", FieldType::article);
                Err(QueryError::wrong(&self.name, text, Wrong::Type(article)))
            }
        }
    }
}

fn needle(name: &str, text: &str, place: TextPlace) -> Result<Needle, QueryError> {
    let short = (text.len() <= NEEDLE_BYTES_MAX).then_some(text);
    let needle = short.and_then(|text| Needle::new(text, place));
    needle.ok_or_else(|| QueryError::TooLong {
        name: name.to_owned(),
        most: NEEDLE_BYTES_MAX,
    })
}

impl QueryCondition {
    /// Makes it hold only where `other` holds too, if both are bounds of one value: they become one range.
    fn narrow(&mut self, other: &Self) -> bool {
        let (Self::Field(field), Self::Field(other)) = (self, other) else {
            return false;
        };
        // Different items of an array may be within each of two bounds.
        let one_value = matches!(
            field.kind,
            Some(
                FieldType::String { .. }
                    | FieldType::Integer(_)
                    | FieldType::Number(_)
                    | FieldType::Boolean
                    | FieldType::DateTime
            )
        );
        if !one_value || field.path != other.path {
            return false;
        }
        let (Test::Range(range), Test::Range(other)) = (&mut field.test, &other.test) else {
            return false;
        };
        match (
            &mut range.lower,
            &mut range.upper,
            &other.lower,
            &other.upper,
        ) {
            (_, upper @ Bound::Unbounded, Bound::Unbounded, other) => upper.clone_from(other),
            (lower @ Bound::Unbounded, _, other, Bound::Unbounded) => lower.clone_from(other),
            _ => return false,
        }
        true
    }
}
