//! Folders and files that hang, vanish, fail or change while they are served.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{self, Client};
use crate::daemon::{self, TestDaemon, metric};
use crate::required::skip;

const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `done` holds.
#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A daemon with these routes beside `/`; `FOLDER` stands for the folder of the test.
fn start(routes: &str) -> TestDaemon {
    let mut daemon = TestDaemon::prepare("");
    fs::create_dir(daemon.folder().join("media")).unwrap();
    fs::write(daemon.folder().join("media/a.txt"), "in memory").unwrap();
    fs::write(daemon.folder().join("media/b.txt"), "never read").unwrap();
    let folder = daemon.folder().display().to_string();
    let text = daemon::toml(daemon.folder(), &routes.replace("FOLDER", &folder));
    fs::write(daemon.config(), text).unwrap();
    daemon.restart();
    daemon
}

const MEDIA: &str = "[route.\"/media\"]\nfiles = { root = 'FOLDER/media' }\n";

/// A file system that answers nothing: every call on it hangs until it is dropped.
pub(crate) struct HungMount {
    place: PathBuf,
    connection: Option<File>,
}

impl HungMount {
    /// Mounts it over a folder. `None` where that is not possible, unless the gate requires it.
    pub(crate) fn over(place: &Path) -> Option<Self> {
        let mounted = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .and_then(|connection| {
                let stdin = connection.try_clone()?;
                let options = "fd=0,rootmode=40000,user_id=0,group_id=0";
                let mut mount = Command::new("mount");
                mount.args(["-i", "-t", "fuse", "-o", options, "hung"]);
                let status = mount.arg(place).stdin(Stdio::from(stdin)).status()?;
                Ok(status.success().then_some(connection))
            });
        let connection = match mounted {
            Ok(Some(connection)) => connection,
            other => {
                skip(&format!("a FUSE file system can't be mounted: {other:?}"));
                return None;
            }
        };
        Some(Self {
            place: place.to_owned(),
            connection: Some(connection),
        })
    }

    /// Takes it away without an answer: calls that hang go on hanging.
    fn detach(&self) {
        let umount = Command::new("umount").arg("-l").arg(&self.place).status();
        assert!(umount.unwrap().success());
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        // Calls that hang fail with ENOTCONN now.
        drop(self.connection.take());
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(&self.place).stderr(Stdio::null());
        drop(umount.status());
    }
}

/// Asks for new files of a healthy route, and fails the test if one of them is late.
fn other_files_are_served(daemon: &TestDaemon, round: &str) {
    for n in 0..20 {
        let name = format!("{round}-{n}.txt");
        fs::write(daemon.site(&name), "elsewhere").unwrap();
        let begun = Instant::now();
        let answer = daemon.get(&format!("/{name}")).expect(200);
        assert_eq!(answer.text(), "elsewhere");
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(500), "{round} {n}: {took:?}");
    }
}

#[test]
fn a_folder_that_hangs_stops_neither_the_check_nor_the_start() {
    let mut daemon = start(MEDIA);
    daemon.kill9();
    let Some(_hung) = HungMount::over(&daemon.folder().join("media")) else {
        return;
    };
    let mut check = Command::new(daemon::BINARY);
    let output = check.arg("check").arg(daemon.config()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("media does not answer"), "{told}");
    daemon.spawn();
    daemon.wait_for_log("media does not answer");
    daemon.wait_ready();
    other_files_are_served(&daemon, "started");
    daemon.get("/media/a.txt").expect_problem(503);
}

