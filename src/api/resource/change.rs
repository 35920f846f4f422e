//! A change of records: from the request to the command, and from what the store did to the answer.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use bytes::Bytes;

use super::super::answer::{Answered, empty, set};
use super::super::conditional::{conditions, etag};
use super::super::refused::failed_condition;
use super::super::routes::ResourceTarget;
use super::dialect::BodyOf;
use super::item::absent_in_put;
use super::negotiation::prefers;
use super::wanted::WriteWish;
use super::{ResourceRequest, array, json, set_preference_applied};
use crate::record::{
    Absent, CommandError, Conditions, IdScheme, JsonObject, NewValues, RecordId, RequestKey, Tags,
    WriteCommand,
};
use crate::settings::Put;
use crate::storage::{BatchWritten, Write, WriteBatch, Written, unix_ms};
use crate::wire::{Code, Problem, read_body};

/// The detail of the answer to a PUT that could have created the record.
const PUT_ABSENT: &str = "there is no record with this id; to create it, send If-None-Match: *, or set upsert = true for the resource";
/// The field with which a client names its request.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

impl WriteWish {
    /// The kind of its body; `None` if it has none.
    fn body(&self) -> Option<BodyOf> {
        match self {
            Self::Create => Some(BodyOf::Post),
            Self::Patch(_) => Some(BodyOf::Patch),
            Self::Put(_) | Self::DeleteMatching => Some(BodyOf::Other),
            Self::Delete(_) => None,
        }
    }

    /// Whether it is about one record, whose state it can depend on.
    fn is_conditional(&self) -> bool {
        match self {
            Self::Put(_) | Self::Patch(_) | Self::Delete(_) => true,
            Self::Create | Self::DeleteMatching => false,
        }
    }

    /// The command that does it. `body` is its body, and `bytes_max` how long a patched record may become.
    pub(super) fn command(
        self,
        target: &ResourceTarget,
        conditions: &Conditions,
        body: &[u8],
        bytes_max: usize,
    ) -> Result<WriteCommand, Problem> {
        let settings = &target.settings;
        let object = || {
            let mut object = JsonObject::parse(body)?;
            object.remove_meta();
            Ok::<_, Problem>(object)
        };
        // If the object has an id, it must be the same.
        let object_of = |id: &RecordId| {
            let object = object()?;
            match object.id(settings.ids)? {
                Some(named) if named != *id => {
                    let detail = format!("the path names {id}, the body {named}");
                    Err(Problem::new(Code::IdMismatch).detail(detail))
                }
                Some(_) | None => Ok(object),
            }
        };
        let merge = |id, patch, absent| WriteCommand::Merge {
            id,
            patch,
            absent,
            bytes_max,
        };
        Ok(match self {
            Self::Create => {
                let new = NewValues::at(unix_ms());
                WriteCommand::create(object()?, settings.ids, &settings.schema, &new)?
            }
            Self::Put(id) => {
                let mut object = object_of(&id)?;
                let create_only = conditions.if_none_match == Some(Tags::Any);
                let absent = absent_in_put(settings, create_only);
                match settings.put {
                    Put::Replace => {
                        settings.check(&mut object)?;
                        let json = object.text(&id);
                        WriteCommand::Replace { id, json, absent }
                    }
                    Put::Merge => merge(id, object, absent),
                }
            }
            Self::Patch(id) => {
                let patch = object_of(&id)?;
                merge(id, patch, Absent::Refuse)
            }
            Self::Delete(id) => WriteCommand::Delete { id },
            Self::DeleteMatching => {
                let example = object()?;
                if example.members().is_empty() {
                    let detail = "the example must have at least one member: an empty one would delete everything";
                    return Err(Problem::new(Code::InvalidParameter).detail(detail));
                }
                WriteCommand::DeleteMatching { example }
            }
        })
    }
}

