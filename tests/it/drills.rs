//! Drills that take minutes. `.ci/run` runs them; their counts come from the environment.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::client::Client;
use crate::daemon::TestDaemon;
use crate::faults::{self, Chaos};
use crate::load::{self, Mix, Traffic};

fn count(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// Moments that differ from run to run; the seed is printed (`DRILL_SEED` repeats it).
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = u64::from(now.expect("a clock after 1970").subsec_nanos());
        let seed = count("DRILL_SEED", now) | 1;
        println!("DRILL_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.0 % limit.max(1))
    }
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn panics_of_each_child_under_load_fail_no_request() {
    faults::drill_all(Mix::large(), count("DRILL_PANICS", 1000));
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn the_shipped_limits_end_the_process_with_70() {
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
                "it never gave up"
            );
            if chaos.ask(Some(&json!({ "child": child }))).is_some() {
                orders += 1;
            }
            thread::sleep(Duration::from_millis(20));
        };
        let took = since.elapsed();
        let outcome = traffic.stop();
        println!("{child}: exit {status} after {orders} orders in {took:?}");
        assert_eq!(status.code(), Some(70), "{child}");
        assert!(!outcome.acked.is_empty(), "nothing was written");
        daemon.restart();
        load::assert_kept(&outcome.acked, &load::tokens(daemon.public()));
    }
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn kill_9_at_any_moment_loses_no_acknowledged_write() {
    let kills = count("DRILL_KILLS", 100);
    let mut moments = Moments::new();
    let mut daemon = TestDaemon::prepare("");
    let mut acked = BTreeSet::new();
    let (mut in_start, mut in_writes, mut slowest) = (0, 0, Duration::ZERO);
    for number in 0..kills {
        daemon.spawn();
        if number % 4 == 3 {
            in_start += 1;
            thread::sleep(moments.below(Duration::from_millis(60)));
            daemon.kill9();
            continue;
        }
        let since = Instant::now();
        daemon.wait_ready();
        slowest = slowest.max(since.elapsed());
        load::assert_kept(&acked, &load::tokens(daemon.public()));
        let traffic = Traffic::start(daemon.public(), Mix::writers(8));
        thread::sleep(Duration::from_millis(5) + moments.below(Duration::from_millis(250)));
        daemon.kill9();
        in_writes += 1;
        acked.extend(traffic.stop().acked);
    }
    daemon.restart();
    let kept = load::tokens(daemon.public());
    println!(
        "kills: {in_writes} in writes, {in_start} in starts; acknowledged {}, kept {}, lost 0, twice 0; slowest start {slowest:?}",
        acked.len(),
        kept.len()
    );
    load::assert_kept(&acked, &kept);
    assert!(!acked.is_empty() || kills == 0, "nothing was written");
}

const TRACED: &str = "trace=pwrite64,write,writev,sendto,fdatasync,fsync,sync_file_range";
const RECORDS: usize = 20;

fn strace_works() -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "true"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
#[ignore = "needs strace: .ci/run runs it"]
fn the_log_is_synced_between_every_apply_and_its_answer() {
    if !strace_works() {
        let required = env::var("OPS_TESTS").is_ok_and(|value| value == "require");
        assert!(
            !required,
            "strace is missing or may not trace, and OPS_TESTS=require"
        );
        println!(
            "SKIP the_log_is_synced_between_every_apply_and_its_answer because strace is missing"
        );
        return;
    }
    let mut daemon = TestDaemon::prepare("");
    let file = daemon.folder().join("trace");
    // -D: the daemon is our child and the tracer its descendant, so signals and exit codes are the daemon's own.
    let name = file.to_str().unwrap();
    daemon.run_by(&["strace", "-D", "-f", "-yy", "-e", TRACED, "-o", name]);
    daemon.restart();
    let mut client = Client::connect(daemon.public()).unwrap();
    for number in 0..RECORDS {
        let record = json!({ "token": format!("traced-{number}") });
        client.post("/books", &record).unwrap().expect(201);
    }
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(Duration::from_secs(60)).code(), Some(0));
    let calls = calls(&whole_trace(&file));
    let synced = synced_answers(&calls);
    println!("{synced} answers, each after an fdatasync of the log that returned 0");
    assert_eq!(synced, RECORDS);
}

/// The tracer's file, once the tracer has ended.
fn whole_trace(file: &Path) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let text = fs::read_to_string(file).unwrap();
        let ended = text.lines().last();
        if ended.is_some_and(|line| line.contains("+++ exited with")) {
            return text;
        }
        assert!(Instant::now() < until, "the trace has no end");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A system call: where in the trace it began and ended, its words up to its end, its result.
#[derive(Debug)]
struct Call {
    begun: usize,
    ended: usize,
    words: String,
    result: String,
}

impl Call {
    fn is(&self, name: &str) -> bool {
        self.words
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('('))
    }

    fn on_log(&self) -> bool {
        let target = self.words.split([',', ')']).next().unwrap_or_default();
        target.trim_end().ends_with("/db>")
    }

    fn answers_201(&self) -> bool {
        let sends = ["write", "writev", "sendto"]
            .iter()
            .any(|name| self.is(name));
        sends && self.words.contains("<TCP") && self.words.contains("HTTP/1.1 201")
    }
}

/// Puts together what strace split into "unfinished" and "resumed".
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
            words: rest.trim_end_matches("<unfinished ...>").to_owned(),
            result: if unfinished {
                String::new()
            } else {
                result.to_owned()
            },
        });
    }
    calls
}

/// How many 201s were sent; fails at the first that was sent before its log was synced.
fn synced_answers(calls: &[Call]) -> usize {
    let mut previous = None;
    let mut answers = 0;
    for answer in calls.iter().filter(|call| call.answers_201()) {
        let between = |call: &&Call| Some(call.begun) > previous && call.begun < answer.begun;
        let mut applies = calls.iter().filter(between);
        let apply = applies.rfind(|call| call.is("pwrite64") && call.on_log());
        let apply = apply.unwrap_or_else(|| panic!("no write to the log before {answer:?}"));
        let synced = calls.iter().any(|call| {
            let of_log = call.is("fdatasync") && call.on_log() && call.result.trim() == "0";
            of_log && call.begun > apply.ended && call.ended < answer.begun
        });
        assert!(synced, "no fdatasync between {apply:?} and {answer:?}");
        previous = Some(answer.begun);
        answers += 1;
    }
    answers
}

#[test]
fn a_split_trace_is_put_together_and_an_early_answer_is_found() {
    let good = "7 pwrite64(3</d/db>, \"a\", 1, 0) = 1\n\
        7 fdatasync(3</d/db> <unfinished ...>\n\
        8 write(2</dev/null>, \"x\", 1) = 1\n\
        7 <... fdatasync resumed>) = 0\n\
        8 sendto(9<TCP:[a->b]>, \"HTTP/1.1 201 Created\"..., 90, 0, NULL, 0) = 90\n";
    assert_eq!(synced_answers(&calls(good)), 1);
    let lines: Vec<_> = good.lines().collect();
    let early = [lines[0], lines[1], lines[4], lines[3]].join("\n");
    assert!(std::panic::catch_unwind(|| synced_answers(&calls(&early))).is_err());
    let failed = good.replace("resumed>) = 0", "resumed>) = -1 EIO");
    assert!(std::panic::catch_unwind(|| synced_answers(&calls(&failed))).is_err());
}
