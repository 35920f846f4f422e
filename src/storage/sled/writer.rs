//! The writer: the only one that changes the store, on a thread of its own.
//!
//! Whatever has arrived while the last group was written becomes the next group: its commands are evaluated one by one on
//! top of what the group holds already, appended to the journal and synced, answered, and then applied to the view.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::answers::AnswerOrder;
use super::batch::WriteAnswer;
use super::checked::Checked;
use super::commit::Committed;
use super::deciding::Decided;
use super::engine::Keyspace;
use super::failing_disk;
use super::holder::Holder;
use super::index_declaring::DeclaredIndexes;
use super::log::{LogEntry, seq_key};
use super::message::StoreMessage;
use super::query_look;
use super::reader_state::OpenEngine;
use super::staging::{Staging, WriteTarget};
use crate::record::{CommandError, Decision, RecordId, WriteCommand};
use crate::storage::{CollectionId, StoreError, Write, Written, unix_ms};
use crate::supervision::{
    BatchLimits, BlockingChild, BoxError, Delivery, Faults, Fence, Incarnation, MessageId,
};

/// The largest group. While a group is applied, its writer holds sled's process-wide lock, and readers wait.
pub(super) const GROUP: BatchLimits = BatchLimits {
    messages: 128,
    bytes: 1 << 20,
};
/// The writer's fault points.
pub(super) const POINTS: [&str; 7] = [
    "writer.message",
    "writer.in_transaction",
    "writer.fatal",
    "writer.before_answers",
    "writer.before_view",
    "writer.after_view",
    "writer.declaring",
];
/// The longest time that the start waits for the store, before the rest of the daemon starts without it.
const START_WAIT: Duration = Duration::from_secs(2);

/// The durations of commits, in seconds.
pub(super) type CommitTimes = Histogram;

/// From 100 us to 6.5 s.
pub(super) fn commit_times() -> CommitTimes {
    Histogram::new(exponential_buckets(0.0001, 2.0, 17))
}

/// The parts that all incarnations of the writer use.
#[derive(Clone)]
pub(super) struct WriterSettings {
    pub(super) faults: Faults,
    pub(super) commits: CommitTimes,
}

/// One incarnation of the writer.
pub(super) struct Writer {
    pub(super) holder: Arc<Holder>,
    incarnation: Incarnation,
    pub(super) fence: Fence,
    pub(super) settings: WriterSettings,
    /// The open store; none until it was opened.
    pub(super) open: Option<Arc<OpenEngine>>,
    pub(super) checked: Checked,
    /// The declaration that its indexes are in line with; none until they are.
    pub(super) declared: Option<DeclaredIndexes>,
    /// The kept answers; none until they were needed.
    pub(super) answers: Option<AnswerOrder>,
}

impl Writer {
    pub(super) fn new(
        holder: Arc<Holder>,
        incarnation: Incarnation,
        settings: WriterSettings,
    ) -> Result<Self, BoxError> {
        let mut writer = Self {
            holder,
            fence: incarnation.fence(),
            incarnation,
            settings,
            open: None,
            checked: Checked::default(),
            declared: None,
            answers: None,
        };
        // A store that is refused late must end the process, too.
        let exits = writer.holder.limits.now().exit_on_refusal;
        let limit = if exits { Duration::MAX } else { START_WAIT };
        writer.wait_open(limit, &|_| true);
        match writer.holder.refusal() {
            Some(refusal) if exits => Err(refusal.text.into()),
            Some(_) | None => Ok(writer),
        }
    }

    /// Waits until the store is open, as long as that is `worth_it`. `None` if it does not open now.
    fn wait_open(
        &mut self,
        limit: Duration,
        worth_it: &dyn Fn(&Holder) -> bool,
    ) -> Option<Arc<OpenEngine>> {
        if self.open.is_none() {
            let wanted = || self.incarnation.wanted() && worth_it(&self.holder);
            let (open, checked) = self.holder.wait_open(limit, &wanted)?;
            self.open = Some(open);
            self.checked = checked;
        }
        self.open.clone()
    }

