//! Starts the real binary in a temporary folder, on ports that the kernel chooses, and reads its log.

mod stderr;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{self, Response};
use stderr::{Lines, Stderr};

/// The daemon's binary: the one that cargo built with the tests, or the one that `PERENNIAL_BINARY` names.
pub(crate) const BINARY: Binary = Binary;

/// See [`BINARY`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binary;

impl AsRef<OsStr> for Binary {
    fn as_ref(&self) -> &OsStr {
        static PATH: OnceLock<OsString> = OnceLock::new();
        PATH.get_or_init(|| {
            let named = env::var_os("PERENNIAL_BINARY");
            named.unwrap_or_else(|| env!("CARGO_BIN_EXE_perennial").into())
        })
    }
}

const START: Duration = Duration::from_secs(20);

/// A daemon under test. Dropping it kills the process, and prints its stderr if the test failed.
#[derive(Debug)]
pub(crate) struct TestDaemon {
    folder: TempDir,
    wrapper: Vec<String>,
    stdin: Option<OwnedFd>,
    process: Option<Child>,
    stderr: Arc<Stderr>,
}

/// Settings that serve the folder `site` at `/` and the resource `books`; `more` is appended to the TOML.
pub(crate) fn toml(folder: &Path, more: &str) -> String {
    toml_with(folder, &folder.join("data"), more)
}

fn toml_with(folder: &Path, data: &Path, more: &str) -> String {
    let site = folder.join("site");
    format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
data = '{}'
handlers = 2

[route."/"]
files = {{ root = '{}' }}

[resource.books]
path = "/books"

{more}
"#,
        data.display(),
        site.display()
    )
}

