//! Random commands, restarts, deaths and failed flushes: the store answers and holds what a map would.
//!
//! `MODEL_SEQUENCES` sets how many sequences are tried. Those that once failed are in `tests/regressions` and tried first.

mod expected;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use serde_json::{Value, json};

use super::*;
use crate::record::{Absent, Handling, MatchingChange, RecordFilter, RecordPatch, Schema};
use crate::storage::FoundIds;
use expected::{Expected, outcome, shown};

const POINTS: [&str; 5] = [
    "writer.message",
    "writer.in_transaction",
    "writer.before_answers",
    "writer.before_view",
    "writer.after_view",
];
/// A body of this many bytes is kept in chunks.
const LONG: usize = 5_000;
const INDEXES: [&str; 4] = ["n", "t", "t,n", "o.p"];

#[derive(Debug, Clone)]
enum Step {
    /// Sent at once: they are likely to be one group.
    Writes(Vec<(Change, Condition)>),
    Get(RecordId),
    List(Asked),
    /// Closed and opened again, with so many indexes.
    Restart(usize),
    /// The next write that passes this point kills the writer.
    Die(&'static str),
    /// The next sync of the journal fails.
    FailSync,
    /// The next group is applied to the view in part.
    FailView,
}

#[derive(Debug, Clone)]
enum Change {
    Create(RecordId, Value),
    CreateNext(Value),
    Replace(RecordId, Value, Absent),
    Merge(RecordId, Value, Absent),
    Delete(RecordId),
    DeleteMatching(Value),
}

/// The condition of a write; `true` if its tag is the current one when the write is sent.
#[derive(Debug, Clone, Copy)]
enum Condition {
    None,
    Match(bool),
    MatchAny,
    NoneMatch(bool),
    NoneMatchAny,
}

#[derive(Debug, Clone)]
struct Asked {
    ids: Vec<RecordId>,
    numbers: Vec<u64>,
    text: Option<&'static str>,
    /// By `n`.
    descending: Option<bool>,
    start: usize,
    limit: usize,
}

fn ids() -> impl Strategy<Value = RecordId> {
    let text = prop::sample::select(vec!["a", "ab", "a-", "b", "x1"]);
    prop_oneof![
        3 => text.prop_map(|text| RecordId::parse(text).unwrap()),
        1 => (1_u64..5).prop_map(RecordId::Number),
    ]
}

fn objects() -> impl Strategy<Value = Value> {
    let filling = prop_oneof![4 => Just(0), 1 => Just(LONG)];
    let text = prop::sample::select(vec!["x", "y"]);
    (0_u64..3, text, filling).prop_map(
        |(n, t, filling)| json!({"n": n, "t": t, "o": {"p": n, "q": 1}, "f": "x".repeat(filling)}),
    )
}

fn patches() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({}),
        json!({"n": 2}),
        json!({"n": null, "t": "z"}),
        json!({"o": {"p": null, "r": {"s": null}}}),
        json!({"o": 5}),
        json!({"f": null, "g": "x".repeat(LONG)}),
        json!({"g": null, "t": ["x", "y"]}),
    ])
}

fn absents() -> impl Strategy<Value = Absent> {
    prop::sample::select(vec![Absent::Refuse, Absent::Create])
}

fn changes() -> impl Strategy<Value = Change> {
    let examples = prop::sample::select(vec![
        json!({"n": 1}),
        json!({"t": "x", "n": 0}),
        json!({"o": {"p": 2, "q": 1}}),
    ]);
    prop_oneof![
        3 => (ids(), objects()).prop_map(|(id, object)| Change::Create(id, object)),
        2 => objects().prop_map(Change::CreateNext),
        3 => (ids(), objects(), absents()).prop_map(|(id, o, absent)| Change::Replace(id, o, absent)),
        3 => (ids(), patches(), absents()).prop_map(|(id, p, absent)| Change::Merge(id, p, absent)),
        2 => ids().prop_map(Change::Delete),
        1 => examples.prop_map(Change::DeleteMatching),
    ]
}

fn conditions() -> impl Strategy<Value = Condition> {
    prop_oneof![
        5 => Just(Condition::None),
        2 => any::<bool>().prop_map(Condition::Match),
        1 => Just(Condition::MatchAny),
        1 => any::<bool>().prop_map(Condition::NoneMatch),
        1 => Just(Condition::NoneMatchAny),
    ]
}