    /// Commits a group and answers its writes. Their answers wait for that even if they are errors: what they tell may be
    /// the group's doing.
    fn end_group(
        &mut self,
        open: &OpenEngine,
        staging: Staging<'_>,
        answers: &mut Vec<WriteAnswer<'_>>,
    ) -> Result<(), BoxError> {
        let answer =
            |answers: &mut Vec<WriteAnswer<'_>>| answers.drain(..).for_each(WriteAnswer::give);
        if staging.group.is_empty() {
            answer(answers);
            return Ok(());
        }
        let answer = || answer(answers);
        let error = match self.commit(open, staging, answer)? {
            Committed::Done => return Ok(()),
            Committed::TooMuch => CommandError::TooMuch.into(),
            Committed::NoRoom => StoreError::Full,
            Committed::NotWritten => failing_disk::not_written(Duration::ZERO),
            Committed::Unknown => StoreError::OutcomeUnknown,
            Committed::Replaced => return Err("the writer has been replaced".into()),
        };
        for answer in answers.drain(..) {
            if error == StoreError::Full {
                self.holder.space.refused();
            }
            answer.refuse(error.clone());
        }
        Ok(())
    }

    /// Answers what is not a write.
    fn answer_others(
        &self,
        open: &OpenEngine,
        batch: &[Delivery<StoreMessage>],
    ) -> Result<(), BoxError> {
        let mut heal = false;
        for delivery in batch {
            match &**delivery {
                StoreMessage::Look {
                    collection,
                    query,
                    reply,
                } if !delivery.expired() => {
                    reply.settle(query_look::look(open, &self.holder, *collection, query));
                }
                StoreMessage::Heal { era } if *era == open.era => heal = true,
                StoreMessage::Applied { reply } => {
                    reply.settle(Ok(()));
                }
                StoreMessage::Indexes { done } => self.tell_index_step(open, done)?,
                StoreMessage::Declare { candidate, reply } => {
                    self.settings.faults.hit("writer.declaring");
                    reply.settle(self.holder.declare(open, candidate));
                }
                StoreMessage::Write { .. }
                | StoreMessage::Look { .. }
                | StoreMessage::Heal { .. }
                | StoreMessage::UseView { .. } => {}
            }
        }
        if heal {
            self.holder.files.doubt_view(&mut open.log.lock());
            self.holder.doubt();
            return Err("a record in the view is damaged: the view is made again".into());
        }
        Ok(())
    }
}

/// Whether a write that was staged before was committed: whether the log of changes has the entry of its last change, and it is this
/// message's. A group is in the log of changes as a whole or not at all, and the last entries are the last ones to go.
pub(super) fn was_committed(
    open: &OpenEngine,
    message: MessageId,
    changes: &RangeInclusive<u64>,
) -> Result<bool, StoreError> {
    if changes.is_empty() {
        return Ok(false);
    }
    let entry = open.engine.get(Keyspace::Log, &seq_key(*changes.end()))?;
    let its = |entry: &[u8]| LogEntry::decode(entry).is_ok_and(|e| e.message == message);
    Ok(entry.is_some_and(|entry| its(&entry)))
}

/// The records of these ids, or the one that a command is to create with the next number. All that it reads is read here, so
/// that nothing of it is staged after an error.
pub(super) fn targets(
    staging: &Staging<'_>,
    collection: CollectionId,
    command: &WriteCommand,
    ids: Vec<RecordId>,
) -> Result<Vec<WriteTarget>, StoreError> {
    if let WriteCommand::CreateNumbered { .. } = command {
        return Ok(vec![staging.numbered(collection)?]);
    }
    let target = |id| Ok(staging.target(collection, id)?);
    ids.into_iter().map(target).collect()
}

/// Stages what was decided about the records of a command.
pub(super) fn stage(
    staging: &mut Staging<'_>,
    write: &Write,
    message: MessageId,
    decided: Vec<Decided>,
) -> Written {
    let command = &write.command;
    let matching = matches!(command, WriteCommand::Matching { .. });
    let (mut written, mut matched) = (None, Vec::new());
    for it in decided {
        let target = it.target;
        let origin = staging.next(it.collection, message).after_creation(&target);
        let done = match it.decision {
            Decision::Put(json) if target.current.is_none() => {
                Some(Written::Created(staging.put(origin, target, json)))
            }
            Decision::Put(json) => Some(Written::Replaced(staging.put(origin, target, json))),
            Decision::Remove => staging.remove(origin, target).map(Written::Deleted),
            Decision::Keep => None,
        };
        if matching {
            matched.extend(done.and_then(Written::record).filter(|_| it.is_named));
        } else if it.is_named {
            written = done;
        }
    }
    written.unwrap_or_else(|| {
        if command.deletes() {
            Written::DeletedMatching(matched)
        } else {
            Written::PatchedMatching(matched)
        }
    })
}

