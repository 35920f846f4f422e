//! Writers that keep a model of the records they wrote, and compare it with the daemon after each kill.
//!
//! Each writer uses its own ids, so it knows the state of every record, except for the one write that was not answered when
//! the daemon was killed: that write may have been applied or not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use crate::client::{self, Client, Response};

/// How many ids one writer uses.
const IDS: u64 = 12;

/// The content of a record; `None` if it does not exist.
type State = Option<Value>;

/// The records of one writer, by path.
#[derive(Debug, Default)]
pub(crate) struct Model {
    records: BTreeMap<String, State>,
    /// The write that was not answered: the record may also be in this state.
    unanswered: Option<(String, State)>,
    pub(crate) acknowledged: u64,
    step: u64,
    seed: u64,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    Replace,
    Patch,
    Delete,
}

impl Model {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            seed: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            ..Self::default()
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) % limit
    }

    /// Sends one write; false if it was not answered.
    fn write(&mut self, writer: u64, client: &mut Client) -> bool {
        self.step += 1;
        let id = format!("w{writer}-{}", self.below(IDS));
        let path = format!("/books/{id}");
        let before = self.records.get(&path).cloned().flatten();
        let step = match (&before, self.below(4)) {
            (None, _) => Step::Create,
            (Some(_), 0) => Step::Delete,
            (Some(_), 1) => Step::Replace,
            (Some(_), _) => Step::Patch,
        };
        let filling = "x".repeat(usize::try_from(self.below(3)).unwrap() * 3_000);
        let whole = json!({ "id": id, "step": self.step, "filling": filling });
        let changes = json!({ "step": self.step, "patched": { "at": self.step }, "filling": null });
        let (after, answer) = match step {
            Step::Create => (Some(whole.clone()), client.post("/books", &whole)),
            Step::Replace => (Some(whole.clone()), client.json("PUT", &path, &whole)),
            Step::Patch => {
                let mut after = before.unwrap();
                after.as_object_mut().unwrap().remove("filling");
                after["step"] = changes["step"].clone();
                after["patched"] = changes["patched"].clone();
                (Some(after), client.json("PATCH", &path, &changes))
            }
            Step::Delete => (None, client.send("DELETE", &path, &[], None)),
        };
        let Ok(answer) = answer else {
            self.unanswered = Some((path, after));
            return false;
        };
        assert!(
            [200, 201].contains(&answer.status),
            "{step:?} {path}: {} {}",
            answer.status,
            answer.text()
        );
        self.acknowledged += 1;
        self.records.insert(path, after);
        true
    }

    /// Compares every record with the model, and finds out whether the unanswered write was applied.
    #[track_caller]
    pub(crate) fn check(&mut self, host: SocketAddr) {
        let mut client = Client::connect(host).unwrap();
        if let Some((path, after)) = self.unanswered.take() {
            let found = state(&client.get(&path).unwrap());
            let before = self.records.get(&path).cloned().flatten();
            assert!(
                found == before || found == after,
                "{path} is {found:?}, neither {before:?} nor {after:?}"
            );
            self.records.insert(path, found);
        }
        for (path, promised) in &self.records {
            assert_eq!(&state(&client.get(path).unwrap()), promised, "{path}");
        }
    }

    /// The number of records that exist.
    pub(crate) fn len(&self) -> usize {
        self.records.values().flatten().count()
    }
}

#[track_caller]
fn state(answer: &Response) -> State {
    match answer.status {
        200 => Some(answer.json()),
        404 => None,
        other => panic!("{other} {}", answer.text()),
    }
}

/// Running writers; each ends when the daemon is gone or `stop` is called.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Model>>,
}

impl Writers {
    pub(crate) fn start(host: SocketAddr, models: Vec<Model>) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let work = |(number, mut model): (u64, Model)| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                if let Ok(mut client) = Client::connect(host) {
                    while !stop.load(Ordering::Relaxed) && model.write(number, &mut client) {}
                }
                model
            })
        };
        let threads = (0..).zip(models).map(work).collect();
        Self { stop, threads }
    }

    pub(crate) fn stop(self) -> Vec<Model> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        threads.map(|thread| thread.join().unwrap()).collect()
    }
}

/// The number of records according to `X-Total-Count`.
#[track_caller]
pub(crate) fn total(host: SocketAddr) -> usize {
    let answer = client::get(host, "/books?_end=0").expect(200);
    answer.header("x-total-count").unwrap().parse().unwrap()
}
