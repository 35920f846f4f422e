//! Users with passwords and clients with tokens, as `access` names them.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::access_log;
use crate::client::{self, Client, Response};
use crate::daemon::{BINARY, TestDaemon};
use crate::reload::reload;

const SECRET: &str = "a secret of at least 32 bytes, as it must be";

/// A user as `perennial user new` makes it: what the settings need.
fn new_user(name: &str, password: &str) -> String {
    let mut made = Command::new(BINARY)
        .args(["user", "new", name, "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(made.stdin.take().unwrap(), "{password}").unwrap();
    let made = made.wait_with_output().unwrap();
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap()
}

fn token(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes()).unwrap();
    encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

fn in_an_hour() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() + 3600
}

fn of(subject: &str, role: &str) -> String {
    let claims = json!({ "sub": subject, "role": role, "exp": in_an_hour() });
    format!("Bearer {}", token(SECRET, &claims))
}

fn password(name: &str, password: &str) -> String {
    use base64::Engine as _;
    let shown = base64::prelude::BASE64_STANDARD.encode(format!("{name}:{password}"));
    format!("Basic {shown}")
}

/// Two users, and tokens with a secret that lies in a file beside the settings.
fn clients() -> String {
    let (ann, bob) = (
        new_user("ann", "correct horse"),
        new_user("bob", "battery staple"),
    );
    format!(
        "{ann}{bob}\n[auth.jwt]\nalgorithms = [\"HS256\"]\nkeys = \"jwt.secret\"\n\
         [resource.notes]\naccess = {{ read = \"public\", write = [\"basic:ann\", \"jwt:editor\"] }}\n\
         [resource.anyones]\naccess = [\"basic:*\", \"jwt:*\"]\n\
         [resource.anyones.fields]\nnote = {{ type = \"ref\", to = \"notes\" }}\n"
    )
}

fn start() -> TestDaemon {
    let mut daemon = TestDaemon::prepare(&clients());
    fs::write(daemon.folder().join("jwt.secret"), SECRET).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    daemon
}

fn send(daemon: &TestDaemon, method: &str, path: &str, shown: &str) -> Response {
    let mut headers = vec![("content-type", "application/json")];
    if !shown.is_empty() {
        headers.push(("authorization", shown));
    }
    let body = matches!(method, "POST" | "PUT").then_some(b"{}".as_slice());
    client::send(daemon.public(), method, path, &headers, body)
}

#[test]
fn users_and_tokens_may_do_what_access_says() {
    let daemon = start();
    let (ann, bob) = (
        password("ann", "correct horse"),
        password("bob", "battery staple"),
    );
    let (editor, reader) = (of("eve", "editor"), of("eve", "reader"));
    for (method, path, by_ann, by_bob, by_editor, by_reader, none) in [
        ("GET", "/notes", 200, 200, 200, 200, 200),
        ("POST", "/notes", 201, 403, 201, 403, 401),
        ("GET", "/anyones", 200, 200, 200, 200, 401),
        ("POST", "/anyones", 201, 201, 201, 201, 401),
        ("GET", "/notes?_embed=anyones", 200, 200, 200, 200, 401),
    ] {
        for (shown, status) in [
            (&*ann, by_ann),
            (&bob, by_bob),
            (&editor, by_editor),
            (&reader, by_reader),
            ("", none),
        ] {
            let answer = send(&daemon, method, path, shown);
            assert_eq!(answer.status, status, "{method} {path} {shown}");
        }
    }
    let batch = br#"{"ops":[{"method":"POST","path":"/notes","body":{}}]}"#;
    for (shown, status) in [(&ann, 200), (&bob, 403), (&editor, 200), (&reader, 403)] {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", shown),
        ];
        let answer = client::send(daemon.public(), "POST", "/_batch", &headers, Some(batch));
        assert_eq!(answer.status, status, "{shown}");
    }
}

#[test]
fn a_wrong_password_takes_a_second_and_a_right_one_is_compared_once() {
    let daemon = start();
    let wrong = password("ann", "wrong horse");
    let begun = Instant::now();
    let answer = send(&daemon, "POST", "/notes", &wrong);
    assert_eq!(answer.status, 401);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(
        challenge.contains("Basic realm=\"perennial\""),
        "{challenge}"
    );
    let nobody = send(
        &daemon,
        "POST",
        "/notes",
        &password("nobody", "wrong horse"),
    );
    assert_eq!(nobody.json()["detail"], answer.json()["detail"]);
    let right = password("ann", "correct horse");
    for _ in 0..20 {
        assert_eq!(send(&daemon, "POST", "/notes", &right).status, 201);
    }
    let metrics = daemon.metrics();
    assert!(
        metrics.contains("perennial_http_credentials_refused_total{kind=\"password\"} 2"),
        "{metrics}"
    );
}