impl BlockingChild for Writer {
    type Message = StoreMessage;

    fn handle(&mut self, batch: &[Delivery<StoreMessage>]) -> Result<(), BoxError> {
        let is_short = |holder: &Holder| holder.healing.blocked().is_none();
        let Some(open) = self.wait_open(self.holder.limits.now().deadline, &is_short) else {
            let error = self.holder.unready().unwrap_or(StoreError::Unavailable);
            for delivery in batch {
                refuse(delivery, error.clone());
            }
            return Ok(());
        };
        let first = batch.iter().all(|delivery| delivery.attempt() == 1);
        let faults = first.then(|| self.settings.faults.clone());
        let faults = faults.unwrap_or_else(Faults::none);
        faults.hit("writer.message");
        let writes =
            |delivery: &Delivery<StoreMessage>| matches!(**delivery, StoreMessage::Write { .. });
        let named = |delivery: &Delivery<StoreMessage>| matches!(&**delivery, StoreMessage::Write { batch, .. } if batch.batch.key.is_some());
        if self.answers.is_none() && batch.iter().any(named) {
            self.answers = Some(AnswerOrder::read(&open, self.holder.answers())?);
        }
        // A resource may have been declared meanwhile.
        let resources = open.engine.collections().len();
        self.checked
            .tallies
            .resize_with(resources, Default::default);
        let writes = batch.iter().any(writes);
        if writes && first {
            self.holder.engine.handovers.add(self.checked.last_seq + 1);
        }
        let full = writes && self.holder.space.refuses();
        if writes && !full {
            self.follow_declaration(&open)?;
        }
        let stage = |writer: &Self| Staging {
            faults: faults.clone(),
            full,
            now_ms: unix_ms(),
            ..Staging::new(
                &*open.engine,
                writer.checked.clone(),
                open.indexes.load_full(),
            )
        };
        let mut staging = stage(self);
        let mut answers = Vec::with_capacity(batch.len());
        for (index, delivery) in batch.iter().enumerate() {
            // Its group has nothing else, so that all of it can be left out.
            let alone = delivery.begins_group();
            if alone && !staging.group.is_empty() {
                self.end_group(&open, staging, &mut answers)?;
                staging = stage(self);
            }
            if !delivery.expired() {
                let answer = self.answer_for(&open, &mut staging, delivery);
                if alone && answer.as_ref().is_some_and(|answer| !answer.stays) {
                    // What was staged of it goes, and nothing else was.
                    staging = stage(self);
                }
                answers.extend(answer);
            }
            // The chunks that a command removes were not counted when it was taken from the queue.
            let last = index + 1 == batch.len();
            if alone || last || staging.group.bytes() >= GROUP.bytes {
                self.end_group(&open, staging, &mut answers)?;
                staging = stage(self);
            }
        }
        drop(staging);
        faults.hit("writer.after_view");
        self.answer_others(&open, batch)?;
        self.use_view_from(batch);
        Ok(())
    }

    fn stop(&mut self) {
        // There is nothing to write between two groups: what was answered is on the disk.
    }
}

/// Answers a message while there is no store.
fn refuse(delivery: &Delivery<StoreMessage>, error: StoreError) {
    match &**delivery {
        // The journal may have it: it was staged before the store was left.
        StoreMessage::Write { batch, reply } if batch.prepared.lock().is_some() => {
            reply.settle(Err(StoreError::OutcomeUnknown));
        }
        StoreMessage::Write { reply, .. } => {
            reply.settle(Err(error));
        }
        StoreMessage::Look { reply, .. } => {
            reply.settle(Err(error));
        }
        StoreMessage::Applied { reply } => {
            reply.settle(Err(StoreError::Unavailable));
        }
        StoreMessage::Declare { reply, .. } => {
            reply.settle(Err(StoreError::Unavailable));
        }
        // It is made again already, and whoever asks about indexes asks again.
        StoreMessage::Heal { .. } | StoreMessage::Indexes { .. } => {}
        StoreMessage::UseView { view } => drop(view.lock().take()),
    }
}