impl ResourceRequest<'_> {
    /// Carries out a change.
    pub(super) async fn change(&mut self, wish: WriteWish) -> Answered {
        let conditions = if wish.is_conditional() {
            self.required().await?
        } else {
            Conditions::default()
        };
        let body = self.read_body_of(&wish).await?;
        let headers = self.request.headers();
        let dry_run = prefers(headers, "tx", "rollback");
        let key = self.key(&body)?.filter(|_| !dry_run);
        if let Some(key) = &key
            && let Some(before) = self.site.store.answered(key).await?
        {
            return self.told(before, false).await;
        }
        let bytes_max = self.site.settings.limits.body_bytes;
        let command = wish.command(self.target, &conditions, &body, bytes_max)?;
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
            ..WriteBatch::all(vec![write])
        };
        let written = self.site.store.write_batch(batch).await?;
        self.told(written, dry_run).await
    }

    /// The body, if it is of a media type that is read.
    async fn read_body_of(&mut self, wish: &WriteWish) -> Result<Bytes, Problem> {
        let Some(kind) = wish.body() else {
            return Ok(Bytes::new());
        };
        if *wish == WriteWish::DeleteMatching && !self.request.has_body() {
            let detail = "send an example: what is equal to it in all its members is deleted";
            return Err(Problem::new(Code::InvalidParameter).detail(detail));
        }
        let settings = &self.target.settings;
        settings.must_read(kind, self.request.headers())?;
        read_body(self.request, self.site.settings.limits.body_bytes).await
    }

    /// The name that the client gives the request, if it gives one.
    fn key(&self, body: &[u8]) -> Result<Option<RequestKey>, Problem> {
        let method = self.request.method().as_str().as_bytes();
        let (path, query) = (self.request.path(), self.request.query());
        let request = [method, path.as_bytes(), query.as_bytes(), body];
        request_key(self.request.headers(), &request)
    }

    /// The conditions of a change, which some resources insist on (RFC 6585 section 3).
    async fn required(&self) -> Result<Conditions, Problem> {
        let conditions = conditions(self.request.headers(), self.site.store.mark().await?);
        must_name_state(self.target, &conditions)?;
        Ok(conditions)
    }

    /// Whether the request could create the record that it names, if it insisted on that.
    fn could_create(&self) -> bool {
        let put = self.request.method() == actix_web::http::Method::PUT;
        put && self.target.settings.ids != IdScheme::Sequence
    }

    /// The answer with what was done.
    async fn told(&self, written: BatchWritten, dry_run: bool) -> Answered {
        let mark = self.site.store.mark().await?;
        let replayed = written.replayed;
        let result = written.results.into_iter().next();
        let written = match result.unwrap_or(Err(CommandError::Cancelled)) {
            Err(CommandError::Precondition {
                current: Some(current),
            }) => return Err(failed_condition(&etag(current, mark))),
            Err(CommandError::Absent) if self.could_create() => {
                return Err(Problem::new(Code::NotFound).detail(PUT_ABSENT));
            }
            written => written?,
        };
        let headers = self.request.headers();
        let minimal = prefers(headers, "return", "minimal");
        let mut response = if minimal {
            let mut minimal = empty(match written {
                Written::Created(_) => StatusCode::CREATED,
                Written::Replaced(_) | Written::Deleted(_) | Written::DeletedMatching(_) => {
                    StatusCode::NO_CONTENT
                }
            });
            set_preference_applied(&mut minimal, "return=minimal");
            minimal
        } else {
            match &written {
                Written::Created(record) => json(StatusCode::CREATED, record.json.clone()),
                Written::Replaced(record) | Written::Deleted(record) => {
                    json(StatusCode::OK, record.json.clone())
                }
                Written::DeletedMatching(records) => json(StatusCode::OK, array(records)),
            }
        };
        if dry_run {
            // There is no state that an entity tag or a URL could be of.
            set_preference_applied(&mut response, "tx=rollback");
            return Ok(response);
        }
        // A deleted record has no representation left that an entity tag could be of.
        if let Written::Created(record) | Written::Replaced(record) = &written {
            set(&mut response, header::ETAG, etag(record.revision, mark));
        }
        if let Written::Created(record) = &written {
            let place = format!("{}/{}", self.url(), record.id);
            set(&mut response, header::LOCATION, place);
        }
        if replayed {
            let name = HeaderName::from_static("idempotent-replayed");
            set(&mut response, name, "true");
        }
        Ok(response)
    }
}

/// Refuses conditions that name no state, where the resource insists on one.
fn must_name_state(target: &ResourceTarget, conditions: &Conditions) -> Result<(), Problem> {
    // `If-None-Match: *` names a state, too: that there is no record. Other tags there name none.
    let named = conditions.if_match.is_some() || conditions.if_none_match == Some(Tags::Any);
    if target.settings.if_match_required && !named {
        let detail = "send If-Match with the ETag of the record that is to be changed";
        return Err(Problem::new(Code::PreconditionRequired).detail(detail));
    }
    Ok(())
}

/// The name that a client gives a request, which is told from others by `request`.
fn request_key(headers: &HeaderMap, request: &[&[u8]]) -> Result<Option<RequestKey>, Problem> {
    let mut sent = headers.get_all(HeaderName::from_static(IDEMPOTENCY_KEY));
    let Some(value) = sent.next() else {
        return Ok(None);
    };
    if sent.next().is_some() {
        let detail = "send Idempotency-Key once";
        return Err(Problem::new(Code::InvalidKey).detail(detail));
    }
    Ok(Some(RequestKey::read(value.as_bytes(), request)?))
}
