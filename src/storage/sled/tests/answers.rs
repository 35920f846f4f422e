//! Batches and requests with a name: each is done once, however often it is sent and whatever dies meanwhile.

use super::*;
use crate::record::{Absent, Atomicity, Revision};
use crate::storage::{BatchWritten, WriteBatch};

fn key(name: &str, request: &str) -> RequestKey {
    RequestKey::read(name.as_bytes(), &[request.as_bytes()]).unwrap()
}

fn named(name: &str, request: &str, commands: Vec<WriteCommand>) -> WriteBatch {
    WriteBatch {
        key: Some(key(name, request)),
        ..batch(commands)
    }
}

fn numbered(n: u32) -> WriteCommand {
    WriteCommand::CreateNumbered {
        members: book(n).without_id(),
    }
}

fn started(folder: &Path, change: impl FnOnce(&mut Settings)) -> (Arc<SledStore>, ChildSpec) {
    let mut settings = settings(folder);
    change(&mut settings);
    sled_with(folder, &settings, &Faults::none())
}

#[test]
fn a_request_with_a_name_is_carried_out_once_through_a_restart() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Running::on_sled(folder.path(), &Faults::none()).await;
        let send = |store: Arc<SledStore>, request: &'static str| async move {
            store
                .write_batch(named("k", request, vec![numbered(1), numbered(2)]))
                .await
        };
        let tried = WriteBatch {
            dry_run: true,
            ..named("k", "x", vec![numbered(7)])
        };
        let tried = running.store.write_batch(tried).await.unwrap();
        assert!(
            matches!(&*tried.results, [Ok(Written::Created(record))] if record.id == RecordId::Number(1))
        );
        assert_eq!(running.all().await, [], "it was only tried");
        let first = send(Arc::clone(&running.store), "x").await.unwrap();
        assert!(!first.replayed);
        for restart in [false, true] {
            if restart {
                running.stop().await;
                running = Running::on_sled(folder.path(), &Faults::none()).await;
            }
            let again = send(Arc::clone(&running.store), "x").await.unwrap();
            assert_eq!((&again.results, again.replayed), (&first.results, true));
            let known = running.store.answered(&key("k", "x")).await.unwrap();
            assert_eq!(known.map(|known| known.results), Some(again.results));
            let other = send(Arc::clone(&running.store), "y").await;
            assert_eq!(other, Err(StoreError::Refused(CommandError::KeyReused)));
            let unknown = running.store.answered(&key("l", "x")).await;
            assert_eq!(unknown, Ok(None));
        }
        assert_eq!(running.all().await.len(), 2);
        let resources = running.store.resources();
        assert_eq!(resources.into_keys().collect::<Vec<_>>(), ["books"]);
        // A request that is refused has no effect, and its name is free.
        let taken = WriteCommand::Delete {
            id: RecordId::Number(9),
        };
        let refused = running
            .store
            .write_batch(named("m", "x", vec![numbered(3), taken]));
        let refused = refused.await.unwrap().results;
        let cancelled = Err(CommandError::Cancelled);
        assert_eq!(refused, [cancelled, Err(CommandError::Absent)]);
        let freed = running
            .store
            .write_batch(named("m", "y", vec![numbered(3)]));
        assert!(!freed.await.unwrap().replayed);
        assert_eq!(running.all().await.len(), 3);
        running.stop().await;
    });
}

#[test]
fn the_oldest_answers_go_when_there_are_too_many_or_too_long_ones() {
    for (most, bytes) in [(3, 1 << 30), (1_000, 1_000)] {
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            let start = || {
                started(folder.path(), |settings| {
                    settings.storage.answers = most;
                    settings.storage.answers_bytes = bytes;
                })
            };
            let mut running = Running::start(start()).await;
            for n in 0..20 {
                if n == 10 {
                    running.stop().await;
                    running = Running::start(start()).await;
                }
                let sent = named(&format!("k{n}"), "x", vec![numbered(n)]);
                assert!(!running.store.write_batch(sent).await.unwrap().replayed);
            }
            let mut known = Vec::new();
            for n in 0..20 {
                let answered = running.store.answered(&key(&format!("k{n}"), "x")).await;
                known.push(answered.unwrap().is_some());
            }
            let kept = known.iter().filter(|known| **known).count();
            assert!((2..=6).contains(&kept), "{known:?}");
            assert!(known.is_sorted(), "the newest are kept: {known:?}");
            if bytes > 1_000 {
                assert_eq!(kept, 3);
            }
            running.stop().await;
        });
    }
}

