//! A change of records: from the request to the command, and from what the store did to the answer.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName};
use bytes::Bytes;

use super::super::answer::Answered;
use super::super::conditional::conditions;
use super::super::operations::carry_out;
use super::super::routes::ResourceTarget;
use super::ResourceRequest;
use super::dialect::{BodyOf, JSON_PATCH, is_array, media_type, without_mark};
use super::item::absent_in_put;
use super::many::{self, NDJSON, finish, told_all};
use super::negotiation::{prefers, value_of};
use super::told::{ToldChange, refused};
use super::wanted::WriteWish;
use crate::record::{
    Absent, CommandError, Conditions, IdScheme, JsonObject, ListQuery, MATCHING_MAX,
    MatchingChange, NewValues, RecordFilter, RecordId, RecordPatch, RequestKey, Tags, WriteCommand,
};
use crate::settings::{Permission, Put};
use crate::storage::{BatchWritten, Write, WriteBatch, unix_ms};
use crate::wire::{Code, Incoming, Problem, read_body, read_body_by};

/// The detail of the answer to a PUT that could have created the record.
const PUT_ABSENT: &str = "there is no record with this id; to create it, send If-None-Match: *, or set upsert = true for the resource";
/// The field with which a client names its request.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

impl WriteWish {
    /// The kind of its body; `None` if it has none.
    fn body(&self) -> Option<BodyOf> {
        match self {
            Self::Create => Some(BodyOf::Post),
            Self::Patch(_) | Self::PatchWhere(_) => Some(BodyOf::Patch),
            Self::Put(_) | Self::DeleteMatching => Some(BodyOf::Other),
            Self::Delete(_) | Self::DeleteWhere(_) => None,
        }
    }

    /// Refuses a change without a condition on the state of the record, where the resource requires one; and `If-Match` on a change of several records.
    pub(crate) fn must_name_state(
        &self,
        target: &ResourceTarget,
        conditions: &Conditions,
    ) -> Result<(), Problem> {
        let required = target.settings.if_match_required;
        match self {
            Self::Put(_) | Self::Patch(_) | Self::Delete(_) => {
                // `If-None-Match: *` names a state, too: that there is no record. Other tags there name none.
                let named =
                    conditions.if_match.is_some() || conditions.if_none_match == Some(Tags::Any);
                if required && !named {
                    let detail = "send If-Match with the ETag of the record that is to be changed";
                    return Err(Problem::new(Code::PreconditionRequired).detail(detail));
                }
            }
            Self::PatchWhere(_) | Self::DeleteWhere(_) | Self::DeleteMatching if required => {
                let detail =
                    "this resource requires If-Match: change one record at a time, with its ETag";
                return Err(Problem::new(Code::PreconditionRequired).detail(detail));
            }
            Self::Create | Self::PatchWhere(_) | Self::DeleteWhere(_) | Self::DeleteMatching => {
                if conditions.if_match.is_some() {
                    let detail = "If-Match is for a change of one record";
                    return Err(Problem::new(Code::PreconditionFailed).detail(detail));
                }
            }
        }
        Ok(())
    }

    /// The command that does it. `most` says how many records may be changed at once.
    pub(crate) fn command(
        self,
        body: &ChangeBody<'_>,
        conditions: &Conditions,
        most: impl FnOnce() -> Result<usize, Problem>,
    ) -> Result<WriteCommand, Problem> {
        let settings = &body.target.settings;
        let bytes_max = body.bytes_max;
        let patch = |id, patch, absent| WriteCommand::Patch {
            id,
            patch,
            absent,
            bytes_max,
        };
        let owner = conditions.owner.as_deref();
        let own = |query: Box<ListQuery>| {
            RecordFilter::Query(match owner {
                Some(owner) => Box::new(owner.limit(*query)),
                None => query,
            })
        };
        let matching = |filter, change, most| WriteCommand::Matching {
            filter,
            change,
            most,
        };
        Ok(match self {
            Self::Create => {
                let new = NewValues::at(unix_ms());
                WriteCommand::post(body.object()?, settings.ids, &settings.schema, &new)?
            }
            Self::Put(id) => {
                let mut object = body.object_of(&id)?;
                let create_only = conditions.if_none_match == Some(Tags::Any);
                let absent = absent_in_put(settings, create_only);
                match settings.put {
                    Put::Replace => {
                        settings.check(&mut object)?;
                        let json = object.text(&id);
                        WriteCommand::Replace { id, json, absent }
                    }
                    Put::Merge => patch(id, RecordPatch::Merge(object), absent),
                }
            }
            Self::Patch(id) => {
                let of = body.patch(|| body.object_of(&id))?;
                patch(id, of, Absent::Refuse)
            }
            Self::Delete(id) => WriteCommand::Delete { id },
            Self::PatchWhere(query) => {
                let most = most()?;
                let patch = body.patch(|| body.object_without_id())?;
                let change = MatchingChange::Patch { patch, bytes_max };
                matching(own(query), change, most)
            }
            Self::DeleteWhere(query) => matching(own(query), MatchingChange::Delete, most()?),
            Self::DeleteMatching => {
                let mut example = body.example()?;
                if let Some(owner) = owner
                    && !owner.limit_example(&mut example)
                {
                    let detail = "the example names another owner, whose records you can't change";
                    return Err(Problem::new(Code::NotPermitted).detail(detail));
                }
                let example = RecordFilter::Example(example);
                matching(example, MatchingChange::Delete, MATCHING_MAX)
            }
        })
    }
}

