//! Records over HTTP: `collection` answers for a resource as a whole, `item` for one record, `history` for what it was.

mod collection;
mod dialect;
mod history;
mod item;
mod negotiation;
mod wanted;

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderName};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::FutureExt as _;

use super::answer::{Answered, empty, set};
use super::conditional::etag;
use super::refused::failed_condition;
use super::routes::{Matched, ResourceTarget, segment};
use super::site::Site;
use crate::record::{
    CommandError, Conditions, IdScheme, JsonObject, Record, RecordId, WriteCommand,
};
use crate::settings::ResourceSettings;
use crate::storage::{StoreError, Write, Written};
use crate::wire::{Code, Incoming, Problem, Response, options, read_body};
pub(super) use collection::listed;
pub(super) use dialect::BodyOf;
use dialect::JSON;
pub(super) use item::{absent, absent_in_put, found};
use negotiation::{must_take_json, prefers, refuse_later};
pub(super) use wanted::{ResourceWish, WriteWish, wanted};

/// The detail of the answer to a PUT that could have created the record.
const PUT_ABSENT: &str = "there is no record with this id; to create it, send If-None-Match: *, or set upsert = true for the resource";

/// A request to a resource, or to one of its records.
struct ResourceRequest<'a> {
    site: &'a Site,
    target: &'a ResourceTarget,
    request: &'a mut Incoming,
    /// The length of its body, once it has been read.
    body_bytes: usize,
}

/// The answer to a GET or HEAD of a record, if the record can be read without waiting. Errors are left to [`answer`].
pub(super) fn quick(
    site: &Site,
    target: &ResourceTarget,
    matched: &Matched,
    request: &Incoming,
) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let named = NamedRecord::of(target, matched, request.path())?;
    let id = named.id.filter(|_| !named.past)?;
    must_take_json(request.headers()).ok()?;
    refuse_later(request.method(), request.headers(), request.query()).ok()?;
    let record = site.store.get(target.collection, &id).now_or_never()?;
    let mark = site.store.mark().now_or_never()?.ok()?;
    let shape = item::shape(request, &target.settings.schema).ok()?;
    found(request.headers(), &shape, &record.ok()??, mark).ok()
}

/// The record that a path names.
#[derive(Clone)]
pub(super) struct NamedRecord {
    /// `None` if it can't be read: no record has such an id.
    pub(super) id: Option<RecordId>,
    /// Whether more follows the id.
    pub(super) past: bool,
}

impl NamedRecord {
    /// The record whose id follows the resource's path; `None` if the path is that of the resource as a whole.
    pub(super) fn of(target: &ResourceTarget, matched: &Matched, path: &str) -> Option<Self> {
        let sent = matched.rest(path).strip_prefix('/');
        // `/books/` is the list too: clients that join paths produce it.
        let sent = sent.filter(|id| !id.is_empty())?;
        let (sent, past) = sent
            .split_once('/')
            .map_or((sent, false), |(id, _)| (id, true));
        let id = segment(sent).and_then(|id| target.settings.ids.parse(&id).ok());
        Some(Self { id, past })
    }
}

/// The methods that are allowed on a resource or on what is named there, and the body whose media types OPTIONS lists.
fn allowed(settings: &ResourceSettings, named: Option<&NamedRecord>) -> (&'static str, BodyOf) {
    match named {
        Some(named) if named.past => (history::METHODS, BodyOf::Other),
        Some(_) => (item::METHODS, BodyOf::Patch),
        None => (settings.collection_methods(), BodyOf::Post),
    }
}

/// The answer to OPTIONS.
fn allows(settings: &ResourceSettings, allow: &'static str, body: BodyOf) -> Response {
    let mut response = options(allow);
    set(&mut response, body.field(), settings.accepted(body));
    response
}

