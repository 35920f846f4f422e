//! The part of a resource that a request asks for, by its path, method, header fields and query: all that is checked before a body
//! is read and before the store is asked, in one order. Pure. What serves and what explains both begin here.

use actix_web::http::Method;
use actix_web::http::header::HeaderMap;

use super::super::routes::ResourceTarget;
use super::item::absent;
use super::negotiation::{handling, must_take_json, refuse_later};
use super::{NamedRecord, allowed, allows};
use crate::record::{HistoryQuery, ListQuery, RecordId, RecordShape};
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
    /// A change.
    Write(WriteWish),
}

/// A change that is asked for. Its body has not been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WriteWish {
    Create,
    DeleteMatching,
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
    let (allow, body) = allowed(settings, named.as_ref());
    if *method == Method::OPTIONS {
        let methods = allows(settings, allow, body);
        return Ok(ResourceWish::Methods(Box::new(methods)));
    }
    must_take_json(headers)?;
    refuse_later(method, query)?;
    let shape = || RecordShape::parse(query, &settings.schema, handling(headers));
    let not_allowed = || Err(Problem::not_allowed(allow));
    let Some(NamedRecord { id, past }) = named else {
        return Ok(match *method {
            Method::GET | Method::HEAD => {
                let list = ListQuery::parse(query, &settings.schema, handling(headers))?;
                ResourceWish::List(Box::new(list), shape()?)
            }
            Method::POST => ResourceWish::Write(WriteWish::Create),
            Method::DELETE if settings.delete_matching => {
                if !query.is_empty() {
                    return Err(Problem::not_available("DELETE with a query"));
                }
                ResourceWish::Write(WriteWish::DeleteMatching)
            }
            _ => return not_allowed(),
        });
    };
    if past {
        if ![Method::GET, Method::HEAD].contains(method) {
            return not_allowed();
        }
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