/// The body of a change.
pub(crate) struct ChangeBody<'a> {
    pub(crate) target: &'a ResourceTarget,
    pub(crate) text: &'a [u8],
    /// Whether it is a JSON Patch.
    pub(crate) by_operations: bool,
    /// The length that a patched record may have.
    pub(crate) bytes_max: usize,
}

impl ChangeBody<'_> {
    fn object(&self) -> Result<JsonObject, Problem> {
        let mut object = JsonObject::read(self.text)?;
        object.remove_meta();
        Ok(object)
    }

    /// The object for the record of this id. If it has an id, it must be the same.
    fn object_of(&self, id: &RecordId) -> Result<JsonObject, Problem> {
        let mut object = self.object()?;
        match object.id(self.target.settings.ids)? {
            Some(named) if named != *id => {
                let detail = format!("the path names {id}, the body {named}");
                Err(Problem::new(Code::IdMismatch).detail(detail))
            }
            Some(_) | None => {
                // It may be written in another way, such as `1.0`.
                object.remove_id();
                Ok(object)
            }
        }
    }

    /// The object for several records.
    fn object_without_id(&self) -> Result<JsonObject, Problem> {
        let object = self.object()?;
        if object.id(self.target.settings.ids)?.is_some() {
            let detail = "a patch of several records can't name an id";
            return Err(Problem::new(Code::IdMismatch).detail(detail));
        }
        Ok(object)
    }

    fn patch(
        &self,
        object: impl FnOnce() -> Result<JsonObject, Problem>,
    ) -> Result<RecordPatch, Problem> {
        if self.by_operations {
            return Ok(RecordPatch::operations(self.text)?);
        }
        if is_array(self.text) {
            let detail = format!("a merge patch is an object; send operations as {JSON_PATCH}");
            return Err(Problem::new(Code::NotAnObject).detail(detail));
        }
        Ok(RecordPatch::Merge(object()?))
    }

    fn example(&self) -> Result<JsonObject, Problem> {
        let example = self.object()?;
        if example.members().is_empty() {
            let detail =
                "the example must have at least one member: an empty one would delete everything";
            return Err(Problem::new(Code::InvalidParameter).detail(detail));
        }
        Ok(example)
    }
}

/// The number of records that a client allows to be changed at once. It must be said, so that nobody changes more by mistake.
pub(crate) fn max_affected(sent: Option<usize>, most: usize, name: &str) -> Result<usize, Problem> {
    let refuse = |detail| Err(Problem::new(Code::InvalidParameter).detail(detail));
    match sent {
        Some(sent) if sent > most => refuse(format!(
            "{name} may be {most} at most (limits.batch); change fewer records at a time"
        )),
        Some(sent) => Ok(sent),
        None => refuse(format!(
            "say how many records may be changed at most, with {name}; if more match, none is changed"
        )),
    }
}

