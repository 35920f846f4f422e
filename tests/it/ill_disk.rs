//! A disk that hangs or fails for some time under the running daemon: pages and records are served meanwhile, writes are answered
//! in time, nothing that was acknowledged is lost, and afterwards all is well without anybody's help.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client;
use crate::daemon::TestDaemon;

const SETTINGS: &str = r#"
[chaos]
enabled = true
[storage]
flush_limit = "1s"
[supervision.children.storage]
deadline = "1s"
"#;
/// The time within which an answer is there at once, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn while_the_disk_hangs_everything_but_writes_is_served() {
    let mut daemon = TestDaemon::start(SETTINGS);
    let first = daemon.post("/books", &json!({ "n": 1 })).expect(201);
    let first = first.header("location").unwrap().to_owned();
    // It hangs for longer than storage.flush_limit.
    daemon.chaos(&json!({ "point": "storage.hanging_sync", "hits": 40 }));
    let host = daemon.public();
    let begun = thread::spawn(move || client::post(host, "/books", &json!({ "n": 2 })));
    daemon.wait_until("the hanging commit is told of", |daemon| {
        let told = client::get(daemon.admin(), "/readyz/storage");
        told.status == 503 && told.text().contains("a commit has been under way for")
    });
    let asked = Instant::now();
    daemon.get("/").expect(200);
    assert_eq!(daemon.get(&first).expect(200).json()["n"], 1);
    let refused = daemon.post("/books", &json!({ "n": 3 })).expect(503);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    assert!(
        refused.text().contains("this one was not begun"),
        "{}",
        refused.text()
    );
    assert!(refused.header("retry-after").is_some());
    let unknown = begun.join().unwrap().expect(503);
    assert!(unknown.text().contains("outcome_unknown"));
    daemon.wait_until("the commit has ended", |daemon| {
        client::get(daemon.admin(), "/readyz").status == 200
    });
    daemon.post("/books", &json!({ "n": 4 })).expect(201);
    let listed = daemon.get("/books").expect(200).json();
    let numbers: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|book| &book["n"])
        .collect();
    assert_eq!(numbers, [1, 2, 4]);
    assert_eq!(daemon.exited(), None, "{}", daemon.stderr());
}