/// Answers a request for a resource, or for the record whose id follows the resource's path.
pub(super) async fn answer(
    site: &Site,
    target: &ResourceTarget,
    matched: &Matched,
    request: &mut Incoming,
) -> Answered {
    let named = NamedRecord::of(target, matched, request.path());
    let (method, headers, query) = (request.method(), request.headers(), request.query());
    let wish = wanted(target, named, method, headers, query)?;
    let mut request = ResourceRequest {
        site,
        target,
        request,
        body_bytes: 0,
    };
    match wish {
        ResourceWish::Methods(methods) => Ok(*methods),
        ResourceWish::List(query, shape) => request.list(*query, &shape).await,
        ResourceWish::Item(id, shape) => request.read(&id, &shape).await,
        ResourceWish::History(id, query) => request.history(&id, query).await,
        ResourceWish::Write(WriteWish::Create) => request.create().await,
        ResourceWish::Write(WriteWish::DeleteMatching) => request.delete_matching().await,
        ResourceWish::Write(WriteWish::Put(id)) => request.put(id).await,
        ResourceWish::Write(WriteWish::Patch(id)) => request.patch(id).await,
        ResourceWish::Write(WriteWish::Delete(id)) => request.delete(id).await,
    }
}

impl ResourceRequest<'_> {
    /// Reads the body as an object.
    async fn read_object(&mut self, body: BodyOf) -> Result<JsonObject, Problem> {
        let settings = &self.target.settings;
        settings.must_read(body, self.request.headers())?;
        let body = read_body(self.request, self.site.settings.limits.body_bytes).await?;
        self.body_bytes = body.len();
        let mut object = JsonObject::parse(&body)?;
        object.remove_meta();
        Ok(object)
    }

    /// The address of the resource: absolute if the request named a host of this server.
    fn url(&self) -> String {
        let base = self.site.hosts.base(&self.request.request);
        format!("{}{}", base.unwrap_or_default(), self.target.url)
    }

    /// Whether the request could create the record that it names, if it insisted on that.
    fn could_create(&self) -> bool {
        self.request.method() == Method::PUT && self.target.settings.ids != IdScheme::Sequence
    }

    /// Has the store carry out a write, and answers with the records as they are now, or as they were last.
    async fn write(&self, command: WriteCommand, conditions: Conditions) -> Answered {
        let write = Write {
            collection: self.target.collection,
            schema: Arc::clone(&self.target.settings.schema),
            command,
            conditions,
            bytes: self.body_bytes,
        };
        let mark = self.site.store.mark().await?;
        let written = match self.site.store.write(write).await {
            Err(StoreError::Refused(CommandError::Precondition {
                current: Some(current),
            })) => return Err(failed_condition(&etag(current, mark))),
            Err(StoreError::Refused(CommandError::Absent)) if self.could_create() => {
                return Err(Problem::new(Code::NotFound).detail(PUT_ABSENT));
            }
            written => written?,
        };
        let mut response = if prefers(self.request.headers(), "return", "minimal") {
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
        // A deleted record has no representation left that an entity tag could be of.
        if let Written::Created(record) | Written::Replaced(record) = &written {
            set(&mut response, header::ETAG, etag(record.revision, mark));
        }
        if let Written::Created(record) = &written {
            let place = format!("{}/{}", self.url(), record.id);
            set(&mut response, header::LOCATION, place);
        }
        Ok(response)
    }
}

/// Names the preference of the request that the answer follows (RFC 7240 section 3).
fn set_preference_applied(response: &mut Response, preference: &'static str) {
    let name = HeaderName::from_static("preference-applied");
    set(response, name, preference);
}

/// A JSON text as an answer.
fn json(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = HttpResponse::with_body(status, BoxBody::new(text.into()));
    set(&mut response, header::CONTENT_TYPE, JSON);
    response
}

/// Records as one array.
fn array(records: &[Record]) -> Vec<u8> {
    let bytes: usize = records.iter().map(|record| record.json.len() + 1).sum();
    let mut body = Vec::with_capacity(bytes + 2);
    body.push(b'[');
    for (n, record) in records.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&record.json);
    }
    body.push(b']');
    body
}
