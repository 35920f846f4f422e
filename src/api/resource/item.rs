//! One record: read, put, patch, delete.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::{Method, StatusCode};

use super::super::conditional::{Evaluated, conditions, evaluate};
use super::super::edge::Edge;
use super::super::refused::precondition;
use super::super::routes::ResourceTarget;
use super::dialect::BodyOf;
use super::{Answered, options, read_object, set_etag, set_no_cache, with_record};
use super::{later, negotiation};
use crate::record::{Absent, Conditions, IdScheme, JsonObject, RecordId, Tags, WriteCommand};
use crate::settings::Put;
use crate::wire::Incoming;
use crate::wire::{Code, Problem};

const ALLOW: &str = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS";

/// Answers a request for one record.
pub(crate) async fn answer(
    edge: &Edge,
    target: &ResourceTarget,
    id: &str,
    request: &mut Incoming,
) -> Answered {
    if *request.method() == Method::OPTIONS {
        return Ok(options(ALLOW, &target.settings, BodyOf::Patch));
    }
    negotiation::must_take_json(request.headers())?;
    later::refuse(request)?;
    // What can't be an id names nothing.
    let id = || target.settings.ids.parse(id).map_err(|_| absent(target));
    match *request.method() {
        Method::GET | Method::HEAD => read(edge, target, &id()?, request).await,
        Method::PUT => put(edge, target, id()?, request).await,
        Method::PATCH => patch(edge, target, id()?, request).await,
        Method::DELETE => delete(edge, target, id()?, request).await,
        _ => Err(Problem::not_allowed(ALLOW)),
    }
}

fn absent(target: &ResourceTarget) -> Problem {
    Problem::new(Code::NotFound).detail(format!(
        "{} has no record with this id",
        target.settings.path
    ))
}

async fn read(edge: &Edge, target: &ResourceTarget, id: &RecordId, request: &Incoming) -> Answered {
    let record = edge.store.get(target.collection, id).await?;
    let record = record.ok_or_else(|| absent(target))?;
    let etag = format!("\"{}\"", record.revision.0);
    let mut response = match evaluate(&request.request, etag.as_bytes(), None) {
        Evaluated::Proceed => with_record(StatusCode::OK, &record),
        Evaluated::Failed => return Err(precondition(Some(record.revision))),
        Evaluated::NotModified => {
            let mut response = HttpResponse::with_body(StatusCode::NOT_MODIFIED, BoxBody::new(()));
            set_etag(&mut response, &record);
            response
        }
    };
    set_no_cache(&mut response);
    Ok(response)
}

/// The conditions of a change, which some resources insist on (RFC 6585 section 3).
fn required(target: &ResourceTarget, request: &Incoming) -> Result<Conditions, Problem> {
    let conditions = conditions(&request.request);
    // "There is none" names a state, too; "it is not that one" does not.
    let named = conditions.if_match.is_some() || conditions.if_none_match == Some(Tags::Any);
    if target.settings.if_match_required && !named {
        let detail = "send If-Match with the ETag of the record that is to be changed";
        return Err(Problem::new(Code::PreconditionRequired).detail(detail));
    }
    Ok(conditions)
}

/// A body may name its record; then it must be the path's.
fn same_id(target: &ResourceTarget, object: &JsonObject, id: &RecordId) -> Result<(), Problem> {
    match object.id(target.settings.ids)? {
        Some(named) if named != *id => {
            let detail = format!("the path names {id}, the body {named}");
            Err(Problem::new(Code::IdMismatch).detail(detail))
        }
        Some(_) | None => Ok(()),
    }
}

async fn put(
    edge: &Edge,
    target: &ResourceTarget,
    id: RecordId,
    request: &mut Incoming,
) -> Answered {
    let resource = &target.settings;
    let conditions = required(target, request)?;
    resource.must_read(BodyOf::Other, request.headers())?;
    let (mut object, bytes) = read_object(edge, request).await?;
    same_id(target, &object, &id)?;
    let create_only = conditions.if_none_match == Some(Tags::Any);
    // Where the store counts, no client names a new record.
    let named = resource.ids != IdScheme::Sequence;
    let absent = if named && (resource.upsert || create_only) {
        Absent::Create
    } else {
        Absent::Refuse
    };
    let command = match resource.put {
        Put::Replace => {
            resource.check(&mut object)?;
            let json = object.text(&id);
            WriteCommand::Replace { id, json, absent }
        }
        Put::Merge => WriteCommand::Merge {
            id,
            patch: object,
            absent,
            bytes_max: edge.body_bytes,
        },
    };
    super::write(edge, target, request, command, conditions, bytes).await
}

async fn patch(
    edge: &Edge,
    target: &ResourceTarget,
    id: RecordId,
    request: &mut Incoming,
) -> Answered {
    let conditions = required(target, request)?;
    target
        .settings
        .must_read(BodyOf::Patch, request.headers())?;
    let (patch, bytes) = read_object(edge, request).await?;
    same_id(target, &patch, &id)?;
    let command = WriteCommand::Merge {
        id,
        patch,
        absent: Absent::Refuse,
        bytes_max: edge.body_bytes,
    };
    super::write(edge, target, request, command, conditions, bytes).await
}

async fn delete(
    edge: &Edge,
    target: &ResourceTarget,
    id: RecordId,
    request: &Incoming,
) -> Answered {
    let conditions = required(target, request)?;
    let command = WriteCommand::Delete { id };
    super::write(edge, target, request, command, conditions, 0).await
}
