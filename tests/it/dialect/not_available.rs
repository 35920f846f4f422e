//! Query parameters and headers reserved for a later release are refused, not ignored.

use serde_json::json;

use super::*;

#[test]
fn reserved_features_are_refused_as_not_available() {
    let daemon = TestDaemon::start(RESOURCES);
    let (book, etag) = make(&daemon, "/books", &json!({"title": "Dune"}));
    let later = |what: &str| format!("{what} is not available yet");
    let shape = |query| format!("{book}?{query}=x");
    let (embed, fields) = (shape("_embed"), shape("_fields"));
    assert_refused(
        &daemon,
        &[
            (
                "PATCH",
                &embed,
                &[JSON],
                "{}",
                NOT_AVAILABLE,
                &later("_embed"),
            ),
            (
                "PATCH",
                &fields,
                &[JSON],
                "{}",
                NOT_AVAILABLE,
                &later("_fields"),
            ),
        ],
    );
    let read = daemon.get(&book).expect(200);
    assert_eq!(read.header("etag"), Some(etag.as_str()), "nothing was done");
    daemon.get(&format!("{book}?t=1")).expect(200);
}
