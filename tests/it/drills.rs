//! Drills: tests that take minutes. `.ci/run` runs them; environment variables set how often they repeat.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::chaos::Chaos;
use crate::client::Client;
use crate::daemon::TestDaemon;
use crate::faults::{self, Pace};
use crate::load::{self, Acked, Mix, Traffic};
use crate::model::{self, Model, Writers};
use crate::required::skip;

pub(crate) fn count(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// Random durations. The seed is printed; `DRILL_SEED` repeats a run.
pub(crate) struct RandomDurations(u64);

impl RandomDurations {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = u64::from(now.expect("the clock is past 1970").subsec_nanos());
        let seed = count("DRILL_SEED", now) | 1;
        println!("DRILL_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        let limit = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.number_below(limit))
    }

    pub(crate) fn number_below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    /// One of these.
    pub(crate) fn one_of<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        let count = u64::try_from(these.len()).unwrap();
        &these[usize::try_from(self.number_below(count)).unwrap()]
    }
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn panics_of_each_child_under_load_fail_no_request() {
    let panics = count("DRILL_PANICS", 1000);
    faults::drill_all(Mix::large(), panics, Pace::AfterAnswers);
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn panics_of_each_child_fail_no_request_over_tls_with_a_key_a_rate_and_compression() {
    let panics = count("DRILL_PANICS", 1000) / 2;
    faults::drill_with_rules(Mix::large(), panics);
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn panics_back_to_back_are_answered_with_problems_and_lose_no_write() {
    let panics = count("DRILL_PANICS", 1000);
    faults::drill_all(Mix::large(), panics, Pace::BackToBack);
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn the_default_restart_limits_end_the_process_with_70() {
    for child in ["file-cache", "writer"] {
        let mut daemon = TestDaemon::start("[chaos]\nenabled = true\n");
        let traffic = Traffic::start(daemon.public(), Mix::writers(4));
        thread::sleep(Duration::from_millis(300));
        let (since, mut orders) = (Instant::now(), 0);
        let mut chaos = Chaos::new(daemon.admin());
        let status = loop {
            if let Some(status) = daemon.exited() {
                break status;
            }
            assert!(
                since.elapsed() < Duration::from_secs(180),
                "the daemon never gave up"
            );
            if chaos.ask(Some(&json!({ "child": child }))).is_some() {
                orders += 1;
            }
            thread::sleep(Duration::from_millis(20));
        };
        let took = since.elapsed();
        let outcome = traffic.stop();
        println!("{child}: {status} after {orders} ordered panics in {took:?}");
        assert_eq!(status.code(), Some(70), "{child}");
        assert!(!outcome.acked.is_empty(), "no write was acknowledged");
        daemon.restart();
        load::assert_kept(&outcome.acked, &load::tokens(daemon.public()));
        load::assert_unchanged(daemon.public(), &outcome.acked);
    }
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn kill_9_at_any_moment_loses_no_acknowledged_write() {
    let kills = count("DRILL_KILLS", 100);
    let mut durations = RandomDurations::new();
    let mut daemon = TestDaemon::prepare("");
    let mut acked = Acked::new();
    let (mut in_start, mut in_writes, mut slowest) = (0, 0, Duration::ZERO);
    for number in 0..kills {
        daemon.spawn();
        if number % 4 == 3 {
            in_start += 1;
            thread::sleep(durations.below(Duration::from_millis(60)));
            daemon.kill9();
            continue;
        }
        let since = Instant::now();
        daemon.wait_ready();
        slowest = slowest.max(since.elapsed());
        load::assert_kept(&acked, &load::tokens(daemon.public()));
        let traffic = Traffic::start(daemon.public(), Mix::writers(8));
        thread::sleep(Duration::from_millis(5) + durations.below(Duration::from_millis(250)));
        daemon.kill9();
        in_writes += 1;
        acked.extend(traffic.stop().acked);
    }
    daemon.restart();
    let kept = load::tokens(daemon.public());
    load::assert_kept(&acked, &kept);
    load::assert_unchanged(daemon.public(), &acked);
    println!(
        "kills: {in_writes} during writes, {in_start} during starts; {} writes acknowledged, {} records found, \
         0 lost, 0 applied twice; slowest start {slowest:?}",
        acked.len(),
        kept.len()
    );
    assert!(!acked.is_empty() || kills == 0, "no write was acknowledged");
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn kill_9_at_any_moment_keeps_every_acknowledged_change() {
    let kills = count("DRILL_KILLS", 500);
    let mut durations = RandomDurations::new();
    let mut daemon = TestDaemon::prepare("");
    let mut models: Vec<_> = (1..=8).map(Model::new).collect();
    let mut in_start = 0;
    for number in 0..kills {
        daemon.spawn();
        if number % 4 == 3 {
            in_start += 1;
            thread::sleep(durations.below(Duration::from_millis(60)));
            daemon.kill9();
            continue;
        }
        daemon.wait_ready();
        check(&mut models, &daemon);
        let writers = Writers::start(daemon.public(), models);
        thread::sleep(Duration::from_millis(5) + durations.below(Duration::from_millis(250)));
        daemon.kill9();
        models = writers.stop();
    }
    daemon.restart();
    check(&mut models, &daemon);
    let acknowledged: u64 = models.iter().map(|model| model.acknowledged).sum();
    println!(
        "kills: {} during writes, {in_start} during starts; {acknowledged} creates, replaces, patches and deletes \
         acknowledged, all found",
        kills - in_start
    );
    assert!(acknowledged > 0 || kills == 0, "no write was acknowledged");
}

#[track_caller]
fn check(models: &mut [Model], daemon: &TestDaemon) {
    for model in &mut *models {
        model.check(daemon.public());
    }
    let records: usize = models.iter().map(Model::len).sum();
    assert_eq!(
        model::total(daemon.public()),
        records,
        "the number of records"
    );
}

const TRACED: &str = "trace=pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg,fdatasync";
const RECORDS: usize = 20;

/// Whether strace works on this machine; prints why the test is skipped if not.
#[track_caller]
pub(crate) fn strace_available() -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "true"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let works = command.status().is_ok_and(|status| status.success());
    if !works {
        skip("strace is missing or not permitted");
    }
    works
}

#[test]
#[ignore = "needs strace: .ci/run runs it"]
fn a_disk_that_does_not_answer_ends_the_process_with_70() {
    if !strace_available() {
        return;
    }
    let settings = "[storage]\nflush_limit = \"1s\"\non_refusal = \"exit\"\n";
    let mut daemon = TestDaemon::prepare(settings);
    // The first sync belongs to the start; one of the next is delayed by 20 seconds.
    let hang = "inject=fdatasync:delay_enter=20000000:when=4";
    let options = ["-D", "-f", "-e", "trace=fdatasync", "-e", hang];
    daemon.run_under(&[&["strace", "-o", "/dev/null"][..], &options].concat());
    daemon.restart();
    let mut client = Client::connect(daemon.public()).unwrap();
    let begun = Instant::now();
    let answers = (0..10).map(|n| client.post("/books", &json!({ "n": n })).unwrap());
    let unknown = answers
        .map(|answer| (answer.status, answer.text()))
        .find(|(status, _)| *status != 201);
    let (status, text) = unknown.expect("one write waits for the disk");
    assert!(
        status == 503 && text.contains("outcome_unknown"),
        "{status} {text}"
    );
    let code = daemon.wait_exit(Duration::from_secs(60)).code();
    assert_eq!(code, Some(70), "{}", daemon.stderr());
    println!("the process ended with 70 after {:?}", begun.elapsed());
}

/// The disk hangs for longer than `storage.flush_limit`, but for most of that time the process does not run.
#[test]
#[ignore = "needs strace: .ci/run runs it"]
fn a_pause_of_the_process_during_a_commit_does_not_end_it() {
    if !strace_available() {
        return;
    }
    let settings = "[storage]\nflush_limit = \"2s\"\non_refusal = \"exit\"\n";
    let mut daemon = TestDaemon::prepare(settings);
    let hang = "inject=fdatasync:delay_enter=5000000:when=4";
    let options = ["-D", "-f", "-e", "trace=fdatasync", "-e", hang];
    daemon.run_under(&[&["strace", "-o", "/dev/null"][..], &options].concat());
    daemon.restart();
    let host = daemon.public();
    let (sent, sending) = mpsc::channel();
    let writes = thread::spawn(move || {
        let mut client = Client::connect(host).unwrap();
        for n in 0..10 {
            sent.send(()).unwrap();
            client.post("/books", &json!({ "n": n })).unwrap();
        }
    });
    // A write that is not answered for so long is the one that waits for the disk.
    while sending.recv_timeout(Duration::from_millis(300)).is_ok() {}
    daemon.signal("-STOP");
    thread::sleep(Duration::from_secs(4));
    daemon.signal("-CONT");
    writes.join().unwrap();
    daemon.wait_for_log("nothing ran meanwhile");
    daemon.post("/books", &json!({})).expect(201);
    assert_eq!(daemon.exited(), None, "{}", daemon.stderr());
}

#[test]
#[ignore = "needs strace: .ci/run runs it"]
fn the_journal_is_synced_between_every_apply_and_its_answer() {
    if !strace_available() {
        return;
    }
    let mut daemon = TestDaemon::prepare("");
    let file = daemon.folder().join("trace");
    // -D: strace runs as a grandchild, so that signals and exit codes are those of the daemon.
    let name = file.to_str().unwrap();
    // -s: print whole buffers, because the test searches them for the record.
    let options = ["-D", "-f", "-yy", "-s", "65536", "-e", TRACED, "-o", name];
    daemon.run_under(&[&["strace"][..], &options].concat());
    daemon.restart();
    let mut client = Client::connect(daemon.public()).unwrap();
    let tokens: Vec<_> = (0..RECORDS).map(|n| format!("traced-{n}-end")).collect();
    for token in &tokens {
        let record = json!({ "token": token });
        client.post("/books", &record).unwrap().expect(201);
    }
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(Duration::from_secs(60)).code(), Some(0));
    assert_synced(&calls(&whole_trace(&file)), &tokens);
    println!(
        "{RECORDS} answers, each sent after a successful fdatasync of the journal with its record"
    );
}

/// Waits until strace has ended, and returns its output.
fn whole_trace(file: &Path) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let text = fs::read_to_string(file).unwrap();
        let ended = text.lines().last();
        if ended.is_some_and(|line| line.contains("+++ exited with")) {
            return text;
        }
        assert!(Instant::now() < until, "strace has not ended");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A system call: the lines of the trace where it began and ended, its text, and its result.
#[derive(Debug)]
struct Call {
    begun: usize,
    ended: usize,
    text: String,
    result: String,
}

impl Call {
    fn is(&self, name: &str) -> bool {
        self.text
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('('))
    }

    fn on_log(&self) -> bool {
        let target = self.text.split([',', ')']).next().unwrap_or_default();
        target.trim_end().ends_with(".journal>")
    }

    fn writes_log(&self) -> bool {
        let writes = ["pwrite64", "pwritev", "pwritev2", "write", "writev"];
        writes.iter().any(|name| self.is(name)) && self.on_log()
    }

    fn answers_201(&self) -> bool {
        let sends = ["write", "writev", "sendto", "sendmsg"]
            .iter()
            .any(|name| self.is(name));
        sends && self.text.contains("<TCP") && self.text.contains("HTTP/1.1 201")
    }
}

/// Parses a trace, and joins the calls that strace splits into "unfinished" and "resumed".
fn calls(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: Vec<(&str, usize)> = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        let result = rest.rsplit_once(" = ").map_or("", |(_, result)| result);
        if rest.starts_with("<...") {
            if let Some(at) = open.iter().position(|(owner, _)| *owner == thread) {
                let (_, call) = open.swap_remove(at);
                calls[call].ended = number;
                result.clone_into(&mut calls[call].result);
            }
            continue;
        }
        let unfinished = rest.ends_with("<unfinished ...>");
        if unfinished {
            open.push((thread, calls.len()));
        }
        calls.push(Call {
            begun: number,
            ended: if unfinished { usize::MAX } else { number },
            text: rest.trim_end_matches("<unfinished ...>").to_owned(),
            result: if unfinished {
                String::new()
            } else {
                result.to_owned()
            },
        });
    }
    calls
}

/// Fails unless each record was written to the journal, and the journal was synced, before the record's 201 was sent.
fn assert_synced(calls: &[Call], tokens: &[String]) {
    let mut previous = None;
    for token in tokens {
        let mut answers = calls.iter().filter(|call| call.answers_201());
        let answer = answers.find(|call| call.text.contains(token.as_str()));
        let answer = answer.unwrap_or_else(|| panic!("no 201 with {token} in the trace"));
        let mut writes = calls.iter().filter(|call| call.writes_log());
        let record = writes.find(|call| call.text.contains(token.as_str()));
        let record = record.unwrap_or_else(|| panic!("{token} was never written to the journal"));
        let between = |call: &&Call| Some(call.begun) > previous && call.begun < answer.begun;
        let mut writes = calls.iter().filter(|call| call.writes_log());
        let last = writes.rfind(between).unwrap_or(record);
        for apply in [record, last] {
            let synced = calls.iter().any(|call| {
                let of_log = call.is("fdatasync") && call.on_log() && call.result.trim() == "0";
                of_log && call.begun > apply.ended && call.ended < answer.begun
            });
            assert!(synced, "no fdatasync between {apply:?} and {answer:?}");
        }
        previous = Some(answer.begun);
    }
}

#[test]
fn the_trace_check_joins_split_calls_and_finds_early_answers() {
    let token = ["traced-1-end".to_owned()];
    let fails = |trace: &str| {
        let (calls, token) = (calls(trace), token.clone());
        std::panic::catch_unwind(|| assert_synced(&calls, &token)).is_err()
    };
    let good = "6 pwrite64(3</d/1.journal>, \"head\", 24, 0) = 24\n\
        7 pwrite64(3</d/1.journal>, \"traced-1-end\", 12, 24) = 12\n\
        7 fdatasync(3</d/1.journal> <unfinished ...>\n\
        8 write(2</dev/null>, \"x\", 1) = 1\n\
        7 <... fdatasync resumed>) = 0\n\
        8 sendto(9<TCP:[a->b]>, \"HTTP/1.1 201 Created traced-1-end\", 90, 0, NULL, 0) = 90\n";
    assert!(!fails(good));
    let lines: Vec<_> = good.lines().collect();
    let early = [0, 1, 2, 5, 4].map(|at| lines[at]).join("\n");
    assert!(
        fails(&early),
        "the answer is sent before the sync has ended"
    );
    let failed = good.replace("resumed>) = 0", "resumed>) = -1 EIO");
    assert!(fails(&failed), "the sync failed");
    let head_only = [0, 2, 4, 5, 1].map(|at| lines[at]).join("\n");
    assert!(fails(&head_only), "the record is written after its answer");
    let other_file = good.replace("7 fdatasync(3</d/1.journal>", "7 fdatasync(3</d/conf>");
    assert!(fails(&other_file), "another file was synced");
}
