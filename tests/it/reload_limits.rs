//! A reload of what the rest of the daemon runs by: limits, the log, supervision, backups. Each is in force afterwards, and a
//! wrong value changes nothing.

use serde_json::{Value, json};

use crate::client;
use crate::daemon::TestDaemon;
use crate::reload::{reload, rewrite};

/// Changes the settings to these, and has them put in force.
#[track_caller]
fn change(daemon: &TestDaemon, more: &str) -> Value {
    rewrite(daemon, more);
    reload(daemon, "").expect(200).json()
}

#[test]
fn an_import_has_the_limit_of_bodies_that_is_in_force() {
    let daemon = TestDaemon::start("[limits]\nbody = '2 KiB'");
    let import = |n: u32| {
        let record = json!({ "title": "x".repeat(3000) });
        let id = format!("01a210f2-6a46-7604-8000-00000000000{n}");
        let path = format!("/records/books?import={id}&first=0");
        client::post(daemon.admin(), &path, &record)
            .expect(200)
            .json()
    };
    let fault = "a record may have 2048 bytes (limits.body)";
    assert_eq!(
        import(1)["refused"],
        json!([{ "at": 0, "faults": [fault] }])
    );
    change(&daemon, "[limits]\nbody = '8 KiB'");
    assert_eq!(import(2)["created"], 1);
    let catalogue = client::get(daemon.admin(), "/records").json();
    assert_eq!(catalogue["record_bytes"], 8192);
}
