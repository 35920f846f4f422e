//! What a reload changes of the children while they serve: the bounds of connections, listeners, and request handlers.

use std::cell::RefCell;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{self, Client, Response};
use crate::daemon::{BINARY, TestDaemon, metric, node, running, toml};

/// Rewrites the settings of a daemon: each of these pairs is a key of `server` and its value.
pub(crate) fn rewrite(daemon: &TestDaemon, server: &[(&str, &str)]) {
    let mut text = toml(daemon.folder(), "");
    for (key, value) in server {
        let kept = text.lines().filter(|line| !line.starts_with(key));
        let mut lines: Vec<_> = kept.map(str::to_owned).collect();
        let at = lines.iter().position(|line| line == "[server]").unwrap() + 1;
        lines.insert(at, format!("{key} = {value}"));
        text = lines.join("\n");
    }
    fs::write(daemon.config(), text).unwrap();
}

fn reload(daemon: &TestDaemon) -> Response {
    client::post(daemon.admin(), "/reload", &Value::Null)
}

/// Prepares and starts a daemon with these settings.
fn start(server: &[(&str, &str)]) -> TestDaemon {
    let mut daemon = TestDaemon::prepare("");
    rewrite(&daemon, server);
    daemon.spawn();
    daemon.wait_ready();
    daemon
}

#[test]
fn the_bound_of_connections_grows_and_shrinks_and_nobody_who_is_in_notices() {
    let daemon = start(&[("max_connections", "1")]);
    // Its request has a body that is still to come, so it gives way to nobody.
    let busy = |daemon: &TestDaemon| {
        let mut client = Client::connect_with(daemon.public(), Duration::from_secs(20)).unwrap();
        let head = "POST /books HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
        client.write(head.as_bytes()).unwrap();
        client
    };
    let full = |daemon: &TestDaemon| {
        let full = metric(&daemon.metrics(), "perennial_listener_full_total", "");
        full.unwrap()
    };
    let mut first = busy(&daemon);
    daemon.wait_until("the first is in", |daemon| {
        daemon
            .metrics()
            .contains("perennial_http_requests_in_flight 1")
    });
    let before = full(&daemon);
    let mut second = busy(&daemon);
    daemon.wait_until("the second waits", |daemon| full(daemon) > before);
    rewrite(&daemon, &[("max_connections", "2")]);
    reload(&daemon).expect(200);
    second.write(b"{}").unwrap();
    second.read_answer(false).unwrap().expect(201);
    let mut second = {
        drop(second);
        busy(&daemon)
    };
    daemon.wait_until("two are in", |daemon| {
        daemon
            .metrics()
            .contains("perennial_http_requests_in_flight 2")
    });
    rewrite(&daemon, &[("max_connections", "1")]);
    reload(&daemon).expect(200);
    first.write(b"{}").unwrap();
    first.read_answer(false).unwrap().expect(201);
    drop(first);
    // One is inside, and that is all that there may be.
    let before = full(&daemon);
    let mut third = busy(&daemon);
    daemon.wait_until("the third waits", |daemon| full(daemon) > before);
    second.write(b"{}").unwrap();
    second.read_answer(false).unwrap().expect(201);
    drop(second);
    third.write(b"{}").unwrap();
    third.read_answer(false).unwrap().expect(201);
}

/// Clients that ask again and again, each on a kept connection, and connect anew when the daemon has closed it as HTTP allows.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<(u64, Vec<String>)>>,
}

impl Load {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let client = |_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let (mut asked, mut failed) = (0, Vec::new());
                let mut kept: Option<Client> = None;
                while !stop.load(Ordering::Relaxed) {
                    let answer = match kept.take() {
                        Some(client) => Ok(client),
                        None => Client::connect(address),
                    };
                    let answer = answer.and_then(|mut client| {
                        let answer = client.get("/")?;
                        Ok((client, answer))
                    });
                    asked += 1;
                    match answer {
                        Ok((client, answer)) if answer.status == 200 => {
                            let last = answer.header("connection") == Some("close");
                            kept = (!last).then_some(client);
                        }
                        Ok((_, answer)) => failed.push(format!("{}", answer.status)),
                        Err(error) => failed.push(error.to_string()),
                    }
                }
                (asked, failed)
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// The number of requests; none may have failed.
    #[track_caller]
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut asked = 0;
        for client in self.clients {
            let (more, failed) = client.join().unwrap();
            assert!(failed.is_empty(), "{failed:?}");
            asked += more;
        }
        asked
    }
}

