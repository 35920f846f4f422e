//! The cost of a reload with many routes and resources: a drill that prints it.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client;
use crate::daemon::{TestDaemon, toml};

const RESOURCES: usize = 100;

/// Settings with so many routes, each with a folder of its own, and a hundred resources; the route 7 has this header.
fn many(daemon: &TestDaemon, routes: usize, header: &str) -> String {
    let mut text = String::new();
    for n in 0..routes {
        let folder = daemon.folder().join(format!("sites/{n}"));
        let value = if n == 7 { header } else { "same" };
        writeln!(
            text,
            "[route.\"/site/{n}\"]\nfiles = {{ root = '{}' }}\nheaders = {{ X-Site = \"{value}\" }}\ncache = {{ \"/assets/**\" = \"max-age=60\", \"**\" = \"no-cache\" }}",
            folder.display()
        )
        .unwrap();
    }
    for n in 0..RESOURCES {
        let fields = "fields = { title = { type = \"string\", required = true } }";
        writeln!(text, "[resource.shelf-{n}]\naccess = \"public\"\n{fields}").unwrap();
    }
    toml(daemon.folder(), &text)
}

/// The shortest of some reloads that change one route, and of some that change nothing.
fn reloads(routes: usize) -> [Duration; 2] {
    let mut daemon = TestDaemon::prepare("");
    for n in 0..routes {
        let folder = daemon.folder().join(format!("sites/{n}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("index.html"), "page").unwrap();
    }
    fs::write(daemon.config(), many(&daemon, routes, "0")).unwrap();
    daemon.restart();
    let timed = |changed: bool| {
        let begun = Instant::now();
        let answer = client::post(daemon.admin(), "/reload", &Value::Null);
        let took = begun.elapsed();
        let changes = &answer.expect(200).json()["changes"];
        assert_eq!(changes.as_array().unwrap().len(), usize::from(changed));
        took
    };
    let mut shortest = [Duration::MAX; 2];
    for header in 1..=10 {
        fs::write(daemon.config(), many(&daemon, routes, &header.to_string())).unwrap();
        shortest[0] = shortest[0].min(timed(true));
        shortest[1] = shortest[1].min(timed(false));
    }
    let answer = client::get(daemon.public(), "/site/7/").expect(200);
    assert_eq!(answer.header("x-site"), Some("10"));
    shortest
}

#[test]
#[ignore = "a drill: it prints how long reloads take"]
fn a_reload_of_many_routes() {
    for routes in [250, 500, 1_000, 2_000] {
        let [changed, unchanged] = reloads(routes);
        println!(
            "{routes} routes and {RESOURCES} resources: one route changed {changed:?}, nothing changed {unchanged:?}"
        );
    }
}