fn lists() -> impl Strategy<Value = Asked> {
    let numbers = prop::collection::vec(0_u64..3, 0..3);
    let text = prop::option::of(prop::sample::select(vec!["x", "z"]));
    let parts = (prop::option::of(any::<bool>()), 0_usize..4, 0_usize..5);
    (prop::collection::vec(ids(), 0..3), numbers, text, parts).prop_map(
        |(ids, numbers, text, (descending, start, limit))| Asked {
            ids,
            numbers,
            text,
            descending,
            start,
            limit,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = prop::collection::vec((changes(), conditions()), 1..5);
    let step = prop_oneof![
        8 => writes.prop_map(Step::Writes),
        2 => ids().prop_map(Step::Get),
        4 => lists().prop_map(Step::List),
        2 => (0..=INDEXES.len()).prop_map(Step::Restart),
        1 => prop::sample::select(POINTS.to_vec()).prop_map(Step::Die),
        1 => prop_oneof![Just(Step::FailSync), Just(Step::FailView)],
    ];
    prop::collection::vec(step, 1..12)
}

impl Change {
    fn id(&self) -> Option<&RecordId> {
        match self {
            Self::Create(id, _)
            | Self::Replace(id, ..)
            | Self::Merge(id, ..)
            | Self::Delete(id) => Some(id),
            Self::CreateNext(_) | Self::DeleteMatching(_) => None,
        }
    }

    fn command(&self) -> WriteCommand {
        let object = |value: &Value| JsonObject::parse(value.to_string().as_bytes()).unwrap();
        match self {
            Self::Create(id, value) => WriteCommand::Create {
                id: id.clone(),
                json: object(value).text(id),
            },
            Self::CreateNext(value) => WriteCommand::CreateNumbered {
                members: object(value).without_id(),
            },
            Self::Replace(id, value, absent) => WriteCommand::Replace {
                id: id.clone(),
                json: object(value).text(id),
                absent: *absent,
            },
            Self::Merge(id, patch, absent) => WriteCommand::Patch {
                id: id.clone(),
                patch: RecordPatch::Merge(object(patch)),
                absent: *absent,
                bytes_max: 1 << 20,
            },
            Self::Delete(id) => WriteCommand::Delete { id: id.clone() },
            Self::DeleteMatching(example) => WriteCommand::Matching {
                filter: RecordFilter::Example(object(example)),
                change: MatchingChange::Delete,
                most: 1_000,
            },
        }
    }
}

/// The store on which a sequence of steps is carried out.
struct Stage {
    folder: tempfile::TempDir,
    memory: Option<Arc<Memory>>,
    faults: Faults,
    /// The number of indexes that are declared.
    indexes: usize,
}

impl Stage {
    fn new(in_memory: bool) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            memory: in_memory.then(Arc::default),
            faults: Faults::armed(),
            indexes: 0,
        }
    }

    async fn start(&self) -> Running {
        let folder = self.folder.path();
        let settings = indexed(folder, &INDEXES[..self.indexes]);
        let store = if let Some(memory) = &self.memory {
            let opener = Box::new(MemoryOpener(Arc::clone(memory)));
            with_engine(opener, &settings, &self.faults, &incidents(folder))
        } else {
            sled_with(folder, &settings, &self.faults)
        };
        Running::start(store).await
    }

    /// Whether an injected fault is still to come.
    fn faulty(&self) -> bool {
        let view = |memory: &Arc<Memory>| memory.failing.load(Ordering::SeqCst);
        let points = self.faults.points();
        self.memory.as_ref().is_some_and(view) || points.values().any(|left| *left > 0)
    }

    fn arm(&self, fault: &Step) {
        match (fault, &self.memory) {
            (Step::Die(point), _) => drop(self.faults.arm(point, 1)),
            (Step::FailSync, _) => drop(self.faults.arm(FAILING_SYNC, 1)),
            (Step::FailView, Some(memory)) => memory.failing.store(true, Ordering::SeqCst),
            _ => {}
        }
    }

    async fn play(&mut self, steps: Vec<Step>) {
        let mut expected = Expected::default();
        let mut running = self.start().await;
        for step in steps {
            match step {
                Step::Writes(changes) => {
                    let faulty = self.faulty();
                    write(&running.store, &mut expected, &changes, faulty).await;
                }
                Step::Get(id) => {
                    let got = running.store.get(BOOKS, &id).await.unwrap();
                    let known = expected.records.get(&id);
                    let known = known.map(|(revision, members)| (id, *revision, members.clone()));
                    assert_eq!(got.as_ref().map(shown), known);
                }
                Step::List(asked) => {
                    let (page, total) = list(&running.store, &asked).await;
                    let page: Vec<_> = page.iter().map(shown).collect();
                    assert_eq!((page, total), expected.list(&asked), "{asked:?}");
                }
                Step::Restart(indexes) => {
                    running.stop().await;
                    self.indexes = indexes;
                    running = self.start().await;
                    if indexes.is_multiple_of(2) {
                        running.store.settle_indexes().await;
                    }
                }
                // One fault at a time: a message whose writer dies twice is given up.
                Step::Die(_) | Step::FailSync | Step::FailView if self.faulty() => {}
                Step::Die(_) | Step::FailSync | Step::FailView => {
                    // The writer may still apply what it has answered, and die of the fault before.
                    let all = ListQuery::default();
                    let unavailable = Err(StoreError::Unavailable);
                    while running.store.query(BOOKS, &all).await == unavailable {}
                    self.arm(&step);
                }
            }
        }
        running.store.assert_indexes().await;
        running.stop().await;
    }
}

