//! `rate` refuses clients that send too much, and `server.trusted_proxies` tells who they are.

use std::fs;

use serde_json::{Value, json};

use crate::access::new_key;
use crate::access_log;
use crate::client::{self, Response};
use crate::daemon::{TestDaemon, metric};
use crate::reload::reload;

fn send(daemon: &TestDaemon, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let body = (method == "POST").then_some(&b"{}"[..]);
    let headers = [&[("content-type", "application/json")], headers].concat();
    client::send(daemon.public(), method, path, &headers, body)
}

fn statuses(daemon: &TestDaemon, count: usize, path: &str, headers: &[(&str, &str)]) -> Vec<u16> {
    let all = (0..count).map(|_| send(daemon, "GET", path, headers).status);
    all.collect()
}

#[test]
fn a_client_that_sends_too_much_is_refused_and_told_when_to_come_again() {
    let mut daemon = TestDaemon::prepare(
        "[route.\"/few\"]\nfiles = { root = 'SITE' }\nrate = { requests = 3, window = \"1h\" }\n\
         [resource.notes]\nrate = { requests = 2, window = \"1h\", burst = 1 }\n",
    );
    let text = fs::read_to_string(daemon.config()).unwrap();
    let site = daemon.folder().join("site").display().to_string();
    fs::write(daemon.config(), text.replace("SITE", &site)).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    // The first one is read from the disk, and the others come from memory.
    for left in ["2;t=1200", "1;t=2400", "0;t=3600"] {
        let answer = send(&daemon, "GET", "/few/", &[]).expect(200);
        assert_eq!(
            answer.header("ratelimit"),
            Some(&*format!("\"ip\";r={left}"))
        );
        assert_eq!(answer.header("ratelimit-policy"), Some("\"ip\";q=3;w=3600"));
    }
    for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE"] {
        let answer = send(&daemon, method, "/few/", &[]);
        assert_eq!(answer.status, 429, "{method}");
        assert_eq!(answer.header("retry-after"), Some("1200"), "{method}");
        assert!(
            answer
                .header("ratelimit")
                .unwrap()
                .starts_with("\"ip\";r=0;t=")
        );
    }
    let problem = send(&daemon, "GET", "/few/none", &[]);
    assert_eq!(problem.json()["code"], "too_many_requests");
    assert_eq!(
        problem.json()["detail"],
        "3 requests in 1h are allowed here for each address"
    );
    // Other routes are not counted with it.
    let answer = send(&daemon, "GET", "/", &[]).expect(200);
    assert_eq!(answer.header("ratelimit"), None);
    send(&daemon, "POST", "/notes", &[]).expect(201);
    let refused = send(&daemon, "POST", "/notes", &[]).expect(429);
    assert_eq!(refused.header("retry-after"), Some("1800"));
    let metrics = daemon.metrics();
    let refused = |route| metric(&metrics, "perennial_http_rate_refused_total", route);
    assert_eq!(refused("route=\"/few\""), Some(6.0));
    assert_eq!(refused("route=\"/notes\""), Some(1.0));
}

#[test]
fn operations_of_a_batch_and_wrong_keys_are_counted() {
    let (secret, settings) = new_key(&["ci"]);
    let (other, more) = new_key(&["other"]);
    let daemon = TestDaemon::start(&format!(
        "{settings}{more}\n[resource.notes]\naccess = [\"key:ci\", \"key:other\"]\n\
         rate = {{ requests = 4, window = \"1h\", per = \"key\" }}\n"
    ));
    let shown = |secret: &str| format!("Bearer {secret}");
    let batch = |secret: &str, operations: usize| {
        let operation = json!({ "method": "POST", "path": "/notes", "body": {} });
        let body = json!({ "mode": "atomic", "ops": vec![operation; operations] }).to_string();
        let headers = [
            ("content-type", "application/json"),
            ("authorization", &*shown(secret)),
        ];
        client::send(
            daemon.public(),
            "POST",
            "/_batch",
            &headers,
            Some(body.as_bytes()),
        )
    };
    batch(&secret, 3).expect(200);
    batch(&secret, 2).expect(429);
    batch(&other, 4).expect(200);
    let used = send(
        &daemon,
        "GET",
        "/notes",
        &[("authorization", &shown(&other))],
    );
    assert_eq!(used.status, 429);
    // Those without a valid key are counted by address.
    let wrong = shown("prn_wrong");
    let tried = statuses(&daemon, 6, "/notes", &[("authorization", &wrong)]);
    assert_eq!(tried, [401, 401, 401, 401, 429, 429]);
}

