//! Names of values in a record, and what is done there.

use serde_json::Value;

use super::budget::PatchBudget;

/// The most characters of a pointer in an error.
const SHOWN_MAX: usize = 100;

/// The names on the way to a value (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordPointer(pub(super) Vec<String>);

impl RecordPointer {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a pointer such as /tags/0 (RFC 6901)");
        let Some(rest) = text.strip_prefix('/') else {
            return if text.is_empty() {
                Ok(Self(Vec::new()))
            } else {
                Err(wrong())
            };
        };
        let names = rest.split('/').map(|name| {
            let plain = name.replace("~1", "").replace("~0", "");
            if plain.contains('~') {
                return Err(wrong());
            }
            Ok(name.replace("~1", "/").replace("~0", "~"))
        });
        Ok(Self(names.collect::<Result<_, _>>()?))
    }

    fn absent(&self) -> String {
        if self.0.is_empty() {
            return "the record itself can't be removed".to_owned();
        }
        format!("there is no {self}")
    }

    pub(super) fn find_mut<'a>(&self, whole: &'a mut Value) -> Result<&'a mut Value, String> {
        let mut names = self.0.iter();
        let found = names.try_fold(whole, |value, name| match value {
            Value::Object(members) => members.get_mut(name),
            Value::Array(items) => items.get_mut(index(name)?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        });
        found.ok_or_else(|| self.absent())
    }

    /// The value that holds the one of this pointer, and the name of that in it.
    fn holder<'a>(&self, whole: &'a mut Value) -> Result<Option<(&'a mut Value, &str)>, String> {
        let Some((last, above)) = self.0.split_last() else {
            return Ok(None);
        };
        let holder = Self(above.to_vec()).find_mut(whole)?;
        Ok(Some((holder, last)))
    }

    /// Its beginning, for people.
    pub(super) fn beginning(&self) -> String {
        self.to_string().chars().take(SHOWN_MAX).collect()
    }

    pub(super) fn add(
        &self,
        whole: &mut Value,
        value: Value,
        budget: &mut PatchBudget,
    ) -> Result<(), String> {
        match self.holder(whole)? {
            None => *whole = value,
            Some((Value::Object(members), name)) => drop(members.insert(name.to_owned(), value)),
            Some((Value::Array(items), "-")) => items.push(value),
            Some((Value::Array(items), name)) => match index(name) {
                Some(at) if at <= items.len() => {
                    budget.shift(items.len() - at)?;
                    items.insert(at, value);
                }
                _ => return Err(format!("there is no place {self}")),
            },
            Some(_) => return Err(format!("there is no place {self}")),
        }
        Ok(())
    }

    pub(super) fn remove(
        &self,
        whole: &mut Value,
        budget: &mut PatchBudget,
    ) -> Result<Value, String> {
        let removed = match self.holder(whole)? {
            Some((Value::Object(members), name)) => {
                budget.shift(members.len())?;
                members.shift_remove(name)
            }
            Some((Value::Array(items), name)) => match index(name).filter(|at| *at < items.len()) {
                Some(at) => {
                    budget.shift(items.len() - at)?;
                    Some(items.remove(at))
                }
                None => None,
            },
            Some(_) | None => None,
        };
        removed.ok_or_else(|| self.absent())
    }
}

impl std::fmt::Display for RecordPointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut names = self.0.iter();
        names.try_for_each(|name| write!(f, "/{}", name.replace('~', "~0").replace('/', "~1")))
    }
}

/// The index of an item, as it is written: without zeros before it.
fn index(name: &str) -> Option<usize> {
    let at: usize = name.parse().ok()?;
    (at.to_string() == name).then_some(at)
}
