//! Several records made by one request: an array, or a line of JSON for each (NDJSON). All are made, or none.

use std::sync::Arc;

use actix_web::http::header::HeaderName;
use serde_json::value::RawValue;

use super::super::answer::set;
use super::super::operations::{AllDone, carry_out_all};
use super::super::routes::ResourceTarget;
use super::told::ToldChange;
use super::{ResourceRequest, set_preference_applied};
use crate::record::{Conditions, JsonObject, NewValues, RequestKey, WriteCommand};
use crate::storage::{Write, Written, unix_ms};
use crate::wire::{Code, Problem, Response};

/// The media type of a body with a line of JSON for each record.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// The texts of the records: the items of an array, or the lines that are not empty. `most` of them at most.
pub(super) fn items(body: &[u8], is_lines: bool, most: usize) -> Result<Vec<&[u8]>, Problem> {
    let items = if is_lines {
        let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let lines = lines.filter(|line| !line.is_empty());
        lines.take(most.saturating_add(1)).collect()
    } else {
        let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
            Problem::new(Code::InvalidJson).detail(format!("not valid JSON: {error}"))
        })?;
        let items = items.into_iter().map(|item| item.get().as_bytes());
        items.collect::<Vec<_>>()
    };
    if items.len() > most {
        let detail = format!("a request may have {most} records (limits.batch); send several");
        return Err(Problem::new(Code::BodyTooLarge).detail(detail));
    }
    Ok(items)
}

/// The command that makes the record of a text.
fn create(
    target: &ResourceTarget,
    text: &[u8],
    conditions: &Conditions,
    bytes_max: usize,
) -> Result<Write, Problem> {
    if text.len() > bytes_max {
        let detail = format!("a record may have {bytes_max} bytes (limits.body)");
        return Err(Problem::new(Code::BodyTooLarge).detail(detail));
    }
    let settings = &target.settings;
    let mut object = JsonObject::read(text)?;
    object.remove_meta();
    let new = NewValues::at(unix_ms());
    Ok(Write {
        collection: target.collection,
        schema: Arc::clone(&settings.schema),
        command: WriteCommand::post(object, settings.ids, &settings.schema, &new)?,
        conditions: Conditions {
            owner: conditions.owner.clone(),
            ..Conditions::default()
        },
        bytes: text.len(),
    })
}

impl ResourceRequest<'_> {
    /// Makes all of these records.
    pub(super) async fn create_all(
        &self,
        texts: &[&[u8]],
        conditions: &Conditions,
        key: Option<RequestKey>,
        dry_run: bool,
    ) -> Result<(ToldChange, bool), Problem> {
        let bytes_max = self.site.settings.limits.body_bytes;
        let writes = texts
            .iter()
            .map(|text| create(self.target, text, conditions, bytes_max));
        let done = carry_out_all(
            &*self.site.store,
            self.request,
            writes.collect(),
            key,
            dry_run,
        )
        .await?;
        match done {
            AllDone::Done(written) => {
                let replayed = written.replayed;
                Ok((told_all(written.results.into_iter().flatten()), replayed))
            }
            AllDone::Refused(problems) => Err(Problem::of_all(problems, "records")),
        }
    }
}

/// The answer with all records that were made.
pub(super) fn told_all(written: impl Iterator<Item = Written>) -> ToldChange {
    let records: Vec<_> = written.filter_map(Written::record).collect();
    ToldChange::created(&records)
}

impl Problem {
    /// The problem of several operations of which one was refused: the first refusal, with the results of all.
    pub(crate) fn of_all(problems: Vec<Self>, what: &str) -> Self {
        let results = problems.iter().map(Self::result).collect();
        let failed = problems
            .iter()
            .filter(|problem| !problem.is(Code::Cancelled))
            .count();
        let all = problems.len();
        let mut numbered = problems.into_iter().enumerate();
        let first = numbered.find(|(_, problem)| !problem.is(Code::Cancelled));
        let (at, first) = first.unwrap_or((0, Self::new(Code::Cancelled)));
        let detail = format!(
            "nothing was done, since {failed} of {all} {what} were refused; the first is number {at} (from 0): {}",
            first.text()
        );
        first.detail(detail).extension("results", results)
    }
}

/// The answer, with what was special about the request.
pub(crate) fn finish(mut response: Response, dry_run: bool, replayed: bool) -> Response {
    if dry_run {
        set_preference_applied(&mut response, "tx=rollback");
    }
    if replayed {
        let name = HeaderName::from_static("idempotent-replayed");
        set(&mut response, name, "true");
    }
    response
}
