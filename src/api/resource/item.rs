//! One record: read, put, patch, delete.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};

use super::super::answer::{Answered, set};
use super::super::conditional::{self, conditions, etag};
use super::super::routes::ResourceTarget;
use super::dialect::BodyOf;
use super::negotiation::handling;
use super::{ResourceRequest, json};
use crate::record::{
    Absent, Conditions, IdScheme, JsonObject, QueryError, Record, RecordId, RecordShape, Schema,
    Tags, WriteCommand,
};
use crate::settings::{Put, ResourceSettings};
use crate::wire::{Code, Incoming, Problem};

/// The methods that are allowed on a record.
pub(super) const METHODS: &str = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS";

impl ResourceRequest<'_> {
    /// Answers with a record.
    pub(super) async fn read(&self, id: &RecordId, shape: &RecordShape) -> Answered {
        let record = self.site.store.get(self.target.collection, id).await?;
        let record = record.ok_or_else(|| absent(self.target))?;
        let mark = self.site.store.mark().await?;
        found(self.request.headers(), shape, &record, mark)
    }

    /// The conditions of a change, which some resources insist on (RFC 6585 section 3).
    async fn required(&self) -> Result<Conditions, Problem> {
        let conditions = conditions(self.request.headers(), self.site.store.mark().await?);
        // `If-None-Match: *` names a state, too: that there is no record. Other tags there name none.
        let named = conditions.if_match.is_some() || conditions.if_none_match == Some(Tags::Any);
        if self.target.settings.if_match_required && !named {
            let detail = "send If-Match with the ETag of the record that is to be changed";
            return Err(Problem::new(Code::PreconditionRequired).detail(detail));
        }
        Ok(conditions)
    }

    /// Reads the object for the record with this id. If the object has an id, it must be the same.
    async fn read_for(&mut self, id: &RecordId, body: BodyOf) -> Result<JsonObject, Problem> {
        let object = self.read_object(body).await?;
        match object.id(self.target.settings.ids)? {
            Some(named) if named != *id => {
                let detail = format!("the path names {id}, the body {named}");
                Err(Problem::new(Code::IdMismatch).detail(detail))
            }
            Some(_) | None => Ok(object),
        }
    }

    pub(super) async fn put(&mut self, id: RecordId) -> Answered {
        let settings = &self.target.settings;
        let conditions = self.required().await?;
        let mut object = self.read_for(&id, BodyOf::Other).await?;
        let create_only = conditions.if_none_match == Some(Tags::Any);
        let absent = absent_in_put(settings, create_only);
        let command = match settings.put {
            Put::Replace => {
                settings.check(&mut object)?;
                let json = object.text(&id);
                WriteCommand::Replace { id, json, absent }
            }
            Put::Merge => self.merge(id, object, absent),
        };
        self.write(command, conditions).await
    }

    pub(super) async fn patch(&mut self, id: RecordId) -> Answered {
        let conditions = self.required().await?;
        let patch = self.read_for(&id, BodyOf::Patch).await?;
        let command = self.merge(id, patch, Absent::Refuse);
        self.write(command, conditions).await
    }

    fn merge(&self, id: RecordId, patch: JsonObject, absent: Absent) -> WriteCommand {
        WriteCommand::Merge {
            id,
            patch,
            absent,
            bytes_max: self.site.settings.limits.body_bytes,
        }
    }

    pub(super) async fn delete(&self, id: RecordId) -> Answered {
        let conditions = self.required().await?;
        self.write(WriteCommand::Delete { id }, conditions).await
    }
}

/// The effect of a PUT of a record that does not exist. `create_only` says that the request insists on that.
pub(crate) fn absent_in_put(settings: &ResourceSettings, create_only: bool) -> Absent {
    // Where the store numbers records, a client can't choose the id of a new one.
    let named = settings.ids != IdScheme::Sequence;
    if named && (settings.upsert || create_only) {
        Absent::Create
    } else {
        Absent::Refuse
    }
}

/// The form of records that a request asks for.
pub(super) fn shape(request: &Incoming, schema: &Schema) -> Result<RecordShape, QueryError> {
    if request.query().is_empty() {
        return Ok(RecordShape::default());
    }
    RecordShape::parse(request.query(), schema, handling(request.headers()))
}

/// The answer to a GET or HEAD of this record. `mark` is the store's.
pub(crate) fn found(
    headers: &HeaderMap,
    shape: &RecordShape,
    record: &Record,
    mark: &str,
) -> Answered {
    let etag = etag(record.revision, mark);
    let whole = || {
        let text = if shape.is_whole() {
            record.json.clone()
        } else {
            shape.text(record)
        };
        json(StatusCode::OK, text)
    };
    let mut response = conditional::answer(headers, etag, None, whole)?;
    // It may change at any time, so clients ask again before they use it again (RFC 9111 section 5.2.2.4).
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    Ok(response)
}

/// The answer for an id that no record has.
pub(crate) fn absent(target: &ResourceTarget) -> Problem {
    let path = &target.settings.path;
    Problem::new(Code::NotFound).detail(format!("{path} has no record with this id"))
}
