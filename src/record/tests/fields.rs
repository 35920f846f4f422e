//! Fields for the tests of schemas and queries.

use crate::record::{Field, FieldType};

/// An optional field without a default.
pub(in crate::record) fn field(name: &str, kind: FieldType) -> Field {
    Field {
        name: name.to_owned(),
        kind,
        required: false,
        default: None,
    }
}

/// A string without rules.
pub(in crate::record) fn text() -> FieldType {
    FieldType::String {
        min_length: None,
        max_length: None,
        pattern: None,
    }
}
