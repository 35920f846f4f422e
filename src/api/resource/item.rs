//! One record.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};

use super::super::answer::{Answered, set};
use super::super::conditional::{self, etag};
use super::super::routes::ResourceTarget;
use super::negotiation::handling;
use super::relations::{Relations, tag_of};
use super::{ResourceRequest, json};
use crate::record::{Absent, IdScheme, QueryError, Record, RecordId, RecordShape, Schema};
use crate::settings::{Permission, ResourceSettings};
use crate::wire::{Code, Incoming, Problem};

/// The methods that are allowed on a record.
pub(crate) const METHODS: &str = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS";

impl ResourceRequest<'_> {
    /// Answers with a record.
    pub(super) async fn read(&self, id: &RecordId, shape: &RecordShape) -> Answered {
        let record = self.site.store.get(self.target.collection, id).await?;
        let owner = self.owner(Permission::Read);
        let record = record.filter(|record| owner.is_none_or(|owner| owner.owns(record)));
        let record = record.ok_or_else(|| absent(self.target))?;
        if shape.has_relations() {
            let mut relations = Relations::of(self.site, self.target, shape, self.request).await?;
            let text = relations.add(&record, &shape.text(&record)).await?;
            let whole = || json(StatusCode::OK, text.clone());
            let headers = self.request.headers();
            let mut response = conditional::answer(headers, tag_of(&text), None, whole)?;
            set(&mut response, header::CACHE_CONTROL, "no-cache");
            return Ok(response);
        }
        let mark = self.site.store.mark().await?;
        found(self.request.headers(), shape, &record, mark)
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