/// The names of the children of a supervisor.
pub(crate) fn children(daemon: &TestDaemon, supervisor: &str) -> Vec<String> {
    let tree = daemon.tree();
    let children = node(&tree, supervisor).unwrap()["children"].clone();
    let children = children.as_array().cloned().unwrap_or_default();
    let names = children
        .iter()
        .map(|child| child["name"].as_str().unwrap().to_owned());
    names.collect()
}

/// How often in a row a daemon must be found with the same threads and descriptors to be at rest: it opens folders for a moment
/// about once a second.
const SAME_LOOKS: usize = 5;

/// The threads of a daemon by their names, and what its open descriptors lead to, without numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holdings(Vec<String>);

impl Holdings {
    fn of(daemon: &TestDaemon) -> Self {
        let folder = |what: &str| {
            let entries = fs::read_dir(format!("/proc/{}/{what}", daemon.pid())).unwrap();
            entries.map(|entry| entry.unwrap().path())
        };
        // What ends meanwhile is not counted.
        let threads = folder("task").filter_map(|task| fs::read_to_string(task.join("comm")).ok());
        let files = folder("fd").filter_map(|file| fs::read_link(file).ok());
        let files = files.map(|file| file.display().to_string());
        let names = threads.chain(files);
        let mut names: Vec<_> = names
            .map(|name| {
                name.trim()
                    .replace(|letter: char| letter.is_ascii_digit(), "")
            })
            .collect();
        names.sort();
        Self(names)
    }

    /// What a daemon holds once it has read what is stored, for which it opens files.
    pub(crate) fn at_rest(daemon: &TestDaemon) -> Self {
        daemon.wait_for_log("everything that is stored was read");
        let looks = RefCell::new(Vec::new());
        daemon.wait_until("it holds the same for a while", |daemon| {
            let mut looks = looks.borrow_mut();
            let look = Self::of(daemon);
            if looks.last() != Some(&look) {
                looks.clear();
            }
            looks.push(look);
            looks.len() == SAME_LOOKS
        });
        looks.into_inner().swap_remove(0)
    }

    /// Waits until the daemon holds just this again.
    #[track_caller]
    pub(crate) fn wait_until_again(&self, daemon: &TestDaemon) {
        let last = RefCell::new(None);
        let again = daemon.comes_true(|daemon| {
            let now = Self::of(daemon);
            let again = now == *self;
            last.replace(Some(now));
            again
        });
        assert!(again, "before: {self:#?}, now: {:#?}", last.into_inner());
    }
}

pub(crate) fn listen(addresses: &[&str]) -> String {
    format!("{addresses:?}")
}

/// An address at which nobody listens now.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[test]
fn an_address_is_added_and_removed_and_kept_connections_live_on() {
    let (first, second) = (free_address(), free_address());
    let both = listen(&[&first.to_string(), &second.to_string()]);
    let one = listen(&[&first.to_string()]);
    let daemon = start(&[("listen", &one)]);
    assert!(TcpStream::connect(second).is_err());
    let before = Holdings::at_rest(&daemon);
    rewrite(&daemon, &[("listen", &both)]);
    reload(&daemon).expect(200);
    client::get(second, "/").expect(200);
    assert_eq!(children(&daemon, "listeners").len(), 4);
    let added = daemon.tree();
    assert_eq!(node(&added, "listener-3").unwrap()["change"], "added");
    let mut kept = Client::connect(second).unwrap();
    kept.get("/").unwrap().expect(200);
    rewrite(&daemon, &[("listen", &one)]);
    reload(&daemon).expect(200);
    assert!(TcpStream::connect(second).is_err(), "it is refused at once");
    kept.get("/").unwrap().expect(200);
    client::get(first, "/").expect(200);
    assert_eq!(children(&daemon, "listeners"), ["listener-0", "listener-1"]);
    drop(kept);
    before.wait_until_again(&daemon);
    daemon.wait_for_log("reload: no longer listening");
}

#[test]
fn an_address_that_is_taken_refuses_the_whole_reload() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let (first, second) = (free_address(), free_address());
    let daemon = start(&[("listen", &listen(&[&first.to_string()]))]);
    let socket = daemon.folder().join("http.sock");
    let unix = format!("unix:{}", socket.display());
    let (before, tree) = (Holdings::at_rest(&daemon), children(&daemon, "listeners"));
    let wanted = listen(&[&second.to_string(), &unix, &taken]);
    rewrite(&daemon, &[("listen", &wanted), ("handlers", "3")]);
    let refused = reload(&daemon);
    let reasons = refused.clone().json()["reasons"].to_string();
    assert_eq!(refused.expect_problem(422), "invalid_settings");
    assert!(
        reasons.contains(&format!("cannot listen on {taken}")),
        "{reasons}"
    );
    assert!(TcpStream::connect(second).is_err());
    assert!(!socket.exists());
    assert_eq!(children(&daemon, "listeners"), tree);
    assert_eq!(
        children(&daemon, "request-handlers"),
        ["handler-0", "handler-1"]
    );
    before.wait_until_again(&daemon);
    client::get(first, "/").expect(200);
    client::get(daemon.admin(), "/readyz").expect(200);
    drop(other);
    reload(&daemon).expect(200);
    client::get(taken.parse().unwrap(), "/").expect(200);
}