#[test]
fn one_folder_that_hangs_stops_no_other_route() {
    let daemon = start(MEDIA);
    daemon.get("/media/a.txt").expect(200);
    client::get(daemon.admin(), "/readyz").expect(200);
    thread::sleep(Duration::from_millis(1100));
    let Some(hung) = HungMount::over(&daemon.folder().join("media")) else {
        return;
    };
    let public = daemon.public();
    let waiting: Vec<_> = (0..40)
        .map(|n| thread::spawn(move || client::get(public, &format!("/media/{n}.txt"))))
        .collect();
    other_files_are_served(&daemon, "during");
    for answer in waiting {
        let answer = answer.join().unwrap();
        assert!(answer.header("retry-after").is_some());
        answer.expect_problem(503);
    }
    // From now on nobody waits.
    for _ in 0..50 {
        let begun = Instant::now();
        let kept = daemon.get("/media/a.txt").expect(200);
        assert_eq!(kept.text(), "in memory");
        daemon.get("/media/b.txt").expect_problem(503);
        assert!(begun.elapsed() < Duration::from_millis(500));
    }
    other_files_are_served(&daemon, "afterwards");
    let ready = client::get(daemon.admin(), "/readyz").expect(503);
    assert!(ready.text().contains("files:/media"), "{}", ready.text());
    assert_eq!(ready.json()["parts"]["files:/"], true, "{}", ready.text());
    client::get(daemon.admin(), "/readyz/files:/").expect(200);
    client::get(daemon.admin(), "/readyz/files:/media").expect(503);
    client::get(daemon.admin(), "/readyz?exclude=files:/media").expect(200);
    let text = daemon.metrics();
    let healthy = |route| metric(&text, "perennial_file_root_healthy", route);
    assert_eq!(healthy("root=\"/\""), Some(1.0));
    assert_eq!(healthy("root=\"/media\""), Some(0.0));
    let stale = metric(&text, "perennial_file_root_stale_answers_total", "/media");
    assert!(stale >= Some(50.0), "{stale:?}");
    let stuck = metric(&text, "perennial_file_root_stuck_calls", "/media").unwrap();
    assert!((1.0..=24.0).contains(&stuck), "{stuck}");

    drop(hung);
    until("it is ready again", || {
        client::get(daemon.admin(), "/readyz").status == 200
    });
    assert_eq!(daemon.get("/media/b.txt").expect(200).text(), "never read");
    let log = daemon.stderr();
    for line in ["folder of a route does not answer", "can be read again"] {
        let told = log.lines().filter(|told| told.contains(line)).count();
        assert!((1..=2).contains(&told), "{told} times {line:?}:\n{log}");
    }
    let tree = daemon.tree();
    assert_eq!(daemon::restarts(&tree, "file-cache"), 0);
}

#[test]
fn a_folder_whose_calls_never_come_back_is_served_when_it_is_mounted_anew() {
    let mut daemon = start(MEDIA);
    let Some(hung) = HungMount::over(&daemon.folder().join("media")) else {
        return;
    };
    let public = daemon.public();
    let waiting: Vec<_> = (0..40)
        .map(|n| thread::spawn(move || client::get(public, &format!("/media/{n}.txt")).status))
        .collect();
    let answers: Vec<_> = waiting.into_iter().map(|one| one.join().unwrap()).collect();
    assert_eq!(answers, vec![503; 40]);
    hung.detach();
    until("its new state is served", || {
        daemon.get("/media/b.txt").status == 200
    });
    let stuck = metric(
        &daemon.metrics(),
        "perennial_file_root_stuck_calls",
        "/media",
    );
    assert!(stuck >= Some(1.0), "they are still counted: {stuck:?}");
    // Threads that hang do not keep the daemon from stopping.
    daemon.sigterm();
    let status = daemon.wait_exit(PATIENCE);
    assert!(status.success(), "{status}");
    drop(hung);
}

#[test]
fn a_folder_that_is_moved_away_is_a_503_and_never_the_welcome_page() {
    let daemon = start(MEDIA);
    daemon.get("/").expect(200);
    let (site, away) = (daemon.site(""), daemon.folder().join("away"));
    let replaced = ["missing", "a file", "a link to nowhere"];
    for what in replaced {
        let place = site.to_str().unwrap().trim_end_matches('/');
        fs::rename(place, &away).unwrap();
        match what {
            "a file" => fs::write(place, "no folder").unwrap(),
            "a link to nowhere" => symlink("nowhere", place).unwrap(),
            _ => {}
        }
        until("it is noticed", || daemon.get("/").status != 200);
        for path in ["/", "/index.html", "/other.html", "/deep/"] {
            let answer = daemon.get(path);
            assert!(answer.header("retry-after").is_some(), "{what}: {path}");
            assert!(!answer.text().contains("<html"), "{what}: {path}");
            assert_eq!(answer.expect_problem(503), "not_ready");
        }
        let ready = client::get(daemon.admin(), "/readyz").expect(503);
        assert!(ready.text().contains("files:/"), "{}", ready.text());
        assert_eq!(ready.json()["parts"]["files:/media"], true);
        daemon.get("/media/a.txt").expect(200);
        if fs::symlink_metadata(place).is_ok() {
            fs::remove_file(place).unwrap();
        }
        fs::rename(&away, place).unwrap();
        until("it is back", || daemon.get("/").status == 200);
        until("it is ready again", || {
            client::get(daemon.admin(), "/readyz").status == 200
        });
    }
    let log = daemon.stderr();
    let told = log.lines().filter(|line| line.contains("can't be read"));
    assert_eq!(told.count(), replaced.len(), "once for each time:\n{log}");
}

