//! Linearizability: several clients write the same few records conditionally (`If-Match`), and what they see must be what a
//! single register with compare-and-set would show each of them at some moment between its call and its answer.
//!
//! Entity tags give the order of a record's versions, so no search is needed: a history is linearizable if the successful writes
//! form one chain, and no call that begins after another was answered sees an older version than that one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::json;

use crate::chaos::{CHILDREN, Chaos, UNLIMITED_RESTARTS};
use crate::client::{self, Client};
use crate::daemon::{TestDaemon, restarts};
use crate::drills::count;

const WRITERS: u64 = 8;
const RECORDS: usize = 3;

/// The result of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// A read saw this version with this token.
    Read { version: String, token: String },
    /// A write replaced a version by a new one with this token.
    Won {
        replaced: String,
        version: String,
        token: String,
    },
    /// A write failed: it named one version in `If-Match`, but the current one was another.
    Lost { named: String, version: String },
}

#[derive(Debug, Clone)]
struct Call {
    record: usize,
    called: Instant,
    answered: Instant,
    outcome: Outcome,
}

impl Call {
    fn version(&self) -> &str {
        match &self.outcome {
            Outcome::Read { version, .. }
            | Outcome::Won { version, .. }
            | Outcome::Lost { version, .. } => version,
        }
    }

    fn won(&self) -> bool {
        matches!(self.outcome, Outcome::Won { .. })
    }
}

/// Why the calls on a record whose first version is `first` are not linearizable; `None` if they are.
fn fault(calls: &[&Call], first: &str) -> Option<String> {
    let mut next = BTreeMap::new();
    for call in calls {
        if let Outcome::Won {
            replaced,
            version,
            token,
        } = &call.outcome
            && let Some((other, _)) = next.insert(replaced, (version, token))
        {
            return Some(format!(
                "{replaced} was replaced by {other} and by {version}"
            ));
        }
    }
    // The position of each version in the chain, with the token that was written.
    let mut positions = BTreeMap::from([(first, (0, None))]);
    let mut last = first.to_owned();
    while let Some((version, token)) = next.get(&last) {
        let position = positions.len();
        positions.insert(version.as_str(), (position, Some(token.as_str())));
        last.clone_from(version);
    }
    if positions.len() != next.len() + 1 {
        return Some("a version does not follow from the first one".to_owned());
    }
    for call in calls {
        match (&call.outcome, positions.get(call.version())) {
            (_, None) => return Some(format!("{call:?} saw a version that nobody wrote")),
            (Outcome::Read { token, .. }, Some((_, Some(written)))) if token != written => {
                return Some(format!(
                    "{call:?} read a token that was not written in that version"
                ));
            }
            (Outcome::Lost { named, version }, _) if named == version => {
                return Some(format!(
                    "{call:?} failed although it named the current version"
                ));
            }
            _ => {}
        }
    }
    overtaken(calls, |call| positions[call.version()].0)
}

/// Finds a call that began after another was answered and yet saw an older version.
fn overtaken(calls: &[&Call], position: impl Fn(&Call) -> usize) -> Option<String> {
    let (mut by_call, mut by_answer) = (calls.to_vec(), calls.to_vec());
    by_call.sort_by_key(|call| call.called);
    by_answer.sort_by_key(|call| call.answered);
    let (mut answered, mut newest) = (by_answer.into_iter().peekable(), None::<&Call>);
    for call in by_call {
        while let Some(before) = answered.next_if(|before| before.answered < call.called) {
            if newest.is_none_or(|newest| position(before) > position(newest)) {
                newest = Some(before);
            }
        }
        let late = |newest: &&Call| {
            let (seen, own) = (position(newest), position(call));
            seen > own || (seen == own && call.won())
        };
        if let Some(newest) = newest.filter(late) {
            return Some(format!("{call:?} was called after {newest:?} was answered"));
        }
    }
    None
}

/// The path and the first version of a record.
struct Register {
    path: String,
    first: String,
}

#[track_caller]
fn registers(host: SocketAddr) -> Vec<Register> {
    let register = |_| {
        let made = client::post(host, "/books", &json!({"token": "first"})).expect(201);
        Register {
            path: made.location().unwrap().to_owned(),
            first: made.header("etag").unwrap().to_owned(),
        }
    };
    (0..RECORDS).map(register).collect()
}