#[test]
fn a_unix_socket_comes_and_goes_with_its_file() {
    let address = free_address().to_string();
    let daemon = start(&[("listen", &listen(&[&address]))]);
    let path = daemon.folder().join("http.sock");
    let unix = format!("unix:{}", path.display());
    for _ in 0..2 {
        rewrite(&daemon, &[("listen", &listen(&[&unix, &address]))]);
        reload(&daemon).expect(200);
        let mut kept = Client::connect_unix(&path).unwrap();
        kept.get("/").unwrap().expect(200);
        rewrite(&daemon, &[("listen", &listen(&[&address]))]);
        reload(&daemon).expect(200);
        assert!(!path.exists());
        kept.get("/").unwrap().expect(200);
    }
    let log = daemon.stderr();
    assert!(!log.contains("was removed or replaced"), "{log}");
}

/// `0.0.0.0` can't be bound beside `127.0.0.1` at the same port, but it can follow it.
#[test]
fn an_address_can_be_widened_and_narrowed_under_load() {
    let address = free_address();
    let all = format!("0.0.0.0:{}", address.port());
    let public = "path = \"/books\"\naccess = \"public\"";
    let settings = |daemon: &TestDaemon, listen_at: &str| {
        rewrite(daemon, &[("listen", &listen(&[listen_at]))]);
        let text = fs::read_to_string(daemon.config()).unwrap();
        fs::write(daemon.config(), text.replace("path = \"/books\"", public)).unwrap();
    };
    let mut daemon = TestDaemon::prepare("");
    settings(&daemon, &address.to_string());
    daemon.spawn();
    daemon.wait_ready();
    let before = Holdings::at_rest(&daemon);
    let load = Load::start(address, 4);
    for listen_at in [all, address.to_string()] {
        settings(&daemon, &listen_at);
        reload(&daemon).expect(200);
        client::get(address, "/").expect(200);
    }
    assert!(load.stop() > 0);
    before.wait_until_again(&daemon);
}

#[test]
fn handlers_come_and_go_under_load_and_no_request_fails() {
    let daemon = start(&[("handlers", "2")]);
    let before = Holdings::at_rest(&daemon);
    let load = Load::start(daemon.public(), 16);
    let counted = |daemon: &TestDaemon| {
        let metrics = daemon.metrics();
        metric(&metrics, "perennial_http_requests_total", "route=\"/\"").unwrap_or_default()
    };
    let mut requests = 0.0;
    for handlers in [4, 1, 3, 2] {
        rewrite(&daemon, &[("handlers", &handlers.to_string())]);
        let reloaded = reload(&daemon).expect(200).json();
        assert_eq!(reloaded["applied"], true);
        client::get(daemon.admin(), "/readyz").expect(200);
        daemon.wait_until("as many as wanted", |daemon| {
            children(daemon, "request-handlers").len() == handlers
        });
        assert_eq!(children(&daemon, "listeners").len(), handlers);
        let now = counted(&daemon);
        assert!(now >= requests, "{now} after {requests}");
        requests = now;
        daemon.wait_until("it goes on", |daemon| counted(daemon) > requests);
    }
    assert!(load.stop() > 0);
    before.wait_until_again(&daemon);
}

#[test]
fn a_handler_that_goes_ends_what_it_has_begun_and_blocks_nobody() {
    let daemon = start(&[("handlers", "2")]);
    // Each request waits for the rest of its body, so this test says when it ends.
    let head = "POST /books HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    // So many that each handler has some: one has at most 64 more than the other.
    let mut clients: Vec<_> = (0..140)
        .map(|_| Client::connect_with(daemon.public(), Duration::from_secs(20)).unwrap())
        .collect();
    for client in &mut clients {
        client.write(head.as_bytes()).unwrap();
    }
    let in_flight = |daemon: &TestDaemon, requests: &str| {
        let metrics = daemon.metrics();
        metrics.contains(&format!("perennial_http_requests_in_flight {requests}\n"))
    };
    daemon.wait_until("all are in flight", |daemon| in_flight(daemon, "140"));
    rewrite(&daemon, &[("handlers", "1")]);
    reload(&daemon).expect(200);
    assert!(in_flight(&daemon, "140"), "it waits for no request");
    client::get(daemon.admin(), "/readyz").expect(200);
    let tree = daemon.tree();
    assert_eq!(node(&tree, "handler-1").unwrap()["change"], "removed");
    // The number of the one that still drains is not given again.
    rewrite(&daemon, &[("handlers", "2")]);
    reload(&daemon).expect(200);
    let names = children(&daemon, "request-handlers");
    assert_eq!(names, ["handler-0", "handler-1", "handler-2"]);
    for client in &mut clients {
        client.write(b"}").unwrap();
    }
    let answers = clients
        .iter_mut()
        .map(|client| client.read_answer(false).unwrap().expect(201));
    let last: Vec<_> = answers
        .map(|answer| answer.header("connection") == Some("close"))
        .collect();
    assert!(last.contains(&true) && last.contains(&false), "{last:?}");
    daemon.wait_until("the old one is gone", |daemon| {
        children(daemon, "request-handlers") == ["handler-0", "handler-2"]
    });
}