/// Makes calls on one path fail, in a daemon that runs.
struct Failing(Child);

impl Failing {
    fn on(daemon: &TestDaemon, path: &Path, calls: &str, error: &str) -> Option<Self> {
        let inject = format!("inject={calls}:error={error}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-p", &daemon.pid().to_string()]);
        strace.args(["-e", &format!("trace={calls}"), "-e", &inject, "-P"]);
        strace.arg(path).stderr(Stdio::piped());
        let mut process = strace.spawn().ok()?;
        let mut said = [0; 200];
        // It says that it has attached, or why not.
        let length = process.stderr.as_mut().unwrap().read(&mut said).unwrap();
        let said = String::from_utf8_lossy(&said[..length]).into_owned();
        if said.contains("attached") {
            return Some(Self(process));
        }
        skip(&format!("strace may not trace: {said}"));
        process.wait().unwrap();
        None
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let pid = self.0.id().to_string();
        drop(Command::new("kill").args(["-INT", &pid]).status());
        drop(self.0.wait());
    }
}

#[test]
fn a_page_in_memory_outlives_errors_of_its_file() {
    let daemon = start("");
    daemon.get("/").expect(200);
    let page = fs::canonicalize(daemon.site("index.html")).unwrap();
    for (round, error) in ["EIO", "EMFILE", "ESTALE", "EACCES", "ENOMEM"]
        .iter()
        .enumerate()
    {
        let calls = "readlink,readlinkat,openat,statx,newfstatat,lstat";
        let Some(failing) = Failing::on(&daemon, &page, calls, error) else {
            return;
        };
        let mut client = Client::connect(daemon.public()).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(2500) {
            client.get("/").unwrap().expect(200);
            thread::sleep(Duration::from_millis(50));
        }
        let log = daemon.stderr();
        let told = log.lines().filter(|line| line.contains("copy in memory"));
        assert_eq!(
            told.count(),
            round + 1,
            "{error}: once for each time:\n{log}"
        );
        drop(failing);
        let text = format!("after {error}");
        fs::write(&page, &text).unwrap();
        until("the file is looked at again", || {
            client.get("/").unwrap().expect(200).text() == text
        });
    }
    let log = daemon.stderr();
    for number in [5, 24, 116, 12] {
        assert!(log.contains(&format!("(os error {number})")), "{log}");
    }
    fs::remove_file(&page).unwrap();
    until("a file that is gone is gone", || {
        daemon.get("/").status == 404
    });
}

#[test]
fn a_file_that_may_not_be_read_is_a_403_and_no_line_in_the_log() {
    let daemon = start("");
    let secret = fs::canonicalize(daemon.site(""))
        .unwrap()
        .join("secret.txt");
    fs::write(&secret, "secret").unwrap();
    let Some(_failing) = Failing::on(&daemon, &secret, "openat", "EACCES") else {
        return;
    };
    for _ in 0..20 {
        let code = daemon.get("/secret.txt").expect_problem(403);
        assert_eq!(code, "forbidden");
    }
    let log = daemon.stderr();
    let ready = log.split(" ready").last().unwrap();
    assert!(!ready.contains("ERROR") && !ready.contains("WARN"), "{log}");
}

