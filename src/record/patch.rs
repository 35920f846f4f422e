//! Patches of a record: merge patches (RFC 7396), and lists of operations (JSON Patch, RFC 6902) with one operation more, which
//! adds to a number.

// Decision: Patches by operations are our own.

mod budget;
mod pointer;
#[cfg(test)]
mod tests;

use serde_json::{Map, Number, Value};

use super::compare::same;
use super::json;
use super::object::{BodyError, JsonObject, article};
use budget::PatchBudget;
use pointer::RecordPointer;

/// The most operations in one patch.
const OPERATIONS_MAX: usize = 1000;
/// From here on, `f64` leaves whole numbers out: 2^53.
const EXACT_MAX: i128 = 1 << 53;

/// A patch of a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RecordPatch {
    /// The members that it names (RFC 7396).
    Merge(JsonObject),
    /// Operations, one after the other (RFC 6902).
    Operations(Vec<PatchOperation>),
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PatchOperation {
    path: RecordPointer,
    kind: OperationKind,
}

#[derive(Debug, Clone, PartialEq)]
enum OperationKind {
    Add(Value),
    Remove,
    Replace(Value),
    Move(RecordPointer),
    Copy(RecordPointer),
    Test(Value),
    /// Adds to a number. No operation of RFC 6902.
    Increment(Number),
}

/// The reason why a patch is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatchFault {
    /// It is no list of operations.
    #[error("operation {at} is not right: {why}")]
    Form {
        /// Counted from 0.
        at: usize,
        why: String,
    },
    #[error("a patch must be an array of operations, this is {found}")]
    NotAnArray { found: &'static str },
    #[error("a patch may have {OPERATIONS_MAX} operations")]
    TooMany,
    /// The record has no such value.
    #[error("operation {at} can't be done: {why}")]
    Misfit { at: usize, why: String },
    #[error("operation {at}, a test, found another value")]
    Test { at: usize },
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl RecordPatch {
    /// Reads a list of operations.
    pub(crate) fn operations(body: &[u8]) -> Result<Self, PatchFault> {
        let parsed = json::read(body)?;
        let found = article(&parsed);
        let Value::Array(list) = parsed else {
            return Err(PatchFault::NotAnArray { found });
        };
        if list.len() > OPERATIONS_MAX {
            return Err(PatchFault::TooMany);
        }
        let operations = list.into_iter().enumerate().map(|(at, operation)| {
            PatchOperation::read(operation).map_err(|why| PatchFault::Form { at, why })
        });
        Ok(Self::Operations(operations.collect::<Result<_, _>>()?))
    }

    /// Applies it. What it copies may have `bytes_max` bytes. After an error the object may be changed in part.
    pub(crate) fn apply(
        &self,
        object: &mut JsonObject,
        bytes_max: usize,
    ) -> Result<(), PatchFault> {
        let operations = match self {
            Self::Merge(patch) => {
                object.merge(patch);
                return Ok(());
            }
            Self::Operations(operations) => operations,
        };
        let mut whole = Value::Object(std::mem::take(object.members_mut()));
        let mut budget = PatchBudget::new(bytes_max);
        for (at, operation) in operations.iter().enumerate() {
            operation
                .apply(&mut whole, &mut budget)
                .map_err(|why| match why {
                    Some(why) => PatchFault::Misfit { at, why },
                    None => PatchFault::Test { at },
                })?;
        }
        let found = article(&whole);
        let Value::Object(members) = whole else {
            return Err(BodyError::NotAnObject { found }.into());
        };
        *object.members_mut() = members;
        Ok(())
    }
}

impl PatchOperation {
    fn read(operation: Value) -> Result<Self, String> {
        let Value::Object(mut members) = operation else {
            return Err("it must be an object".to_owned());
        };
        let pointer = |members: &Map<String, Value>, name: &str| {
            let text = members.get(name).and_then(Value::as_str);
            let text = text.ok_or_else(|| format!("it needs \"{name}\", a text such as /title"))?;
            RecordPointer::parse(text)
        };
        let path = pointer(&members, "path")?;
        let op = members.get("op").and_then(Value::as_str);
        let op = op.unwrap_or_default().to_owned();
        let mut value = || {
            let value = members.shift_remove("value");
            value.ok_or_else(|| "it needs \"value\"".to_owned())
        };
        let kind = match &*op {
            "add" => OperationKind::Add(value()?),
            "replace" => OperationKind::Replace(value()?),
            "test" => OperationKind::Test(value()?),
            "increment" => {
                let Value::Number(by) = value()? else {
                    return Err("\"value\" must be a number".to_owned());
                };
                OperationKind::Increment(by)
            }
            "remove" => OperationKind::Remove,
            "move" => {
                let from = pointer(&members, "from")?;
                if path.0.len() > from.0.len() && path.0.starts_with(&from.0) {
                    return Err("a value can't be moved into itself".to_owned());
                }
                OperationKind::Move(from)
            }
            "copy" => OperationKind::Copy(pointer(&members, "from")?),
            _ => {
                let known = "add, remove, replace, move, copy, test or increment";
                return Err(format!("\"op\" must be {known}"));
            }
        };
        Ok(Self { path, kind })
    }

    /// Applies it, or says why not; `None` for a test that found another value.
    fn apply(&self, whole: &mut Value, budget: &mut PatchBudget) -> Result<(), Option<String>> {
        let path = &self.path;
        match &self.kind {
            OperationKind::Add(value) => {
                budget.put(value, path)?;
                path.add(whole, value.clone(), budget)?;
            }
            OperationKind::Remove => drop(path.remove(whole, budget)?),
            OperationKind::Replace(value) => {
                budget.put(value, path)?;
                *path.find_mut(whole)? = value.clone();
            }
            OperationKind::Move(from) => {
                let value = from.remove(whole, budget)?;
                budget.put(&value, path)?;
                path.add(whole, value, budget)?;
            }
            OperationKind::Copy(from) => {
                let value = from.find_mut(whole)?;
                budget.copy(value, path)?;
                let value = value.clone();
                path.add(whole, value, budget)?;
            }
            OperationKind::Test(value) => {
                if !same(path.find_mut(whole)?, value) {
                    return Err(None);
                }
            }
            OperationKind::Increment(by) => {
                let found = path.find_mut(whole)?;
                let Value::Number(number) = found else {
                    let why = format!("{path} is {}, not a number", article(found));
                    return Err(Some(why));
                };
                *number = sum(number, by).ok_or_else(|| {
                    format!("the sum of {number} and {by} is no number that can be kept")
                })?;
            }
        }
        Ok(())
    }
}

/// The exact sum of two whole numbers, or that of two `f64`; `None` if it can't be kept.
fn sum(one: &Number, other: &Number) -> Option<Number> {
    let sum = match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => return Number::from_i128(one.checked_add(other)?),
        // A whole number that `f64` does not have would be changed before it is added.
        (Some(whole), None) | (None, Some(whole)) if whole.abs() > EXACT_MAX => return None,
        _ => one.as_f64()? + other.as_f64()?,
    };
    Number::from_f64(sum)
}
