//! The part of a resource that a request asks for, by its path, method, header fields and query: all that is checked before a body
//! is read and before the store is asked, in one order. Pure. What serves and what explains both begin here.

use actix_web::http::Method;
use actix_web::http::header::HeaderMap;

use super::super::routes::ResourceTarget;
use super::item::absent;
use super::negotiation::{handling, must_take_json, refuse_later};
use super::{FeedForm, NamedPart, NamedRecord, allowed, allows};
use crate::record::{FeedQuery, Handling, HistoryQuery, ListQuery, RecordId, RecordShape};
use crate::settings::ResourceSettings;
use crate::wire::{Code, Problem, Response};

/// The part of a resource that is asked for.
pub(crate) enum ResourceWish {
    /// The methods that are allowed there: this is the answer.
    Methods(Box<Response>),
    /// A page of the list, with its records in this form.
    List(Box<ListQuery>, RecordShape),
    /// One record, in this form.
    Item(RecordId, RecordShape),
    /// The past of a record.
    History(RecordId, HistoryQuery),
    /// The changes of the resource, in this form.
    Changes(Box<FeedQuery>, FeedForm),
    /// The JSON Schema of the resource.
    Schema,
    /// A change.
    Write(WriteWish),
}

/// A change that is asked for. Its body has not been read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WriteWish {
    Create,
    /// Deletes what is like the body.
    DeleteMatching,
    /// These change all records that match.
    DeleteWhere(Box<ListQuery>),
    PatchWhere(Box<ListQuery>),
    Put(RecordId),
    Patch(RecordId),
    Delete(RecordId),
}

/// The part that a request asks for, or the refusal.
pub(crate) fn wanted(
    target: &ResourceTarget,
    named: Option<NamedRecord>,
    method: &Method,
    headers: &HeaderMap,
    query: &str,
) -> Result<ResourceWish, Problem> {
    let settings = &target.settings;
    let (allow, body) = allowed(named.as_ref());
    if *method == Method::OPTIONS {
        let methods = allows(settings, allow, body);
        return Ok(ResourceWish::Methods(Box::new(methods)));
    }
    // Nothing else of a request has a meaning with a method that is not allowed.
    let not_allowed = || Err(Problem::not_allowed(allow));
    if !allow.split(", ").any(|allowed| allowed == method.as_str()) {
        return not_allowed();
    }
    let part = named.as_ref().map(|named| named.part);
    if part == Some(NamedPart::Schema) {
        return Ok(ResourceWish::Schema);
    }
    if part == Some(NamedPart::Changes) {
        let feed = FeedQuery::parse(query, &settings.schema, handling(headers))?;
        let form = FeedForm::of(headers, feed.wait.is_some())?;
        return Ok(ResourceWish::Changes(Box::new(feed), form));
    }
    must_take_json(headers)?;
    refuse_later(method, query)?;
    let shape = || RecordShape::parse(query, &settings.schema, handling(headers));
    let Some(NamedRecord { id, .. }) = named else {
        return Ok(match *method {
            Method::GET | Method::HEAD => {
                let list = ListQuery::parse(query, &settings.schema, handling(headers))?;
                ResourceWish::List(Box::new(list), shape()?)
            }
            Method::POST => ResourceWish::Write(WriteWish::Create),
            Method::DELETE if settings.delete_matching && query.is_empty() => {
                ResourceWish::Write(WriteWish::DeleteMatching)
            }
            Method::DELETE => {
                ResourceWish::Write(WriteWish::DeleteWhere(filters(settings, query)?))
            }
            Method::PATCH => ResourceWish::Write(WriteWish::PatchWhere(filters(settings, query)?)),
            _ => return not_allowed(),
        });
    };
    if part == Some(NamedPart::History) {
        let id = id.ok_or_else(|| Problem::new(Code::NotFound))?;
        return Ok(ResourceWish::History(id, HistoryQuery::parse(query)?));
    }
    let id = || id.ok_or_else(|| absent(target));
    Ok(match *method {
        Method::GET | Method::HEAD => ResourceWish::Item(id()?, shape()?),
        Method::PUT => ResourceWish::Write(WriteWish::Put(id()?)),
        Method::PATCH => ResourceWish::Write(WriteWish::Patch(id()?)),
        Method::DELETE => ResourceWish::Write(WriteWish::Delete(id()?)),
        _ => return not_allowed(),
    })
}

/// The conditions of the records that are to be changed. There must be one.
fn filters(settings: &ResourceSettings, query: &str) -> Result<Box<ListQuery>, Problem> {
    // A name that were ignored would widen the change.
    let read = ListQuery::of_change(query, &settings.schema, Handling::Strict)?;
    if read.selects_all() {
        let detail = format!(
            "say which records are to be changed, by filters such as {}?id=1&id=2, and how many at most, by Prefer: max-affected=N",
            settings.path
        );
        return Err(Problem::new(Code::InvalidParameter).detail(detail));
    }
    Ok(Box::new(read))
}
