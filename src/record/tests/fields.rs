//! Fields for the tests of schemas and queries.

use crate::record::{Bounds, Field, FieldType};

/// An optional field without a default.
pub(in crate::record) fn field(name: &str, kind: FieldType) -> Field {
    Field::new(name, kind)
}

/// A string without rules.
pub(in crate::record) fn text() -> FieldType {
    FieldType::String {
        length: Bounds::default(),
        pattern: None,
    }
}

pub(in crate::record) fn bounds<T>(min: Option<T>, max: Option<T>) -> Bounds<T> {
    Bounds { min, max }
}