impl ResourceRequest<'_> {
    /// Carries out a change.
    pub(super) async fn change(&mut self, wish: WriteWish) -> Answered {
        let mark = self.site.store.mark().await?;
        let conditions = Conditions {
            owner: self.owner(Permission::Write).map(Box::new),
            ..conditions(self.request.headers(), mark)
        };
        wish.must_name_state(self.target, &conditions)?;
        let body = without_mark(self.read_body_of(&wish).await?);
        let headers = self.request.headers();
        let sent = media_type(headers).unwrap_or_default();
        let dry_run = prefers(headers, "tx", "rollback");
        let key = self.key(&body)?.filter(|_| !dry_run);
        let is_lines = self.is_lines();
        let makes_many = wish == WriteWish::Create && (is_lines || is_array(&body));
        let before = match &key {
            Some(key) => self.site.store.answered(key).await?,
            None => None,
        };
        if makes_many {
            let (told, replayed) = if let Some(before) = before {
                (told_all(before.results.into_iter().flatten()), true)
            } else {
                let most = self.site.settings.limits.batch.get();
                let texts = many::items(&body, is_lines, most)?;
                self.create_all(&texts, &conditions, key, dry_run).await?
            };
            let minimal = prefers(self.request.headers(), "return", "minimal");
            return Ok(finish(told.response(minimal), dry_run, replayed));
        }
        if let Some(before) = before {
            return self.told(before, mark, dry_run);
        }
        let limits = &self.site.settings.limits;
        let by_operations = sent.eq_ignore_ascii_case(JSON_PATCH);
        let most = || {
            let sent = value_of(headers, "max-affected").and_then(|sent| sent.parse().ok());
            max_affected(sent, limits.batch.get(), "Prefer: max-affected=N")
        };
        let read = ChangeBody {
            target: self.target,
            text: &body,
            by_operations,
            bytes_max: limits.body_bytes,
        };
        let command = wish.command(&read, &conditions, most)?;
        let write = Write {
            collection: self.target.collection,
            schema: Arc::clone(&self.target.settings.schema),
            command,
            conditions,
            bytes: body.len(),
        };
        let batch = WriteBatch {
            dry_run,
            key,
            by: self.request.changed_by(),
            ..WriteBatch::all(vec![write])
        };
        let written = carry_out(&*self.site.store, self.request, batch).await??;
        self.told(written, mark, dry_run)
    }

    /// The body, if it is of a media type that is read.
    async fn read_body_of(&mut self, wish: &WriteWish) -> Result<Bytes, Problem> {
        let Some(kind) = wish.body() else {
            return Ok(Bytes::new());
        };
        if *wish == WriteWish::DeleteMatching && !self.request.has_body() {
            let detail = "send an example: what is equal to it in all its members is deleted; or filters and Prefer: max-affected=N";
            return Err(Problem::new(Code::InvalidParameter).detail(detail));
        }
        let settings = &self.target.settings;
        settings.must_read(kind, self.request.headers())?;
        let limits = &self.site.settings.limits;
        let (one, many) = (limits.body_bytes, limits.batch_bytes.max(limits.body_bytes));
        if *wish != WriteWish::Create {
            return read_body(self.request, one).await;
        }
        let lines = self.is_lines();
        let limit_of = |begin: &[u8]| {
            if lines || is_array(begin) { many } else { one }
        };
        read_body_by(self.request, many, limit_of).await
    }

    /// Whether the body has a line of JSON for each record.
    fn is_lines(&self) -> bool {
        let sent = media_type(self.request.headers());
        sent.is_some_and(|sent| sent.eq_ignore_ascii_case(NDJSON))
    }

    /// The name that the client gives the request, if it gives one.
    fn key(&self, body: &[u8]) -> Result<Option<RequestKey>, Problem> {
        let method = self.request.method().as_str().as_bytes();
        let (path, query) = (self.request.path(), self.request.query());
        let request = [method, path.as_bytes(), query.as_bytes(), body];
        request_key(self.request, &request)
    }

    /// Whether the request could create the record that it names, if it insisted on that.
    fn could_create(&self) -> bool {
        let put = self.request.method() == Method::PUT;
        put && self.target.settings.ids != IdScheme::Sequence
    }

    /// The answer with what was done.
    fn told(&self, written: BatchWritten, mark: &str, dry_run: bool) -> Answered {
        let replayed = written.replayed;
        let result = written.results.into_iter().next();
        let written = match result.unwrap_or(Err(CommandError::Cancelled)) {
            Err(CommandError::Absent) if self.could_create() => {
                return Err(Problem::new(Code::NotFound).detail(PUT_ABSENT));
            }
            written => written.map_err(|error| refused(error, mark))?,
        };
        let told = ToldChange::new(&written, &self.url(), mark, dry_run);
        let minimal = prefers(self.request.headers(), "return", "minimal");
        Ok(finish(told.response(minimal), dry_run, replayed))
    }
}

/// Whether a body is JSON, by its media type.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|sent| sent.eq_ignore_ascii_case(super::JSON))
}

/// The name that a client gives a request, which is told from others by `request`.
pub(crate) fn request_key(
    sent_by: &Incoming,
    request: &[&[u8]],
) -> Result<Option<RequestKey>, Problem> {
    let mut sent = sent_by
        .headers()
        .get_all(HeaderName::from_static(IDEMPOTENCY_KEY));
    let Some(value) = sent.next() else {
        return Ok(None);
    };
    if sent.next().is_some() {
        let detail = "send Idempotency-Key once";
        return Err(Problem::new(Code::InvalidKey).detail(detail));
    }
    // The answer to one client is for no other one.
    let client = sent_by.identity().map(|identity| identity.name.as_bytes());
    let request: Vec<_> = request.iter().copied().chain(client).collect();
    Ok(Some(RequestKey::read(value.as_bytes(), &request)?))
}