#[test]
fn a_refused_token_says_why_and_the_access_log_who_a_client_was() {
    let mut daemon = TestDaemon::prepare(&format!("[logging]\naccess = true\n{}", clients()));
    fs::write(daemon.folder().join("jwt.secret"), SECRET).unwrap();
    let logs = daemon.folder().join("logs");
    let folder = format!("PERENNIAL__LOGGING__FILE__DIR={}", logs.display());
    daemon.run_under(&["env", &folder]);
    daemon.spawn();
    daemon.wait_ready();
    let expired = json!({ "sub": "eve", "exp": 1, "role": "editor" });
    let expired = format!("Bearer {}", token(SECRET, &expired));
    let forged = json!({ "sub": "eve", "exp": in_an_hour(), "role": "editor" });
    let forged = format!("Bearer {}", token(&SECRET.replace('s', "z"), &forged));
    for (shown, detail) in [(&expired, "has expired"), (&forged, "signature")] {
        let answer = send(&daemon, "POST", "/notes", shown);
        assert_eq!(answer.status, 401);
        let told = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(told.contains(detail), "{told}");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("invalid_token"), "{challenge}");
    }
    assert_eq!(
        send(&daemon, "POST", "/notes", &of("eve", "editor")).status,
        201
    );
    let ann = password("ann", "correct horse");
    assert_eq!(send(&daemon, "POST", "/notes", &ann).status, 201);
    access_log::stop(&mut daemon);
    let lines = access_log::lines(&logs);
    let posts = lines.iter().filter(|line| line["method"] == "POST");
    let mut users: Vec<_> = posts.map(|line| line["user"].as_str()).collect();
    users.sort_unstable();
    assert_eq!(users, [None, None, Some("basic:ann"), Some("jwt:eve")]);
}

#[test]
fn a_reload_takes_other_users_and_another_secret() {
    let daemon = start();
    let (ann, editor) = (password("ann", "correct horse"), of("eve", "editor"));
    assert_eq!(send(&daemon, "POST", "/notes", &ann).status, 201);
    assert_eq!(send(&daemon, "POST", "/notes", &editor).status, 201);
    let text = fs::read_to_string(daemon.config()).unwrap();
    let (before, user) = text.split_once("[auth.users.ann]").unwrap();
    let (_, after) = user.split_once("\n[").unwrap();
    let ann_anew = new_user("ann", "another horse");
    fs::write(daemon.config(), format!("{before}{ann_anew}[{after}")).unwrap();
    fs::write(daemon.folder().join("jwt.secret"), SECRET.replace('s', "z")).unwrap();
    reload(&daemon, "").expect(200);
    assert_eq!(send(&daemon, "POST", "/notes", &ann).status, 401);
    assert_eq!(send(&daemon, "POST", "/notes", &editor).status, 401);
    let anew = password("ann", "another horse");
    assert_eq!(send(&daemon, "POST", "/notes", &anew).status, 201);
    let claims = json!({ "sub": "eve", "role": "editor", "exp": in_an_hour() });
    let anew = format!("Bearer {}", token(&SECRET.replace('s', "z"), &claims));
    assert_eq!(send(&daemon, "POST", "/notes", &anew).status, 201);
}

#[test]
fn a_change_feed_ends_with_the_token_of_its_client() {
    let mut daemon = TestDaemon::prepare(&format!(
        "[feed]\nheartbeat = \"100ms\"\n{}",
        clients().replace("keys = ", "leeway = \"0s\"\nkeys = ")
    ));
    fs::write(daemon.folder().join("jwt.secret"), SECRET).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ends = now.as_secs() + 3;
    let short = json!({ "sub": "eve", "role": "editor", "exp": ends });
    let shown = format!("Bearer {}", token(SECRET, &short));
    let mut feed = Client::connect(daemon.public()).unwrap();
    let headers = [("authorization", &*shown), ("accept", "text/event-stream")];
    let head = feed.begin("/anyones/_changes", &headers).unwrap();
    assert_eq!(head.status, 200);
    while feed.chunk().unwrap().is_some() {}
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(now.as_secs() >= ends, "{now:?} {ends}");
    assert_eq!(send(&daemon, "GET", "/anyones", &shown).status, 401);
}
