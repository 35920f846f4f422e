//! Data folders of each format that was ever released, in `tests/fixtures`: each is opened, served, written to, and whole.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::daemon::{BINARY, TestDaemon};

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn a_store_of_each_released_format_is_taken_over_with_all_its_records() {
    for format in ["sled-only", "journal-and-view"] {
        let mut daemon = TestDaemon::prepare("[resource.albums]\nid = \"sequence\"");
        let data = daemon.folder().join("data");
        fs::create_dir(&data).unwrap();
        let packed = format!(
            "{}/tests/fixtures/{format}.tar.gz",
            env!("CARGO_MANIFEST_DIR")
        );
        let mut tar = Command::new("tar");
        let unpacked = tar.args(["-xzf", &packed, "-C"]).arg(&data).status();
        assert!(unpacked.unwrap().success(), "{packed}");
        for albums in [3, 4] {
            daemon.restart();
            let emma = json!({"id": "emma", "title": "Emma", "year": 1815});
            let read = daemon.get("/books/emma").expect(200);
            // The number of its last change is part of the tag.
            let tag = read.header("etag").unwrap().to_owned();
            assert!(tag.starts_with("\"3"), "{format}: {tag}");
            assert_eq!(read.json(), emma, "{format}");
            let books = daemon.get("/books").expect(200);
            assert_eq!(books.header("x-total-count"), Some("3"), "{format}");
            daemon.get("/books/gone").expect(404);
            let long = daemon.get("/books/long").expect(200).json();
            assert_eq!(long["title"], "x".repeat(9000), "{format}");
            let listed = daemon.get("/albums").expect(200).json();
            assert_eq!(listed.as_array().unwrap().len(), albums, "{format}");
            let next = daemon.post("/albums", &json!({"title": "New"})).expect(201);
            assert_eq!(next.json()["id"], albums + 1, "{format}");
            daemon.sigterm();
            assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0), "{format}");
            let mut check = Command::new(BINARY);
            let checked = check.arg("check").arg(daemon.config()).arg("--data");
            let checked = checked.output().unwrap();
            assert_eq!(checked.status.code(), Some(0), "{format}: {checked:?}");
        }
    }
}
