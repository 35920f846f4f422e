//! Many reloads at once: each follows another one and tells its own outcome, and the last file is in force at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{TestDaemon, toml};
use crate::reload::{perennial_reload, reload, settings};

/// The files that are written one after the other.
const FILES: u64 = 30;
/// One in so many of them is wrong.
const WRONG: u64 = 5;
/// The limit of a body in the first file, in KiB. It grows by one with each file.
const FIRST: u64 = 10;

/// Writes the settings whose body limit is so many KiB, as an editor does.
fn save(daemon: &TestDaemon, kib: &str) {
    let text = toml(daemon.folder(), &format!("[limits]\nbody = \"{kib} KiB\""));
    let text = text.replace("handlers = 2", "handlers = 2\nwatch = true");
    let new = daemon.config().with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, daemon.config()).unwrap();
}

/// The outcome of a reload as it was told to whoever ordered it.
enum Told {
    Applied {
        generation: u64,
        limit: String,
    },
    Unchanged {
        generation: u64,
    },
    /// Its faults named the wrong value.
    Refused,
}

/// Lets the others end, also after a failure.
struct SetsAtItsEnd<'a>(&'a AtomicBool);

impl Drop for SetsAtItsEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn told_by_post(daemon: &TestDaemon) -> Told {
    let answer = reload(daemon, "");
    if answer.status == 422 {
        assert!(answer.text().contains("limits.body"), "{}", answer.text());
        return Told::Refused;
    }
    let told = answer.expect(200).json();
    let generation = told["generation"].as_u64().unwrap();
    assert_eq!(told["applied"], true, "{told}");
    match told["changes"].as_array().unwrap().as_slice() {
        [] => Told::Unchanged { generation },
        [change] => {
            let limit = change["keys"][0]["to"].as_str().unwrap().to_owned();
            Told::Applied { generation, limit }
        }
        _ => panic!("only one node changes: {told}"),
    }
}

fn told_by_command(daemon: &TestDaemon) -> Told {
    let output = perennial_reload(daemon, &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    if output.status.code() == Some(78) {
        assert!(error.contains("limits.body"), "{error}");
        assert!(error.ends_with("nothing has changed\n"), "{error}");
        return Told::Refused;
    }
    assert_eq!(output.status.code(), Some(0), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.lines().last().unwrap();
    let (outcome, rest) = last.split_once(": generation ").unwrap();
    let generation = rest.split(' ').next().unwrap().parse().unwrap();
    if outcome == "nothing to change" {
        return Told::Unchanged { generation };
    }
    assert_eq!(outcome, "applied");
    let limit = changed_limit(&text).unwrap().1;
    Told::Applied { generation, limit }
}

/// The limits before and after, in a line that tells of such a change.
fn changed_limit(text: &str) -> Option<(String, String)> {
    let (_, rest) = text.split_once("limits.body from \"")?;
    let (from, rest) = rest.split_once("\" to \"")?;
    let (to, _) = rest.split_once('"')?;
    Some((from.to_owned(), to.to_owned()))
}

/// The limit of each generation by the log, which has to tell each once, in order, and each beginning with what the one before had.
fn logged(daemon: &TestDaemon) -> BTreeMap<u64, String> {
    let log = daemon.stderr();
    let (mut limit, mut next) = (format!("{FIRST} KiB"), 2);
    let mut generations = BTreeMap::new();
    for line in log.lines().filter(|line| {
        line.contains("reload: limits: ") || line.contains("are read again and in force")
    }) {
        if let Some((from, to)) = changed_limit(line) {
            assert_eq!(from, limit, "{line}");
            limit = to;
        } else {
            assert!(
                line.contains(&format!("generation={next}")),
                "{next}: {line}"
            );
            generations.insert(next, limit.clone());
            next += 1;
        }
    }
    generations
}

#[test]
fn many_reloads_at_once_follow_each_other_and_the_last_file_is_in_force() {
    let mut daemon = TestDaemon::prepare("");
    save(&daemon, &FIRST.to_string());
    daemon.restart();
    let written = AtomicBool::new(false);
    let (daemon, written) = (&daemon, &written);
    let told: Vec<Vec<Told>> = thread::scope(|scope| {
        let ends = SetsAtItsEnd(written);
        let ask = |told: fn(&TestDaemon) -> Told| {
            scope.spawn(move || {
                let mut all = Vec::new();
                while !written.load(Ordering::SeqCst) {
                    all.push(told(daemon));
                }
                // The last file is there by now.
                all.push(told(daemon));
                all
            })
        };
        let asking = [ask(told_by_post), ask(told_by_post), ask(told_by_command)];
        scope.spawn(move || {
            while !written.load(Ordering::SeqCst) {
                daemon.sighup();
                thread::sleep(Duration::from_millis(30));
            }
        });
        for number in 1..=FILES {
            let is_wrong = number % WRONG == 0 && number < FILES;
            let limit = if is_wrong {
                "lots of".to_owned()
            } else {
                (FIRST + number).to_string()
            };
            save(daemon, &limit);
            // Somebody reads it; the next one comes in the middle of what they do.
            daemon.wait_until(&format!("{number} is read"), |daemon| {
                let told = settings(daemon);
                let refused = told["last_outcome"] == "refused";
                refused == is_wrong
                    && (is_wrong
                        || logged(daemon)
                            .values()
                            .any(|one| *one == format!("{limit} KiB")))
            });
        }
        drop(ends);
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    check(daemon, &told);
}

/// Checks that the last file is in force, and that each was told what became of its reload: `told` by those who asked, each in its
/// order.
fn check(daemon: &TestDaemon, told: &[Vec<Told>]) {
    let last = FIRST + FILES;
    let end = logged(daemon);
    let (generation, limit) = end.last_key_value().unwrap();
    assert_eq!(*limit, format!("{last} KiB"), "the last file is in force");
    assert_eq!(settings(daemon)["generation"], *generation);
    assert_eq!(settings(daemon)["last_error"], Value::Null);
    let text = |kib: u64| json!({ "text": "x".repeat(usize::try_from(kib * 1024 - 512).unwrap()) });
    daemon.post("/books", &text(last)).expect(201);
    daemon.post("/books", &text(last + 1)).expect(413);
    let (mut tellers, mut refused) = (BTreeSet::new(), 0);
    for all in told {
        let mut before = 1;
        for one in all {
            match one {
                Told::Refused => refused += 1,
                Told::Unchanged { generation } => {
                    assert!(*generation >= before, "{generation} after {before}");
                    before = *generation;
                }
                Told::Applied { generation, limit } => {
                    assert!(*generation > before, "{generation} after {before}");
                    before = *generation;
                    assert_eq!(end.get(generation), Some(limit), "{generation}");
                    assert!(tellers.insert(generation), "{generation} was told twice");
                }
            }
        }
        assert_eq!(
            before, *generation,
            "the last one to ask was told of the last file"
        );
    }
    assert!(refused > 0 && !tellers.is_empty());
}