/// Sends the changes at once and compares the answers. If the writer may die meanwhile (`faulty`), writes that were not
/// answered are delivered again, and may come after their neighbours.
async fn write(
    store: &SledStore,
    expected: &mut Expected,
    changes: &[(Change, Condition)],
    faulty: bool,
) {
    let told = changes.iter().map(|(change, condition)| {
        let conditions = expected.conditions(change, *condition);
        (change.command(), conditions)
    });
    let told: Vec<_> = told.collect();
    // A deletion by example is limited to what was there before the first of them was sent.
    let listed: Vec<_> = expected.records.keys().cloned().collect();
    let writes = told.iter().map(|(command, conditions)| {
        let write = Write {
            collection: BOOKS,
            schema: Arc::default(),
            command: command.clone(),
            conditions: conditions.clone(),
            bytes: 100,
        };
        let listed = listed.clone();
        async {
            let batch = WriteBatch::all(vec![write]);
            store.send(batch, vec![FoundIds::Ids(listed)]).await?.only()
        }
    });
    let done = futures_util::future::join_all(writes).await;
    let done: Vec<_> = done.into_iter().map(outcome).collect();
    let in_order = |order: &[usize]| {
        let (mut after, mut known) = (expected.clone(), Vec::new());
        for at in order {
            let ((change, _), (_, conditions)) = (&changes[*at], &told[*at]);
            known.push((*at, after.apply(change, conditions, &listed)));
        }
        known.sort_by_key(|(at, _)| *at);
        let known: Vec<_> = known.into_iter().map(|(_, outcome)| outcome).collect();
        (after, known)
    };
    let as_sent: Vec<_> = (0..changes.len()).collect();
    let orders = if faulty { orders(&as_sent) } else { Vec::new() };
    let mut tried = orders.iter().map(|order| in_order(order));
    let (after, known) = tried
        .find(|(_, known)| *known == done)
        .unwrap_or_else(|| in_order(&as_sent));
    assert_eq!(done, known, "{told:?}");
    *expected = after;
}

/// Every order of these.
fn orders(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let begun_with = |first: &usize| {
        let rest: Vec<_> = of.iter().copied().filter(|other| other != first).collect();
        let rests = orders(&rest).into_iter();
        rests
            .map(|rest| [vec![*first], rest].concat())
            .collect::<Vec<_>>()
    };
    of.iter().flat_map(begun_with).collect()
}

/// Asks for a list as a client does.
async fn list(store: &SledStore, asked: &Asked) -> (Vec<Record>, usize) {
    let mut query = format!("_start={}&_limit={}", asked.start, asked.limit);
    query.extend(asked.ids.iter().map(|id| format!("&id={id}")));
    query.extend(asked.numbers.iter().map(|n| format!("&n={n}")));
    query.extend(asked.text.map(|text| format!("&t={text}")));
    query.extend(asked.descending.map(|descending| {
        let sign = if descending { "-" } else { "" };
        format!("&_sort={sign}n")
    }));
    let query = ListQuery::parse(&query, &Schema::Any, Handling::Strict).unwrap();
    let page = loop {
        match store.query(BOOKS, &query).await {
            // It began before the view of the last writes failed.
            Err(StoreError::Unavailable | StoreError::Unready { .. }) => {}
            page => break page.unwrap(),
        }
    };
    (page.records, usize::try_from(page.total.unwrap()).unwrap())
}

fn try_sequences(cases: u32, in_memory: bool) {
    let kept = FileFailurePersistence::Direct("tests/regressions/modelled.txt");
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(kept)),
        source_file: Some(file!()),
        ..Config::default()
    };
    let tried = TestRunner::new(config).run(&steps(), |steps| {
        run(async move {
            let mut stage = Stage::new(in_memory);
            stage.play(steps).await;
        });
        Ok(())
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}

fn sequences() -> u32 {
    std::env::var("MODEL_SEQUENCES").map_or(200, |count| count.parse().unwrap())
}

#[test]
fn a_store_in_memory_behaves_like_a_map() {
    try_sequences(sequences(), true);
}

#[test]
fn a_store_on_the_disk_behaves_like_a_map() {
    try_sequences(sequences().div_ceil(20), false);
}
