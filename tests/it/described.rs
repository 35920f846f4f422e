//! Descriptions of the API: the `OpenAPI` document, the page that shows it, JSON Schemas and `TypeScript` types.

use std::process::Command;

use serde_json::{Value, json};

use crate::batches::send;
use crate::daemon::{BINARY, TestDaemon};

const RESOURCES: &str = r#"
[resource.albums]
[resource.albums.fields]
title = { type = "string", required = true }
"#;

#[test]
fn the_document_the_page_and_the_schema_are_served_and_kept_by_clients() {
    let daemon = TestDaemon::start(RESOURCES);
    for (path, media_type) in [
        ("/_openapi.json", "application/json"),
        ("/_docs", "text/html; charset=utf-8"),
        ("/albums/_schema", "application/schema+json"),
    ] {
        let answer = daemon.get(path).expect(200);
        assert_eq!(answer.header("content-type"), Some(media_type), "{path}");
        let etag = answer.header("etag").unwrap().to_owned();
        let known = [("if-none-match", etag.as_str())];
        send(&daemon, "GET", path, &known, "").expect(304);
        let refused = send(&daemon, "POST", path, &[], "{}").expect(405);
        assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    daemon.get("/_docs/x").expect(404);
    let document = daemon.get("/_openapi.json").expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    let book = &document["components"]["schemas"]["albums"];
    assert_eq!(book["required"], json!(["id", "title"]));
    let schema = daemon.get("/albums/_schema").expect(200).json();
    assert_eq!(schema["properties"], book["properties"]);
}

#[test]
fn a_reload_makes_the_document_anew() {
    let daemon = TestDaemon::start(RESOURCES);
    let before = daemon.get("/_openapi.json").expect(200);
    let etag = before.header("etag").unwrap().to_owned();
    let more = "year = { type = \"integer\" }\n[resource.films]\n";
    let settings = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), settings + more).unwrap();
    daemon.sighup();
    daemon.wait_until("the new resource is served", |daemon| {
        daemon.get("/films").status == 200
    });
    let after = daemon.get("/_openapi.json").expect(200);
    assert_ne!(after.header("etag"), Some(etag.as_str()));
    let document: Value = after.json();
    assert!(document["paths"]["/films"]["get"].is_object());
    let book = &document["components"]["schemas"]["albums"];
    assert_eq!(
        book["properties"]["year"]["type"],
        json!(["integer", "null"])
    );
}

#[test]
fn types_are_printed_without_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("perennial.toml");
    std::fs::write(&file, RESOURCES).unwrap();
    let types = |words: &[&str]| {
        let mut command = Command::new(BINARY);
        command.arg("types").args(words).arg("--config").arg(&file);
        command.output().unwrap()
    };
    let printed = types(&["--ts"]);
    assert_eq!(printed.status.code(), Some(0));
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(
        printed
            .contains("export interface NewAlbums {\n  id?: string | null;\n  title: string;\n}")
    );
    // The language must be named.
    assert_eq!(types(&[]).status.code(), Some(64));
}