#[test]
fn a_large_file_keeps_its_tag_through_a_restart_and_gets_a_new_one_with_a_new_content() {
    let mut daemon = start("[file_cache]\nmax_file = '100 B'\n");
    let film = daemon.site("film.mp4");
    fs::write(&film, "a".repeat(1000)).unwrap();
    let modified = fs::metadata(&film).unwrap().modified().unwrap() - Duration::from_secs(60);
    let set_time = |path: &Path| {
        let opened = File::options().write(true).open(path).unwrap();
        opened.set_modified(modified).unwrap();
    };
    set_time(&film);
    let tag = |daemon: &TestDaemon| {
        let answer = daemon.get("/film.mp4").expect(200);
        answer.header("etag").unwrap().to_owned()
    };
    // A file that was changed a moment ago has a weak tag.
    until("its times can be trusted", || {
        !tag(&daemon).starts_with("W/")
    });
    let first = tag(&daemon);
    daemon.sigterm();
    daemon.wait_exit(PATIENCE);
    daemon.restart();
    assert_eq!(tag(&daemon), first);
    let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let mut tags = vec![opaque(&first)];
    for content in ["b", "c"] {
        // As rsync and tar do: a new file of the same length and time takes its place; then, as `cp -p`, the same file.
        let next = daemon.site("next.mp4");
        fs::write(&next, content.repeat(1000)).unwrap();
        set_time(&next);
        fs::rename(&next, &film).unwrap();
        tags.push(opaque(&tag(&daemon)));
        fs::write(&film, content.to_uppercase().repeat(1000)).unwrap();
        set_time(&film);
        tags.push(opaque(&tag(&daemon)));
    }
    let count = tags.len();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), count, "{tags:?}");
}

/// Begins a download and reads its head and the first bytes.
fn begin(daemon: &TestDaemon, path: &str) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(daemon.public()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut begun = vec![0; 64 * 1024];
    stream.read_exact(&mut begun).unwrap();
    (stream, begun)
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_sent_as_far_as_was_promised() {
    const LENGTH: usize = 40 << 20;
    let daemon = start("");
    let log = daemon.site("app.log");
    fs::write(&log, vec![b'x'; LENGTH]).unwrap();
    let (mut stream, mut all) = begin(&daemon, "/app.log");
    let mut writer = File::options().append(true).open(&log).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        writer.write_all(b"one more line\n").unwrap();
        let length = stream.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..length]);
    }
    let head = all.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(all.len() - head, LENGTH);
    assert!(all[head..].iter().all(|byte| *byte == b'x'));
}

#[test]
fn a_file_that_is_rewritten_or_cut_while_it_is_sent_breaks_off_and_is_named_in_the_log() {
    const LENGTH: usize = 40 << 20;
    let daemon = start("");
    let rewritten = [vec![b'y'; LENGTH], vec![b'y'; 2 * LENGTH], vec![b'y'; 100]];
    for (n, next) in rewritten.into_iter().enumerate() {
        let name = format!("film-{n}.mp4");
        fs::write(daemon.site(&name), vec![b'x'; LENGTH]).unwrap();
        let (mut stream, all) = begin(&daemon, &format!("/{name}"));
        fs::write(daemon.site(&name), next).unwrap();
        let mut rest = Vec::new();
        // The end may be a reset.
        let end = stream.read_to_end(&mut rest);
        let sent = all.len() + rest.len();
        assert!(end.is_err() || sent < LENGTH, "{sent} bytes and {end:?}");
        assert!(!rest.contains(&b'y'), "bytes of another state");
        daemon.wait_for_log(&name);
    }
}

#[test]
fn a_route_can_say_which_type_an_ending_has() {
    let daemon = start(
        "[route.\"/media\"]\nfiles = { root = 'FOLDER/media' }\n\
         types = { \".ts\" = 'text/x.typescript', \".d.ts\" = 'text/plain', \".foo\" = 'application/x-foo' }\n",
    );
    let media = daemon.folder().join("media");
    for name in ["a.ts", "a.d.ts", "B.FOO", "a.svgz"] {
        fs::write(media.join(name), name).unwrap();
        fs::write(daemon.site(name), name).unwrap();
    }
    for (path, expected) in [
        ("/media/a.ts", "text/x.typescript"),
        ("/media/a.d.ts", "text/plain"),
        ("/media/B.FOO", "application/x-foo"),
        ("/media/a.txt", "text/plain; charset=utf-8"),
        ("/a.ts", "video/mp2t"),
        ("/B.FOO", "application/octet-stream"),
        ("/a.svgz", "image/svg+xml"),
    ] {
        let answer = daemon.get(path).expect(200);
        assert_eq!(answer.header("content-type"), Some(expected), "{path}");
        let encoding = path.contains(".svgz").then_some("gzip");
        assert_eq!(answer.header("content-encoding"), encoding, "{path}");
    }
}