/// The part of a result that is compared.
fn told(results: &[Result<Written, CommandError>]) -> Vec<String> {
    let told = results.iter().map(|result| match result {
        Ok(Written::Created(record)) => format!("created {}", record.id),
        Ok(Written::Replaced(record)) => format!("replaced {}", record.id),
        Ok(Written::Deleted(record)) => format!("deleted {}", record.id),
        Ok(Written::DeletedMatching(_) | Written::PatchedMatching(_)) => "matching".to_owned(),
        Err(error) => error.to_string(),
    });
    told.collect()
}

/// Carries out a command on the map. The model of `decide`.
fn expect(
    map: &mut BTreeMap<RecordId, Bytes>,
    command: &WriteCommand,
) -> Result<Written, CommandError> {
    let record = |id: &RecordId, json: &Bytes| Record {
        id: id.clone(),
        revision: Revision(0),
        created_ms: 0,
        changed_ms: 0,
        json: json.clone(),
    };
    match command {
        WriteCommand::Create { id, .. } if map.contains_key(id) => {
            Err(CommandError::Duplicate { id: id.clone() })
        }
        WriteCommand::Create { id, json } => {
            map.insert(id.clone(), json.clone());
            Ok(Written::Created(record(id, json)))
        }
        WriteCommand::Replace { id, json, .. } => match map.get_mut(id) {
            Some(text) => {
                *text = json.clone();
                Ok(Written::Replaced(record(id, json)))
            }
            None => Err(CommandError::Absent),
        },
        WriteCommand::Delete { id } => match map.remove(id) {
            Some(json) => Ok(Written::Deleted(record(id, &json))),
            None => Err(CommandError::Absent),
        },
        WriteCommand::CreateNumbered { .. }
        | WriteCommand::Patch { .. }
        | WriteCommand::Matching { .. } => panic!("{command:?}"),
    }
}

fn random_command(random: &mut fastrand::Rng) -> WriteCommand {
    let id = RecordId::parse(&random.char('a'..='h').to_string()).unwrap();
    let json = book(random.u32(..1_000)).text(&id);
    match random.u32(..10) {
        0..5 => WriteCommand::Create { id, json },
        5..8 => WriteCommand::Replace {
            id,
            json,
            absent: Absent::Refuse,
        },
        _ => WriteCommand::Delete { id },
    }
}

#[test]
fn random_batches_of_a_client_that_sends_until_it_is_answered_are_done_once() {
    for seed in 0..20 {
        run(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let folder = tempfile::tempdir().unwrap();
            let faults = Faults::armed();
            let mut running = Running::on_sled(folder.path(), &faults).await;
            let mut model = BTreeMap::new();
            for n in 0..60 {
                let commands = random.usize(1..6);
                let commands: Vec<_> = std::iter::repeat_with(|| random_command(&mut random))
                    .take(commands)
                    .collect();
                let sent = WriteBatch {
                    atomicity: *random.choice(&[Atomicity::All, Atomicity::Each]).unwrap(),
                    dry_run: random.u32(..5) == 0,
                    ..named(&format!("k{n}"), "x", commands)
                };
                let mut after = model.clone();
                let results = sent.writes.iter();
                let results: Vec<_> = results
                    .map(|write| expect(&mut after, &write.command))
                    .collect();
                let failed = results.iter().any(Result::is_err);
                let undone = sent.atomicity == Atomicity::All && failed;
                let results = results.into_iter().map(|result| match result {
                    Ok(_) if undone => Err(CommandError::Cancelled),
                    result => result,
                });
                let expected = told(&results.collect::<Vec<_>>());
                if !undone && !sent.dry_run {
                    model = after;
                }
                let points = [
                    "writer.message",
                    "writer.before_answers",
                    "writer.before_view",
                    "writer.after_view",
                ];
                let idle = faults.points().values().all(|left| *left == 0);
                if idle && random.u32(..3) == 0 {
                    faults.arm(random.choice(points).unwrap(), 1);
                }
                let mut answers = Vec::<BatchWritten>::new();
                for _ in 0..random.u32(1..3) {
                    if random.u32(..10) == 0 {
                        running.stop().await;
                        running = Running::on_sled(folder.path(), &faults).await;
                    }
                    answers.push(running.store.write_batch(sent.clone()).await.unwrap());
                }
                for (index, answer) in answers.iter().enumerate() {
                    // What was refused in part has no kept answer.
                    if index == 0 || answer.replayed {
                        assert_eq!(told(&answer.results), expected, "{seed} {n} {sent:?}");
                    } else {
                        assert!(sent.dry_run || failed, "{seed} {n} {sent:?}");
                        if sent.atomicity == Atomicity::Each && !sent.dry_run {
                            for write in &sent.writes {
                                drop(expect(&mut model, &write.command));
                            }
                        }
                    }
                }
                let found = running.all().await.into_iter();
                let found: BTreeMap<_, _> = found.map(|record| (record.id, record.json)).collect();
                assert_eq!(found, model, "{seed} {n} {sent:?}");
            }
            running.stop().await;
        });
    }
}

