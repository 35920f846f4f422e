//! The bounds of what one patch may do: a short one could otherwise make a record as large as memory.

use serde_json::Value;

use super::super::json::DEPTH_MAX;
use super::pointer::RecordPointer;

/// The most steps of one patch: values that are added, copied or moved, with all that is in them, and the items or members
/// that change their places when another is inserted or removed.
const STEPS_MAX: usize = 2_000_000;

/// The rest of what a patch may do.
#[derive(Debug)]
pub(super) struct PatchBudget {
    bytes_max: usize,
    /// The bytes that it may copy yet.
    bytes: usize,
    steps: usize,
}

impl PatchBudget {
    /// The budget of a patch that may copy so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: bytes_max,
            steps: STEPS_MAX,
        }
    }

    /// Takes a value that is put at a place.
    pub(super) fn put(&mut self, value: &Value, path: &RecordPointer) -> Result<(), String> {
        self.take(&PatchExtent::of(value), path)
    }

    /// Takes a value that is copied to a place. To be asked before it is cloned.
    pub(super) fn copy(&mut self, value: &Value, path: &RecordPointer) -> Result<(), String> {
        let extent = PatchExtent::of(value);
        let left = self.bytes.checked_sub(extent.bytes);
        let bytes_max = self.bytes_max;
        self.bytes = left.ok_or_else(|| {
            format!("what the patch copies would have more than {bytes_max} bytes; copy less")
        })?;
        self.take(&extent, path)
    }

    fn take(&mut self, extent: &PatchExtent, path: &RecordPointer) -> Result<(), String> {
        if path.0.len().saturating_add(extent.depth) > DEPTH_MAX {
            let name = path.beginning();
            return Err(format!(
                "{name} would be nested deeper than {DEPTH_MAX} levels; put the value higher"
            ));
        }
        self.shift(extent.values)
    }

    /// Takes the items or members that change their places.
    pub(super) fn shift(&mut self, moved: usize) -> Result<(), String> {
        let left = self.steps.checked_sub(moved);
        self.steps = left.ok_or_else(|| {
            format!(
                "the patch would move more than {STEPS_MAX} values; replace the whole array or object, or send several patches"
            )
        })?;
        Ok(())
    }
}

/// The size of a value.
#[derive(Debug, Default, PartialEq, Eq)]
struct PatchExtent {
    /// The values in it, and itself.
    values: usize,
    /// Its text has at least so many bytes.
    bytes: usize,
    /// Its levels of arrays and objects.
    depth: usize,
}

/// The shortest value in a text, with the comma after it.
const VALUE_BYTES: usize = 2;
/// The quotation marks and the colon of a member.
const NAME_BYTES: usize = 3;

impl PatchExtent {
    fn of(value: &Value) -> Self {
        let mut extent = Self {
            values: 1,
            bytes: VALUE_BYTES,
            depth: 0,
        };
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => extent.bytes = extent.bytes.saturating_add(text.len()),
            Value::Array(items) => {
                extent.depth = 1;
                for item in items {
                    extent.add(item, 0);
                }
            }
            Value::Object(members) => {
                extent.depth = 1;
                for (name, value) in members {
                    extent.add(value, name.len() + NAME_BYTES);
                }
            }
        }
        extent
    }

    /// Adds what is in it.
    fn add(&mut self, inner: &Value, name_bytes: usize) {
        let inner = Self::of(inner);
        self.values = self.values.saturating_add(inner.values);
        let bytes = inner.bytes.saturating_add(name_bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        self.depth = self.depth.max(inner.depth.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_measured_with_all_that_is_in_it() {
        for (value, values, bytes, depth) in [
            (json!(null), 1, 2, 0),
            (json!("abc"), 1, 5, 0),
            (json!([]), 1, 2, 1),
            (json!([1, [2]]), 4, 8, 2),
            (json!({"ab": {}, "c": [[]]}), 4, 17, 3),
        ] {
            let expected = PatchExtent {
                values,
                bytes,
                depth,
            };
            assert_eq!(PatchExtent::of(&value), expected, "{value}");
        }
    }
}
