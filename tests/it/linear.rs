//! Conditional writers on the same few records: what they see is what one register with compare-and-set would show each of
//! them at some moment between its call and its answer.
//!
//! Tags give the order of a record's versions, so no search is needed: a history is linearizable if the successful writes
//! form one chain, and nobody who calls after another's answer sees an older version than that other did.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::json;

use crate::client::{self, Client};
use crate::daemon::{TestDaemon, restarts};
use crate::drills::count;
use crate::faults::{CHILDREN, Chaos, ENDLESS};

const WRITERS: u64 = 8;
const RECORDS: usize = 3;

/// What one call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// This version was read, with this token.
    Read { version: String, token: String },
    /// This version was replaced by a new one with this token.
    Won {
        replaced: String,
        version: String,
        token: String,
    },
    /// The version named was not there, but this one.
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

/// Why the calls on one record, which began with version `first`, are none of one register.
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
    // The chain of versions, with what was written in each.
    let mut places = BTreeMap::from([(first, (0, None))]);
    let mut last = first.to_owned();
    while let Some((version, token)) = next.get(&last) {
        let place = places.len();
        places.insert(version.as_str(), (place, Some(token.as_str())));
        last.clone_from(version);
    }
    if places.len() != next.len() + 1 {
        return Some("a version came from nowhere".to_owned());
    }
    for call in calls {
        match (&call.outcome, places.get(call.version())) {
            (_, None) => return Some(format!("{call:?} saw a version that was not written")),
            (Outcome::Read { token, .. }, Some((_, Some(written)))) if token != written => {
                return Some(format!(
                    "{call:?} read what was not written in that version"
                ));
            }
            (Outcome::Lost { named, version }, _) if named == version => {
                return Some(format!("{call:?} lost although it named what was there"));
            }
            _ => {}
        }
    }
    overtaken(calls, |call| places[call.version()].0)
}

/// Who called after another's answer and yet saw an older version.
fn overtaken(calls: &[&Call], place: impl Fn(&Call) -> usize) -> Option<String> {
    let (mut by_call, mut by_answer) = (calls.to_vec(), calls.to_vec());
    by_call.sort_by_key(|call| call.called);
    by_answer.sort_by_key(|call| call.answered);
    let (mut answered, mut newest) = (by_answer.into_iter().peekable(), None::<&Call>);
    for call in by_call {
        while let Some(before) = answered.next_if(|before| before.answered < call.called) {
            if newest.is_none_or(|newest| place(before) > place(newest)) {
                newest = Some(before);
            }
        }
        let late = |newest: &&Call| {
            let (seen, own) = (place(newest), place(call));
            seen > own || (seen == own && call.won())
        };
        if let Some(newest) = newest.filter(late) {
            return Some(format!("{call:?} came after {newest:?}"));
        }
    }
    None
}

/// A record's path and first version.
struct Register {
    path: String,
    first: String,
}

#[track_caller]
fn registers(host: SocketAddr) -> Vec<Register> {
    let register = |_| {
        let made = client::post(host, "/books", &json!({"token": "first"})).expect(201);
        let header = |name| made.header(name).unwrap().to_owned();
        Register {
            path: header("location"),
            first: header("etag"),
        }
    };
    (0..RECORDS).map(register).collect()
}

/// One writer: reads a record, then tries to replace or patch what it has read, until it is told to stop.
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

/// Lets all of them write `rounds` times, while the writer of the store dies `panics` times.
fn compete(rounds: u64, panics: u64) {
    let daemon = TestDaemon::start(ENDLESS);
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
        "{} calls: {won} writes won, {lost} lost; the writer died {panics} times",
        calls.len()
    );
    assert!(won > 0 && lost > 0, "there was no competition");
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
fn eight_conditional_writers_see_one_register_through_deaths_of_the_writer() {
    compete(500, 8);
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn competing_writers_see_one_register_through_many_deaths() {
    compete(20_000, count("DRILL_PANICS", 100));
}

#[test]
fn a_history_that_no_register_could_have_is_told_apart() {
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
    let judge = |calls: &[Call]| fault(&calls.iter().collect::<Vec<_>>(), "1").is_none();
    let first = at(0, 2, won("1", "2"));
    assert!(judge(&[
        first.clone(),
        at(1, 3, read("1", "first")),
        at(1, 3, read("2", "t2"))
    ]));
    assert!(judge(&[
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
            "another's token",
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
            "lost against itself",
            vec![first.clone(), at(3, 4, lost("2", "2"))],
        ),
        (
            "a stale refusal",
            vec![first.clone(), at(3, 4, lost("3", "1"))],
        ),
        (
            "back in time",
            vec![at(5, 6, won("1", "2")), at(0, 1, won("2", "3"))],
        ),
    ] {
        assert!(!judge(&wrong), "{why}");
    }
}