#[test]
fn a_batch_that_is_longer_than_the_log_is_done_once_when_the_writer_dies() {
    for point in ["writer.before_answers", "writer.before_view"] {
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            let faults = Faults::armed();
            let mut settings = settings(folder.path());
            settings.storage.log_keep = 1_000;
            // However busy the machine is.
            settings.supervision.children.storage.deadline = TEST_LIMIT;
            let running = Running::start(sled_with(folder.path(), &settings, &faults)).await;
            faults.arm(point, 1);
            let commands = (0..3_000).map(numbered).collect();
            let written = running.store.write_batch(batch(commands)).await.unwrap();
            assert!(written.results.iter().all(Result::is_ok));
            assert_eq!(written.last, 3_000, "{point}");
            let kept = running.store.changes(0).await;
            assert!(matches!(kept, Ok(Changes::Found(_))), "{kept:?}");
            running.stop().await;
        });
    }
}

fn of_bytes(bytes: usize) -> String {
    let text = "\"".repeat(bytes / 4);
    let object = serde_json::json!({ "text": text }).to_string();
    JsonObject::parse(object.as_bytes()).unwrap().without_id()
}

#[test]
fn answers_have_no_more_bytes_than_may_be_kept_and_a_longer_one_is_refused_with_its_request() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let most = 10_000;
        let made = started(folder.path(), |settings| {
            settings.storage.answers_bytes = most;
        });
        let running = Running::start(made).await;
        let store = &running.store;
        let long = |bytes| WriteCommand::CreateNumbered {
            members: of_bytes(bytes),
        };
        let kept = || {
            let (_, checked) = store.holder.engine.open().unwrap();
            checked.tallies[store.holder.answers().0]
        };
        let mut number = 0;
        let mut send = |commands| {
            number += 1;
            store.write_batch(named(&format!("k{number}"), "x", commands))
        };
        for _ in 0..60 {
            send(vec![numbered(1)]).await.unwrap();
        }
        assert!(kept().records > 20);
        // More than the few go that are removed each time.
        assert!(send(vec![long(4_000)]).await.is_ok());
        assert!(kept().bytes <= most && kept().records > 1, "{:?}", kept());
        let records = running.all().await.len();
        for commands in [
            vec![long(11_000)],
            vec![numbered(1), long(11_000)],
            vec![long(6_000), long(6_000)],
        ] {
            let refused = send(commands).await;
            let Err(StoreError::Refused(CommandError::AnswerTooLong { bytes })) = refused else {
                panic!("{refused:?}");
            };
            assert!(bytes > most);
            assert_eq!(running.all().await.len(), records);
        }
        let created = store.write_batch(batch(vec![long(11_000)])).await.unwrap();
        let Some(Ok(Written::Created(record))) = created.results.into_iter().next() else {
            panic!("not created");
        };
        let id = record.id;
        let refused = send(vec![WriteCommand::Delete { id: id.clone() }]).await;
        assert!(matches!(
            refused,
            Err(StoreError::Refused(CommandError::AnswerTooLong { .. }))
        ));
        assert!(store.delete(BOOKS, &id).await.unwrap().is_some());
        running.stop().await;
    });
}

#[test]
fn a_setting_that_was_lowered_refuses_no_short_answers() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::start(started(folder.path(), |_| {})).await;
        let store = &running.store;
        let kept = || store.holder.engine.open().unwrap().1.tallies[store.holder.answers().0];
        let send = |n| store.write_batch(named(&format!("k{n}"), "x", vec![numbered(n)]));
        for n in 0..1_200 {
            send(n).await.unwrap();
        }
        let mut lower = settings(folder.path());
        lower.storage.answers_bytes = 1_000;
        store.set_limits(&lower);
        for n in 1_200..1_203 {
            assert!(!send(n).await.unwrap().replayed);
        }
        assert!(kept().bytes <= 1_000, "{:?}", kept());
        running.stop().await;
    });
}

#[test]
fn on_a_full_disk_no_answer_is_kept_even_of_a_deletion() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::start(started(folder.path(), |_| {})).await;
        let store = &running.store;
        let create = || named("a", "x", vec![numbered(1)]);
        assert!(!store.write_batch(create()).await.unwrap().replayed);
        let mut full = settings(folder.path());
        full.storage.reserve = crate::settings::AutoSize::Bytes(u64::MAX);
        store.set_limits(&full);
        let id = RecordId::Number(1);
        let delete = named("d", "x", vec![WriteCommand::Delete { id: id.clone() }]);
        assert_eq!(store.write_batch(delete).await, Err(StoreError::Full));
        assert!(store.write_batch(create()).await.unwrap().replayed);
        assert!(store.delete(BOOKS, &id).await.unwrap().is_some());
        running.stop().await;
    });
}
