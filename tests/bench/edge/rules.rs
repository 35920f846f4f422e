//! The rules of routes: what a rate, a key, a token, a password and an owner add to the CPU time of a request.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};

use super::measure_as;
use super::number;
use super::server::Server;
use super::servers::{PERENNIAL, perennial, post_as};

const SECRET: &str = "a secret of at least 32 bytes, as it must be";
const PASSWORD: &str = "correct horse battery";
/// Each case is compared with its base so often for each round: the differences are small.
const TURNS: u32 = 5;

/// A path, the credentials that are sent there, the path of the base, to which they are sent, too, and the most that may be added,
/// in microseconds.
struct Case {
    name: &'static str,
    path: String,
    base: String,
    credentials: String,
    aim: Option<f64>,
}

pub(crate) fn measure(folder: &Path) {
    let (server, key) = start(folder);
    let bearer = |secret: &str| format!("Bearer {secret}");
    let claims = serde_json::json!({ "sub": "ann", "role": "editor", "exp": 4_000_000_000_u64 });
    let secret = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
    let token = bearer(&encode(&Header::new(Algorithm::HS256), &claims, &secret).unwrap());
    let password = base64::prelude::BASE64_STANDARD.encode(format!("ann:{PASSWORD}"));
    let password = format!("Basic {password}");
    let record = |resource: &str, credentials: &str| {
        post_as(
            server.port,
            &format!("/{resource}"),
            r#"{"title":"Dune"}"#,
            credentials,
        )
    };
    let plain = record("plain", &token);
    let case = |name, path: &str, base: &str, credentials: &str, aim| Case {
        name,
        path: path.to_owned(),
        base: base.to_owned(),
        credentials: credentials.to_owned(),
        aim,
    };
    let key = bearer(&key);
    let cases = [
        case(
            "a page with a rate",
            "/counted/1k.html",
            "/1k.html",
            "",
            Some(0.3),
        ),
        case(
            "a record by key",
            &record("keyed", &key),
            &plain,
            &key,
            Some(1.0),
        ),
        case(
            "a record by token",
            &record("tokens", &token),
            &plain,
            &token,
            Some(2.0),
        ),
        case(
            "a record by password",
            &record("users", &password),
            &plain,
            &password,
            None,
        ),
        case(
            "a record of its owner",
            &record("owned", &token),
            &plain,
            &token,
            None,
        ),
    ];
    println!("what rules add to the CPU time of a request, in us");
    for case in &cases {
        row(&server, case);
    }
}

fn row(server: &Server, case: &Case) {
    let mut added = Vec::new();
    for _ in 0..number("BENCH_ROUNDS", 3) * TURNS {
        let of = |path: &str| measure_as(server, path, false, &case.credentials).cpu_us;
        let base = of(&case.base);
        added.push(of(&case.path) - base);
    }
    added.sort_by(f64::total_cmp);
    let median = added.get(added.len() / 2).copied().unwrap_or(f64::NAN);
    let verdict = match case.aim {
        Some(aim) if median <= aim => format!("  aim +{aim}: met"),
        Some(aim) => format!("  aim +{aim}: MISSED"),
        None => String::new(),
    };
    println!("{:22}{median:>+8.2}{verdict}", case.name);
}

/// A server whose routes and resources have the rules, and the secret of the key.
fn start(folder: &Path) -> (Server, String) {
    let made = Command::new(PERENNIAL)
        .args(["key", "new", "ci"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&made.stderr).into_owned();
    let key = told.lines().find(|line| line.starts_with("prn_")).unwrap();
    let mut user = Command::new(PERENNIAL)
        .args(["user", "new", "ann", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(user.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    let user = user.wait_with_output().unwrap();
    let secret = folder.join("jwt.secret");
    fs::write(&secret, SECRET).unwrap();
    let (of_key, of_user) = (made.stdout, user.stdout);
    let clients = [of_key, of_user].concat();
    let more = format!(
        "{}\n[auth.jwt]\nalgorithms = ['HS256']\nkeys = '{}'\n\
         [route.'/counted']\nfiles = {{ root = '{}/site' }}\nrate = {{ requests = 1000000 }}\n\
         [resource.plain]\n[resource.keyed]\naccess = ['key:ci']\n[resource.tokens]\naccess = ['jwt:editor']\n\
         [resource.users]\naccess = ['basic:ann']\n[resource.owned]\naccess = ['jwt:*']\nowner = 'by'\n",
        String::from_utf8_lossy(&clients),
        secret.display(),
        folder.display(),
    );
    (
        perennial("perennial with rules", folder, &more),
        key.to_owned(),
    )
}
