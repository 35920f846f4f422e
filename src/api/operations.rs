//! Several changes that are all carried out or none, with every refusal told.

use std::pin::pin;

use super::resource::refused;
use crate::record::{CommandError, RequestKey};
use crate::storage::{BatchWritten, Store, StoreError, Write, WriteBatch};
use crate::wire::{Code, Incoming, Problem};

/// The end of several changes.
pub(super) enum AllDone {
    Done(BatchWritten),
    /// Nothing was done. One problem for each change; those that could have been done are cancelled.
    Refused(Vec<Problem>),
}

/// Carries out a batch. If the client leaves while the records are looked for that its filters match, it is not carried out: few
/// look at a time, and a client that has left must not hold a place.
pub(super) async fn carry_out(
    store: &dyn Store,
    request: &Incoming,
    batch: WriteBatch,
) -> Result<Result<BatchWritten, StoreError>, Problem> {
    let found = pin!(store.find_matching(batch));
    Ok(match request.unless_left(found).await? {
        Ok(found) => store.carry_out(found).await,
        Err(error) => Err(error),
    })
}

/// Carries out changes, all or none. Some may be refused already; then the others are only tried out, so that what else would be
/// refused is told, too.
pub(super) async fn carry_out_all(
    store: &dyn Store,
    request: &Incoming,
    writes: Vec<Result<Write, Problem>>,
    key: Option<RequestKey>,
    dry_run: bool,
) -> Result<AllDone, Problem> {
    let refused_before = writes.iter().any(Result::is_err);
    let (mut problems, mut tried) = (Vec::with_capacity(writes.len()), Vec::new());
    for write in writes {
        match write {
            Ok(write) => {
                tried.push(write);
                problems.push(None);
            }
            Err(problem) => problems.push(Some(problem)),
        }
    }
    let batch = WriteBatch {
        dry_run: dry_run || refused_before,
        key,
        by: request.changed_by(),
        ..WriteBatch::all(tried)
    };
    let mark = store.mark().await?.to_owned();
    let written = match carry_out(store, request, batch).await? {
        // What could not be looked at is no refusal of its own, where there are others.
        Err(error) if refused_before && !matches!(error, StoreError::Refused(_)) => None,
        written => Some(written?),
    };
    let Some(written) = written else {
        return Ok(AllDone::Refused(with_results(problems, Vec::new())));
    };
    if !refused_before && written.results.iter().all(Result::is_ok) {
        return Ok(AllDone::Done(written));
    }
    let results = written.results.into_iter().map(|result| {
        let error = result.err().unwrap_or(CommandError::Cancelled);
        refused(error, &mark)
    });
    Ok(AllDone::Refused(with_results(problems, results.collect())))
}

/// The problems, with those of the changes that were tried in their places.
fn with_results(problems: Vec<Option<Problem>>, tried: Vec<Problem>) -> Vec<Problem> {
    let cancelled = || refused(CommandError::Cancelled, "");
    let mut tried = tried.into_iter();
    let problems = problems.into_iter();
    let all =
        problems.map(|problem| problem.unwrap_or_else(|| tried.next().unwrap_or_else(cancelled)));
    all.collect()
}

/// The refusal of a body that is no batch.
pub(super) fn no_batch(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidBatch).detail(detail)
}