impl TestDaemon {
    /// Writes a page and the settings into a temporary folder; does not start the daemon.
    pub(crate) fn prepare(more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("site")).unwrap();
        fs::write(folder.path().join("site/index.html"), "<h1>first</h1>").unwrap();
        let text = toml(folder.path(), more);
        fs::write(folder.path().join("perennial.toml"), text).unwrap();
        Self {
            folder,
            wrapper: Vec::new(),
            stdin: None,
            process: None,
            stderr: Arc::default(),
        }
    }

    /// As `prepare`, with the data folder at `data`.
    pub(crate) fn prepare_on(data: &Path, more: &str) -> Self {
        let daemon = Self::prepare("");
        let text = toml_with(daemon.folder.path(), data, more);
        fs::write(daemon.config(), text).unwrap();
        daemon
    }

    /// As `prepare`, with the shipped `config/perennial.toml`; only its ports and its data folder are replaced.
    pub(crate) fn prepare_shipped() -> Self {
        let mut daemon = Self::prepare("");
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/perennial.toml");
        fs::copy(shipped, daemon.config()).unwrap();
        let data = daemon.folder.path().join("data");
        let data = format!("PERENNIAL__SERVER__DATA={}", data.display());
        daemon.run_under(&[
            "env",
            "PERENNIAL__SERVER__LISTEN=127.0.0.1:0",
            "PERENNIAL__SERVER__ADMIN=127.0.0.1:0",
            &data,
        ]);
        daemon
    }

    /// Prepares and starts a daemon, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(more: &str) -> Self {
        let mut daemon = Self::prepare(more);
        daemon.spawn();
        daemon.wait_ready();
        daemon
    }

    /// From the next start on, runs the daemon under this command, such as `strace -D`.
    pub(crate) fn run_under(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
    }

    /// From the next start on, the machine seems to have been started again: it has another boot id. Needs root.
    pub(crate) fn boot_again(&mut self) {
        let id = self.folder().join("boot_id");
        fs::write(&id, format!("{}\n", uuid::Uuid::now_v7())).unwrap();
        let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
        self.run_under(&["unshare", "-m", "sh", "-c", script, id.to_str().unwrap()]);
    }

    /// From the next start on, passes this descriptor as standard input; a wrapper can move it to another number.
    pub(crate) fn set_stdin(&mut self, descriptor: OwnedFd) {
        self.stdin = Some(descriptor);
    }

    /// Starts the process, on the same data if it ran before, and does not wait until it is ready.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "the daemon is already running");
        let words = self.wrapper.iter().map(OsStr::new);
        let mut words = words.chain([BINARY.as_ref()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command.arg("--config").arg(self.config()).arg("serve");
        let stdin = self.stdin.as_ref().map(|stdin| stdin.try_clone().unwrap());
        command.env("NO_COLOR", "1");
        command.stdin(stdin.map_or_else(Stdio::null, Stdio::from));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        self.stderr = Stderr::read(process.stderr.take().unwrap());
        self.process = Some(process);
    }

    /// Starts it again on the same data and waits until it is ready.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Whether the store is open: a view that is made again takes its time.
    pub(crate) fn is_open(&self) -> bool {
        client::get(self.admin(), "/readyz/storage").status == 200
    }

    /// Starts it again on the same data and waits until its store is open.
    #[track_caller]
    pub(crate) fn restart_to_open(&mut self) {
        self.restart();
        self.wait_until("the store is open", Self::is_open);
    }

    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        let (lines, ready) = self.stderr.wait(START, |lines| lines.ready);
        let why = if lines.ended {
            "the process ended"
        } else {
            "timed out"
        };
        // Unlocked first: a failing test prints the lines.
        drop(lines);
        assert!(ready, "the daemon is not ready: {why}");
    }

    /// Looks again and again until `there` is true of the daemon.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, there: impl Fn(&Self) -> bool) {
        assert!(self.comes_true(there), "never: {what}");
    }

    /// Waits until this is true; false if it takes too long.
    pub(crate) fn comes_true(&self, there: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + START;
        while !there(self) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Waits until a line of stderr contains this.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        let contains = |line: &String| line.contains(text);
        let found = |lines: &Lines| lines.all.iter().any(contains);
        let (_, found) = self.stderr.wait(START, found);
        assert!(found, "stderr never contained {text:?}");
    }

    /// Waits until the daemon is ready; returns its stderr if it ended instead.
    pub(crate) fn ready_or_ended(&self) -> Result<(), String> {
        match self.stderr.wait(START, |lines| lines.ready) {
            (_, true) => Ok(()),
            (lines, false) => Err(lines.text()),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("perennial.toml")
    }

    /// The path of a file in the served folder.
    pub(crate) fn site(&self, name: &str) -> PathBuf {
        self.folder.path().join("site").join(name)
    }

    #[track_caller]
    pub(crate) fn public(&self) -> SocketAddr {
        *self.stderr.lines().listening.first().unwrap()
    }

    /// The first address that speaks TLS.
    #[track_caller]
    pub(crate) fn tls(&self) -> SocketAddr {
        *self.stderr.lines().tls.first().unwrap()
    }

    /// All public TCP addresses.
    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
        self.stderr.lines().listening.clone()
    }

    #[track_caller]
    pub(crate) fn admin(&self) -> SocketAddr {
        self.stderr.lines().admin.unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lines().text()
    }

    /// Waits until the process has ended, and returns its stderr from the first line that contains this text.
    #[track_caller]
    pub(crate) fn stderr_from(&self, text: &str) -> String {
        let (lines, ended) = self.stderr.wait(START, |lines| lines.ended);
        let from = lines.all.iter().position(|line| line.contains(text));
        let found = from.map(|from| lines.all[from..].join("\n"));
        drop(lines);
        assert!(ended, "the process has not ended");
        found.unwrap_or_else(|| panic!("stderr does not contain {text:?}"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success(), "kill {signal} {pid}");
    }

    pub(crate) fn sigterm(&self) {
        self.signal("-TERM");
    }

    pub(crate) fn sighup(&self) {
        self.signal("-HUP");
    }

    pub(crate) fn sigusr1(&self) {
        self.signal("-USR1");
    }

    /// Kills the process and waits for its end, so that its lock on the data folder is released.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// The exit status, if the process has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.try_wait().unwrap()?;
        self.process = None;
        Some(status)
    }

    #[track_caller]
    pub(crate) fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let until = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(Instant::now() < until, "still running after {timeout:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        client::get(self.public(), path)
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        client::post(self.public(), path, body)
    }

    /// The tree of children, from `/supervisor`.
    #[track_caller]
    pub(crate) fn tree(&self) -> Value {
        client::get(self.admin(), "/supervisor").expect(200).json()
    }

    /// The text of `/metrics`.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        client::get(self.admin(), "/metrics").expect(200).text()
    }

    /// Orders one fault by `POST /chaos`.
    #[track_caller]
    pub(crate) fn chaos(&self, order: &Value) {
        client::post(self.admin(), "/chaos", order).expect(204);
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let killed = process.kill().and_then(|()| process.wait());
            if let Err(error) = killed {
                eprintln!("the daemon could not be killed: {error}");
            }
        }
        if thread::panicking() {
            let stderr = self.stderr();
            let lines: Vec<_> = stderr.lines().collect();
            let tail = &lines[lines.len().saturating_sub(200)..];
            eprintln!("--- stderr of the daemon:\n{}\n---", tail.join("\n"));
        }
    }
}

/// Finds the node `name` in a tree.
pub(crate) fn node<'a>(tree: &'a Value, name: &str) -> Option<&'a Value> {
    if tree["name"] == name {
        return Some(tree);
    }
    let children = tree["children"].as_array()?;
    children.iter().find_map(|child| node(child, name))
}

/// Whether this node and all nodes below it are running.
pub(crate) fn running(tree: &Value) -> bool {
    let children = tree["children"].as_array().cloned().unwrap_or_default();
    tree["state"] == "running" && children.iter().all(running)
}

/// The generation of the child `name`: 1 until its first restart.
#[track_caller]
pub(crate) fn generation(tree: &Value, name: &str) -> u64 {
    node(tree, name)
        .and_then(|node| node["generation"].as_u64())
        .unwrap_or_else(|| panic!("no generation of {name} in {tree}"))
}

/// How often `name` was restarted, for any cause.
pub(crate) fn restarts(tree: &Value, name: &str) -> u64 {
    let counts = node(tree, name).and_then(|node| node["restarts"].as_object());
    counts.map_or(0, |counts| counts.values().filter_map(Value::as_u64).sum())
}

/// The sum of the samples of `metric` whose labels contain `label`; `None` if there is no such sample.
pub(crate) fn metric(text: &str, metric: &str, label: &str) -> Option<f64> {
    let values: Vec<f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| series.split('{').next() == Some(metric) && series.contains(label))
        .filter_map(|(_, value)| value.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}