#[test]
fn a_client_behind_a_trusted_proxy_is_counted_and_logged_by_its_own_address() {
    let more =
        "[logging]\naccess = true\n[resource.notes]\nrate = { requests = 2, window = \"1h\" }\n";
    let trusted = "PERENNIAL__SERVER__TRUSTED_PROXIES=127.0.0.0/8";
    let (mut daemon, logs) = access_log::start_with(more, trusted);
    let from = |list: &str| send(&daemon, "GET", "/notes", &[("x-forwarded-for", list)]).status;
    let asked = [
        ("203.0.113.7", "203.0.113.7", 200),
        ("10.9.9.9, 203.0.113.7", "203.0.113.7", 200),
        ("203.0.113.8, 203.0.113.7", "203.0.113.7", 429),
        ("203.0.113.8", "203.0.113.8", 200),
        ("2001:db8::1", "2001:db8::1", 200),
        ("2001:db8::2", "2001:db8::2", 200),
        ("2001:db8::3", "2001:db8::3", 429),
    ];
    for (list, _, status) in asked {
        assert_eq!(from(list), status, "{list}");
    }
    // Another header is not read.
    let forwarded = statuses(&daemon, 3, "/notes", &[("forwarded", "for=203.0.113.9")]);
    assert_eq!(forwarded, [200, 200, 429]);
    access_log::stop(&mut daemon);
    let mut logged: Vec<_> = access_log::lines(&logs)
        .iter()
        .map(|line| line["client"].clone())
        .collect();
    let named = asked.map(|(_, client, _)| json!(client)).into_iter();
    let mut expected: Vec<_> = named.chain(vec![Value::Null; 3]).collect();
    logged.sort_by_key(ToString::to_string);
    expected.sort_by_key(ToString::to_string);
    assert_eq!(logged, expected);
}

#[test]
fn without_a_trusted_proxy_no_client_can_choose_its_address() {
    let daemon = TestDaemon::start("[resource.notes]\nrate = { requests = 2, window = \"1h\" }\n");
    for (number, status) in [200, 200, 429, 429].into_iter().enumerate() {
        let list = format!("203.0.113.{number}");
        let headers = [
            ("x-forwarded-for", &*list),
            ("forwarded", "for=203.0.113.1"),
        ];
        assert_eq!(send(&daemon, "GET", "/notes", &headers).status, status);
    }
}

#[test]
fn a_reload_counts_on_unless_the_rate_is_changed() {
    let daemon = TestDaemon::start("[resource.notes]\nrate = { requests = 2, window = \"1h\" }\n");
    let change = |from: &str, to: &str| {
        let text = fs::read_to_string(daemon.config()).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(daemon.config(), text.replace(from, to)).unwrap();
        reload(&daemon, "").expect(200);
    };
    assert_eq!(statuses(&daemon, 3, "/notes", &[]), [200, 200, 429]);
    change(
        "[resource.notes]",
        "[resource.notes]\nheaders = { X-A = \"b\" }",
    );
    assert_eq!(statuses(&daemon, 1, "/notes", &[]), [429]);
    // What is asked by the daemon itself, before it puts a rate in force, is nobody's request.
    change("\"1h\" }", "\"1h\", per = \"route\" }");
    assert_eq!(statuses(&daemon, 3, "/notes", &[]), [200, 200, 429]);
    change("requests = 2", "requests = 3");
    assert_eq!(statuses(&daemon, 4, "/notes", &[]), [200, 200, 200, 429]);
    change(
        "rate = { requests = 3, window = \"1h\", per = \"route\" }",
        "",
    );
    assert_eq!(statuses(&daemon, 9, "/notes", &[]), [200; 9]);
}

/// A wrong key is counted wherever it is tried, so that nobody can try many.
#[test]
fn wrong_keys_are_counted_in_batches_and_for_relations() {
    let (_, key) = new_key(&["ci"]);
    for per in ["ip", "key"] {
        let daemon = TestDaemon::start(&format!(
            "{key}\n[resource.notes]\naccess = [\"key:ci\"]\n\
             rate = {{ requests = 3, window = \"1h\", per = \"{per}\" }}\n\
             [resource.marks]\n[resource.marks.fields]\nnote = {{ type = \"ref\", to = \"notes\" }}\n"
        ));
        let wrong = [("authorization", "Bearer prn_wrong")];
        let batch = br#"{"ops":[{"method":"POST","path":"/notes","body":{}}]}"#;
        let tried = |way: usize| match way {
            0 => {
                let headers = [("content-type", "application/json"), wrong[0]];
                client::send(daemon.public(), "POST", "/_batch", &headers, Some(batch)).status
            }
            1 => send(&daemon, "GET", "/marks?_expand=note", &wrong).status,
            _ => send(&daemon, "GET", "/notes", &wrong).status,
        };
        let statuses: Vec<_> = (0..6).map(|n| tried(n % 3)).collect();
        assert_eq!(statuses, [401, 401, 401, 429, 429, 429], "{per}");
        // The route of the request itself has no rate.
        assert_eq!(send(&daemon, "GET", "/marks", &wrong).status, 200);
    }
}
