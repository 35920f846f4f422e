//! Records over HTTP: what the answers to a resource and to one record have in common.

mod collection;
mod dialect;
mod item;
mod later;
mod negotiation;

pub(crate) use collection::answer as answer_collection;
pub(crate) use item::answer as answer_item;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};

use super::edge::Edge;
use super::routes::ResourceTarget;
use crate::record::{Conditions, JsonObject, Record, WriteCommand};
use crate::settings::ResourceSettings;
use crate::storage::{Write, Written};
use crate::wire::Incoming;
use crate::wire::Problem;
use crate::wire::read_body;
use dialect::{BodyOf, JSON};
use negotiation::prefers;

type Answered = Result<HttpResponse<BoxBody>, Problem>;

/// The request's body as an object, with how many bytes it took.
async fn read_object(edge: &Edge, request: &mut Incoming) -> Result<(JsonObject, usize), Problem> {
    let body = read_body(request, edge.body_bytes).await?;
    Ok((JsonObject::parse(&body)?, body.len()))
}

fn wants_minimal(request: &Incoming) -> bool {
    prefers(request.headers(), "return", "minimal")
}

/// What may be done here, and what kind of body it takes (RFC 5789 section 3.1, the LDP's section 7.1).
fn options(
    allow: &'static str,
    settings: &ResourceSettings,
    body: BodyOf,
) -> HttpResponse<BoxBody> {
    let mut response = super::files::options(allow);
    if let Ok(accepted) = HeaderValue::from_str(&settings.accepted(body)) {
        response.headers_mut().insert(body.field(), accepted);
    }
    response
}

/// The answer to a write whose client does not want to see the record.
fn minimal(status: StatusCode) -> HttpResponse<BoxBody> {
    let mut response = HttpResponse::with_body(status, BoxBody::new(()));
    response.headers_mut().insert(
        HeaderName::from_static("preference-applied"),
        HeaderValue::from_static("return=minimal"),
    );
    response
}

fn set_etag(response: &mut HttpResponse<BoxBody>, record: &Record) {
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", record.revision.0)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
}

/// A JSON text as an answer.
fn json(status: StatusCode, text: impl Into<bytes::Bytes>) -> HttpResponse<BoxBody> {
    let mut response = HttpResponse::with_body(status, BoxBody::new(text.into()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// What may change at any time is asked for again before it is used again (RFC 9111 section 5.2.2.4).
fn set_no_cache(response: &mut HttpResponse<BoxBody>) {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

/// The record as an answer.
fn with_record(status: StatusCode, record: &Record) -> HttpResponse<BoxBody> {
    let mut response = json(status, record.json.clone());
    set_etag(&mut response, record);
    response
}

/// Has the store carry out a write, and answers with what it did.
async fn write(
    edge: &Edge,
    target: &ResourceTarget,
    request: &Incoming,
    command: WriteCommand,
    conditions: Conditions,
    bytes: usize,
) -> Answered {
    let write = Write {
        collection: target.collection,
        command,
        conditions,
        bytes,
    };
    let written = edge.store.write(write).await?;
    let minimally = wants_minimal(request);
    Ok(match written {
        Written::Created(record) => created(&target.url, &record, minimally),
        Written::Replaced(record) => with_record_or_tag(StatusCode::OK, &record, minimally),
        Written::Deleted(_) | Written::DeletedMatching(_) if minimally => {
            minimal(StatusCode::NO_CONTENT)
        }
        // Without an entity tag: there is no representation left that it could be of.
        Written::Deleted(record) => json(StatusCode::OK, record.json),
        Written::DeletedMatching(records) => json(StatusCode::OK, array(&records)),
    })
}

/// The answer to a write: the record as it is now, or only its entity tag.
fn with_record_or_tag(
    status: StatusCode,
    record: &Record,
    minimally: bool,
) -> HttpResponse<BoxBody> {
    if !minimally {
        return with_record(status, record);
    }
    let status = if status == StatusCode::OK {
        StatusCode::NO_CONTENT
    } else {
        status
    };
    let mut response = minimal(status);
    set_etag(&mut response, record);
    response
}

/// The answer to a write that created a record: it says where the record is.
fn created(path: &str, record: &Record, minimally: bool) -> HttpResponse<BoxBody> {
    let mut response = with_record_or_tag(StatusCode::CREATED, record, minimally);
    if let Ok(place) = HeaderValue::from_str(&format!("{path}/{}", record.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
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
