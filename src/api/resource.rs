//! Records over HTTP.
//!
//! Order of reading: `wanted` says which part of a resource a request asks for; `negotiation` and `dialect` say which header
//! fields and bodies are taken. `collection` answers with lists, `item` with one record, `relations` adds records of other
//! resources to both, `history` answers with what a record was, and `feed` with changes; the `_schema` is made beforehand.
//! `change` carries out what changes any of them, `many` makes several records at once, and `told` has the answers to both.

mod change;
mod collection;
mod dialect;
mod feed;
mod history;
mod item;
mod many;
mod negotiation;
mod relations;
mod told;
mod wanted;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderName};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::FutureExt as _;

use super::answer::{Answered, set};
pub(super) use super::openapi::METHODS_OF_DOCUMENT as METHODS_OF_SCHEMA;
use super::routes::{Matched, ResourceTarget, RouteRules, segment};
use super::site::Site;
use crate::record::{Record, RecordId, RecordOwner};
use crate::settings::{Permission, ResourceSettings};
use crate::wire::{Incoming, Response, count, options};
pub(super) use change::{ChangeBody, is_json, max_affected, request_key};
pub(super) use collection::{METHODS as METHODS_OF_LIST, list_answer, list_etag};
pub(super) use dialect::{BodyOf, JSON, JSON_PATCH, media_type, must_be_utf_8, without_mark};
pub(crate) use feed::FeedForm;
pub(super) use feed::METHODS as METHODS_OF_CHANGES;
pub(super) use history::METHODS as METHODS_OF_HISTORY;
pub(super) use item::METHODS as METHODS_OF_RECORD;
pub(super) use item::{absent, absent_in_put, found};
pub(super) use many::{NDJSON, finish};
pub(super) use negotiation::prefers;
use negotiation::{must_take_json, refuse_later};
pub(super) use relations::{relation_names, tag_of};
pub(super) use told::{ToldChange, refused};
pub(super) use wanted::{ResourceWish, WriteWish, wanted};

/// A request to a resource, or to one of its records.
struct ResourceRequest<'a> {
    site: &'a Site,
    target: &'a ResourceTarget,
    rules: &'a RouteRules,
    request: &'a mut Incoming,
}

/// The answer to a GET or HEAD of a record that can be read without waiting, or of a list that is kept. Errors are left to
/// [`answer`].
pub(super) fn quick(
    site: &Site,
    target: &ResourceTarget,
    matched: &Matched,
    request: &Incoming,
) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let Some(named) = NamedRecord::of(target, matched, request.path()) else {
        return collection::again(site, target, &matched.route.rules, request);
    };
    let id = named.id.filter(|_| named.part == NamedPart::Record)?;
    must_take_json(request.headers()).ok()?;
    refuse_later(request.method(), request.query()).ok()?;
    let record = site.store.get(target.collection, &id).now_or_never()?;
    let record = record.ok()??;
    let mark = site.store.mark().now_or_never()?.ok()?;
    let shape = item::shape(request, &target.settings.schema).ok()?;
    if shape.has_relations() {
        return None;
    }
    let owner = target.owner(&matched.route.rules, request, Permission::Read);
    if owner.is_some_and(|owner| !owner.owns(&record)) {
        return None;
    }
    found(request.headers(), &shape, &record, mark).ok()
}

/// The record that a path names.
#[derive(Clone)]
pub(super) struct NamedRecord {
    /// `None` if it can't be read: no record has such an id.
    pub(super) id: Option<RecordId>,
    /// The part of the resource that it is.
    pub(super) part: NamedPart,
}

/// The part of a resource that is named by what follows its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedPart {
    /// A record.
    Record,
    /// The history of a record.
    History,
    /// The changes of the resource.
    Changes,
    /// The JSON Schema of the resource.
    Schema,
}

/// The last segment of the path of a resource's JSON Schema. No record has such an id.
const SCHEMA: &str = "_schema";

