//! Tests of the conflicts between stored records and settings, and of their messages.

use std::sync::Arc;

use super::*;
use crate::record::{Bounds, Field, FieldType, Schema};

fn counted(ids: &[RecordId]) -> CountedRecords {
    let mut counted = CountedRecords::default();
    for id in ids {
        counted.add(id);
    }
    counted
}

fn text(id: &str) -> RecordId {
    RecordId::parse(id).unwrap()
}

#[test]
fn a_kind_of_ids_is_refused_if_another_one_reaches_more_of_the_stored_records() {
    use IdScheme::{Client, Sequence, Uuid};
    let (n, t) = (RecordId::Number, text);
    for (kind, stored, refused) in [
        (Sequence, vec![n(1), n(2)], None),
        (Uuid, vec![n(1), n(2)], Some(true)),
        (Client, vec![n(1)], Some(true)),
        (Uuid, vec![t("1"), t("dune")], None),
        (Client, vec![t("1"), t("dune")], None),
        // Where ids are counted, texts that don't read as a number stay reachable.
        (Sequence, vec![t("dune"), t("01"), t("0190-x")], None),
        (Sequence, vec![t("dune"), t("1")], Some(true)),
        // No kind reaches all: the one that reaches more is taken.
        (Uuid, vec![n(1), n(2), t("1")], Some(true)),
        (Sequence, vec![n(1), n(2), t("1")], Some(false)),
        (Uuid, vec![n(1), t("1")], Some(false)),
        (Sequence, vec![], None),
    ] {
        let mut ids = StoredIds::default();
        for id in &stored {
            ids.add(id);
        }
        let found = ids.judge("books", kind);
        let found = found.as_ref().map(DataFinding::is_refusal);
        assert_eq!(found, refused, "{kind:?} {stored:?}");
    }
    let lost = counted(&[n(1), n(2), n(3), n(4)]);
    let ids = StoredIds {
        numbers: lost,
        ..StoredIds::default()
    };
    assert_eq!(
        ids.judge("books", Uuid).unwrap().to_string(),
        "[resource.books] has id = \"uuidv7\", but 4 records (1, 2, 3, ..) were given ids by id = \"sequence\", and no \
         request could name them any more; write id = \"sequence\" into [resource.books] again. Nothing was changed"
    );
}

#[test]
fn records_that_refer_to_nothing_are_counted() {
    let reference = crate::record::Reference {
        to: "books".to_owned(),
        ids: IdScheme::Uuid,
        on_delete: crate::record::OnDelete::Restrict,
    };
    let fields = vec![Field::new("book", FieldType::Ref(reference))];
    let reviews = ResourceSettings {
        schema: Arc::new(Schema::from(fields)),
        ..ResourceSettings::at("/reviews")
    };
    let mut fit = DataFit::new([("reviews".to_owned(), reviews)].into());
    assert!(fit.has_references("reviews") && !fit.has_references("books"));
    for (id, json) in [
        ("a", r#"{"id":"a","book":"dune"}"#),
        ("b", r#"{"id":"b","book":"gone"}"#),
        ("c", r#"{"id":"c","book":null}"#),
        ("d", r#"{"id":"d"}"#),
        ("e", r#"{"id":"e","book":"lost"}"#),
    ] {
        let is_there = |to: &str, id: &RecordId| to == "books" && *id == text("dune");
        fit.add_references("reviews", &text(id), json.as_bytes(), is_there);
    }
    let found: Vec<_> = fit.findings().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "2 records (b, e) of [resource.reviews] refer by book to records of books that are not there. They are served \
             as they are; change these records, or bring the others back"
        ]
    );
}

#[test]
fn records_that_break_a_rule_are_counted_by_resource_and_rule() {
    let year = FieldType::Integer(Bounds {
        min: None,
        max: Some(2000),
    });
    let tags = FieldType::Array {
        items: Some(Box::new(FieldType::Boolean)),
        length: Bounds::default(),
    };
    let field = |name: &str, kind| Field {
        required: name == "year",
        ..Field::new(name, kind)
    };
    let books = ResourceSettings {
        schema: Arc::new(Schema::from(vec![field("year", year), field("tags", tags)])),
        ..ResourceSettings::at("/books")
    };
    let resources = [
        ("books".to_owned(), books),
        ("novels".to_owned(), ResourceSettings::at("/read")),
    ];
    let resources = resources.into();
    let mut fit = DataFit::new(resources);
    for (id, json) in [
        ("a", r#"{"id":"a","year":1999,"tags":[true]}"#),
        ("b", r#"{"id":"b","year":2001,"tags":[1,true,2]}"#),
        ("c", r#"{"id":"c","year":2002}"#),
        ("d", r#"{"id":"d"}"#),
    ] {
        fit.add("books", &text(id), json.as_bytes());
    }
    fit.add("old", &text("x"), b"{}");
    let found = fit.findings();
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "the fields of [resource.books] do not fit 3 records (b, c, d): tags.* must be true or false: 1 \
             record (b); year must be at most 2000: 2 records (b, c); year must be there: 1 record (d). They are served \
             as they are; a PATCH of other members is accepted, a PUT has to keep every rule",
            "the resource old is not in the settings, and the store has 1 record (x) of it. Nothing was deleted; declare \
             [resource.old] again to serve or to export them. Was it renamed to novels? Records are found by the name of \
             their resource: write [resource.old] with path = \"/read\" in the place of [resource.novels]",
        ]
    );
}
