//! Makes a query of an example record.

use super::gathered::{Gathered, Sent};
use super::names::Names;
use super::operator::Operator;
use super::{Handling, ListQuery};
use crate::record::object::JsonObject;
use crate::record::schema::Schema;

/// The most members of an example that become conditions; the others are compared with each record that matches.
const MEMBERS_MAX: usize = 20;

impl ListQuery {
    /// A query that all records match which have the members of this example with equal values, and maybe others: by it, an
    /// index finds them.
    pub(crate) fn covering(example: &JsonObject, schema: &Schema) -> Self {
        let names = Names::new(schema, Handling::Lenient);
        let members = example.members();
        let conditions = members.iter().filter_map(|(name, value)| {
            let (path, kind) = names.plain(name).ok()??;
            let gathered = Gathered {
                name: name.clone(),
                path,
                kind,
                operator: Operator::Equal,
                values: vec![Sent::of(name, value).ok()?],
            };
            let condition = gathered.condition().ok()?;
            // A value that is equal to one that passes a test passes it, too.
            condition.holds(members).then_some(condition)
        });
        Self {
            conditions: conditions.take(MEMBERS_MAX).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_records_like_an_example_match_its_query() {
        let object =
            |value: &serde_json::Value| JsonObject::read(value.to_string().as_bytes()).unwrap();
        for (example, conditions) in [
            (json!({"title": "Dune", "year": 1965, "lent": true}), 3),
            (json!({"title": null}), 1),
            (json!({"id": "dune"}), 1),
            (json!({"year": 1965.0, "n": -0.0}), 2),
            // What no index has: lists, objects, and a member whose name would be taken for a path.
            (
                json!({"tags": ["a"], "author": {"name": "a"}, "author.name": "b"}),
                0,
            ),
        ] {
            let example = object(&example);
            let query = ListQuery::covering(&example, &Schema::Any);
            assert_eq!(query.conditions.len(), conditions, "{query:?}");
            let mut like = example.clone();
            like.merge(&object(&json!({"more": 1})));
            assert!(like.is_like(&example) && query.matches(like.members()));
        }
        let dune = ListQuery::covering(&object(&json!({"title": "Dune"})), &Schema::Any);
        assert!(!dune.matches(object(&json!({"title": "Emma"})).members()));
        let many: serde_json::Map<_, _> = (0..100).map(|n| (format!("m{n}"), json!(n))).collect();
        let many = ListQuery::covering(&object(&many.into()), &Schema::Any);
        assert_eq!(many.conditions.len(), MEMBERS_MAX);
    }
}