impl NamedRecord {
    /// The record whose id follows the resource's path; `None` if the path is that of the resource as a whole.
    pub(super) fn of(target: &ResourceTarget, matched: &Matched, path: &str) -> Option<Self> {
        let sent = matched.rest(path).strip_prefix('/')?;
        // `/books/` is the list too, and `/books/1/` the record: clients that join paths produce them.
        let sent = sent.strip_suffix('/').unwrap_or(sent);
        let sent = Some(sent).filter(|id| !id.is_empty())?;
        let (sent, goes_on) = sent
            .split_once('/')
            .map_or((sent, false), |(id, _)| (id, true));
        let name = segment(sent);
        let part = match name.as_deref() {
            _ if goes_on => NamedPart::History,
            Some(feed::SEGMENT) => NamedPart::Changes,
            Some(SCHEMA) => NamedPart::Schema,
            Some(_) | None => NamedPart::Record,
        };
        let id = name.and_then(|id| target.settings.ids.parse(&id).ok());
        Some(Self { id, part })
    }
}

/// The methods that are allowed on a resource or on what is named there, and the body whose media types OPTIONS lists.
fn allowed(named: Option<&NamedRecord>) -> (&'static str, BodyOf) {
    match named.map(|named| named.part) {
        Some(NamedPart::Changes) => (feed::METHODS, BodyOf::Other),
        Some(NamedPart::History) => (history::METHODS, BodyOf::Other),
        Some(NamedPart::Schema) => (METHODS_OF_SCHEMA, BodyOf::Other),
        Some(NamedPart::Record) => (item::METHODS, BodyOf::Patch),
        None => (collection::METHODS, BodyOf::Post),
    }
}

/// The methods that are allowed on what a path names.
pub(super) fn methods(target: &ResourceTarget, matched: &Matched, path: &str) -> &'static str {
    allowed(NamedRecord::of(target, matched, path).as_ref()).0
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
        rules: &matched.route.rules,
        request,
    };
    match wish {
        ResourceWish::Methods(methods) => Ok(*methods),
        ResourceWish::List(query, shape) => {
            // A request that had to wait for its turn was not looked at by `quick`, which leaves others that are to be compressed.
            if request.rules.waits() || !target.settings.compress.is_empty() {
                let kept = collection::kept(site, target, request.rules, request.request);
                if let Some(kept) = kept {
                    count(&site.counters.lists_again);
                    return request.give(kept).await;
                }
            }
            request.list(*query, &shape).await
        }
        ResourceWish::Item(id, shape) => request.read(&id, &shape).await,
        ResourceWish::History(id, query) => request.history(&id, query).await,
        ResourceWish::Changes(query, form) => {
            Box::pin(request.changes(&matched.route, *query, form)).await
        }
        ResourceWish::Schema => request.target.schema.read(request.request.headers()),
        ResourceWish::Write(wish) => request.change(wish).await,
    }
}

impl ResourceRequest<'_> {
    /// The client, if only its own records are for it.
    fn owner(&self, permission: Permission) -> Option<RecordOwner> {
        self.target.owner(self.rules, self.request, permission)
    }

    fn url(&self) -> String {
        url(self.site, self.target, self.request)
    }
}

/// The address of the resource: absolute if the request named a host of this server.
fn url(site: &Site, target: &ResourceTarget, request: &Incoming) -> String {
    let base = site.hosts.base(request);
    format!("{}{}", base.unwrap_or_default(), target.url)
}

/// The field that names the preference of the request that the answer follows (RFC 7240 section 3).
fn preference_applied() -> HeaderName {
    HeaderName::from_static("preference-applied")
}

/// Names the preference of the request that the answer follows.
fn set_preference_applied(response: &mut Response, preference: &'static str) {
    set(response, preference_applied(), preference);
}

/// A JSON text as an answer.
pub(super) fn json(status: StatusCode, text: impl Into<Bytes>) -> Response {
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