#[test]
fn the_admin_listener_moves_and_the_answer_to_the_reload_still_arrives() {
    let daemon = start(&[]);
    let old = daemon.admin();
    let socket = daemon.folder().join("admin.sock");
    let new = free_address();
    rewrite(&daemon, &[("admin", &format!("'{new}'"))]);
    let reloaded = client::post(old, "/reload", &Value::Null)
        .expect(200)
        .json();
    assert_eq!(reloaded["admin"], format!("http://{new}"));
    client::get(new, "/readyz").expect(200);
    daemon.wait_until("the old one is gone", |_| TcpStream::connect(old).is_err());
    let names = ["admin-handler", "admin-listener-1", "settings"];
    daemon.wait_until("it is the only one", |_| {
        let tree = client::get(new, "/supervisor").json();
        let admin = node(&tree, "admin").unwrap()["children"].clone();
        let found = admin.as_array().unwrap().iter();
        found.map(|child| child["name"].as_str().unwrap()).eq(names)
    });
    rewrite(
        &daemon,
        &[("admin", &format!("'unix:{}'", socket.display()))],
    );
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(daemon.config());
    let output = command
        .args(["reload", "--admin", &new.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = format!(
        "the admin listener is at unix:{} from now on",
        socket.display()
    );
    assert!(text.contains(&told), "{text}");
    let mut over_unix = Client::connect_unix(&socket).unwrap();
    over_unix.get("/readyz").unwrap().expect(200);
}

const MANY_DEATHS: &str = "
[chaos]
enabled = true
[supervision]
max_restarts = { count = 1000, within = \"1s\" }
";

/// Whatever dies in the middle: all of the old, or all of the new.
#[test]
fn a_reload_that_dies_leaves_all_of_the_old_children_or_all_of_the_new_ones() {
    let (first, second) = (free_address(), free_address());
    let old = [
        ("listen", listen(&[&first.to_string()])),
        ("handlers", "2".to_owned()),
    ];
    let new = [
        ("listen", listen(&[&second.to_string()])),
        ("handlers", "3".to_owned()),
    ];
    let mut daemon = TestDaemon::prepare("");
    let write = |daemon: &TestDaemon, settings: &[(&'static str, String)]| {
        let server: Vec<_> = settings
            .iter()
            .map(|(key, value)| (*key, &**value))
            .collect();
        rewrite(daemon, &server);
        let text = fs::read_to_string(daemon.config()).unwrap();
        fs::write(daemon.config(), text + MANY_DEATHS).unwrap();
    };
    write(&daemon, &old);
    daemon.spawn();
    daemon.wait_ready();
    let before = Holdings::at_rest(&daemon);
    for (point, is_new) in [
        ("reload.loaded", false),
        ("reload.built", false),
        ("reload.started", false),
        ("reload.adopted", true),
        ("reload.replaced", true),
        ("reload.removed", true),
    ] {
        // An order is delivered twice. If the first death is behind the step that decides, the second time finds nothing to do.
        let (deaths, status) = if is_new { (1, 200) } else { (2, 500) };
        daemon.chaos(&json!({"point": point, "hits": deaths}));
        write(&daemon, &new);
        assert_eq!(reload(&daemon).status, status, "{point}");
        let (in_force, other) = if is_new {
            (second, first)
        } else {
            (first, second)
        };
        let handlers = if is_new { 3 } else { 2 };
        daemon.wait_until("one state alone", |daemon| {
            let settled = children(daemon, "request-handlers").len() == handlers
                && children(daemon, "listeners").len() == handlers;
            settled && TcpStream::connect(other).is_err() && running(&daemon.tree())
        });
        client::get(in_force, "/").expect(200);
        write(&daemon, &old);
        reload(&daemon).expect(200);
        before.wait_until_again(&daemon);
        client::get(first, "/").expect(200);
    }
}