/// One client: until `stop` is set, reads a record and then tries to replace or patch the version that it read.
fn writer(
    host: SocketAddr,
    number: u64,
    registers: &[Register],
    stop: &AtomicBool,
    done: &AtomicU64,
) -> Vec<Call> {
    let mut client = Client::connect(host).unwrap();
    let mut calls = Vec::new();
    let mut turn = usize::try_from(number).unwrap();
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let record = (turn * 7 / 3) % registers.len();
        let path = &registers[record].path;
        let mut call = |method: &str, head: &[(&str, &str)], body: Option<&str>| {
            let called = Instant::now();
            let answer = client
                .send(method, path, head, body.map(str::as_bytes))
                .unwrap();
            (called, Instant::now(), answer)
        };
        let (called, answered, read) = call("GET", &[], None);
        let read = read.expect(200);
        let version = read.header("etag").unwrap().to_owned();
        let token = read.json()["token"].as_str().unwrap().to_owned();
        let named = version.clone();
        calls.push(Call {
            record,
            called,
            answered,
            outcome: Outcome::Read { version, token },
        });
        let token = format!("w{number}-{turn}");
        let body = json!({ "token": token }).to_string();
        let head = [
            ("content-type", "application/json"),
            ("if-match", named.as_str()),
        ];
        let method = if turn.is_multiple_of(2) {
            "PUT"
        } else {
            "PATCH"
        };
        let (called, answered, written) = call(method, &head, Some(&body));
        let version = written.header("etag").unwrap_or_default().to_owned();
        let outcome = match written.status {
            200 => Outcome::Won {
                replaced: named,
                version,
                token,
            },
            412 => Outcome::Lost { named, version },
            other => panic!("{other}: {}", written.text()),
        };
        calls.push(Call {
            record,
            called,
            answered,
            outcome,
        });
        done.fetch_add(1, Ordering::Relaxed);
    }
    calls
}

/// Runs all clients until they have written `rounds` times, while the `writer` child panics `panics` times.
fn compete(rounds: u64, panics: u64) {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    let host = daemon.public();
    let registers = registers(host);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let calls: Vec<Call> = thread::scope(|scope| {
        let work = |number| {
            scope.spawn({
                let (registers, stop, done) = (&registers, &stop, &done);
                move || writer(host, number, registers, stop, done)
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(work).collect();
        let mut chaos = Chaos::new(daemon.admin());
        let (child, points) = CHILDREN[2];
        for (_, point) in (0..panics).zip(points.iter().cycle()) {
            chaos.kill(child, Some(point));
            chaos.wait_until_answered(child);
        }
        while done.load(Ordering::Relaxed) < rounds
            && writers.iter().all(|writer| !writer.is_finished())
        {
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    let (won, lost) = (
        calls.iter().filter(|call| call.won()).count(),
        calls
            .iter()
            .filter(|call| matches!(call.outcome, Outcome::Lost { .. }))
            .count(),
    );
    println!(
        "{} calls: {won} writes won, {lost} lost; the writer panicked {panics} times",
        calls.len()
    );
    assert!(won > 0 && lost > 0, "no write ever lost, or none ever won");
    assert!(restarts(&daemon.tree(), "writer") >= panics);
    for (number, register) in registers.iter().enumerate() {
        let own: Vec<_> = calls.iter().filter(|call| call.record == number).collect();
        assert_eq!(fault(&own, &register.first), None, "record {number}");
    }
}

#[test]
fn eight_conditional_writers_see_one_register() {
    compete(2_000, 0);
}

#[test]
fn eight_conditional_writers_see_one_register_while_the_writer_child_panics() {
    compete(500, 8);
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn conditional_writers_see_one_register_through_many_panics() {
    compete(20_000, count("DRILL_PANICS", 100));
}

#[test]
fn the_check_rejects_histories_that_are_not_linearizable() {
    let begun = Instant::now();
    let at = |from: u64, to: u64, outcome: Outcome| Call {
        record: 0,
        called: begun + std::time::Duration::from_secs(from),
        answered: begun + std::time::Duration::from_secs(to),
        outcome,
    };
    let read = |version: &str, token: &str| Outcome::Read {
        version: version.into(),
        token: token.into(),
    };
    let won = |replaced: &str, version: &str| Outcome::Won {
        replaced: replaced.into(),
        version: version.into(),
        token: format!("t{version}"),
    };
    let lost = |named: &str, version: &str| Outcome::Lost {
        named: named.into(),
        version: version.into(),
    };
    let linearizable = |calls: &[Call]| fault(&calls.iter().collect::<Vec<_>>(), "1").is_none();
    let first = at(0, 2, won("1", "2"));
    assert!(linearizable(&[
        first.clone(),
        at(1, 3, read("1", "first")),
        at(1, 3, read("2", "t2"))
    ]));
    assert!(linearizable(&[
        first.clone(),
        at(1, 4, won("2", "9")),
        at(3, 5, lost("1", "2")),
        at(3, 6, lost("2", "9"))
    ]));
    for (why, wrong) in [
        ("both won", vec![first.clone(), at(1, 3, won("1", "3"))]),
        (
            "a stale read",
            vec![first.clone(), at(3, 4, read("1", "first"))],
        ),
        (
            "a token of another version",
            vec![first.clone(), at(3, 4, read("2", "t3"))],
        ),
        (
            "no such version",
            vec![first.clone(), at(3, 4, read("5", "t5"))],
        ),
        (
            "a lost update",
            vec![first.clone(), at(1, 3, won("8", "9"))],
        ),
        (
            "a failure although the version was current",
            vec![first.clone(), at(3, 4, lost("2", "2"))],
        ),
        (
            "a failure that saw an old version",
            vec![first.clone(), at(3, 4, lost("3", "1"))],
        ),
        (
            "a write answered before the one it builds on was called",
            vec![at(5, 6, won("1", "2")), at(0, 1, won("2", "3"))],
        ),
    ] {
        assert!(!linearizable(&wrong), "{why}");
    }
}
