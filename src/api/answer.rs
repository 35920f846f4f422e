//! Answers of files and records alike.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use bytes::Bytes;

pub(super) use crate::wire::Answered;
use crate::wire::{Code, Problem, Response};

/// An answer with an empty body.
pub(super) fn empty(status: StatusCode) -> Response {
    HttpResponse::with_body(status, BoxBody::new(()))
}

/// Sets a header field. The value is taken over and not copied; one that is not allowed in a field is left out.
pub(super) fn set(response: &mut Response, name: HeaderName, value: impl Into<Bytes>) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value.into()) {
        response.headers_mut().insert(name, value);
    }
}

/// A temporary redirect to a reference without a query; the query of the request is added.
pub(super) fn redirect(reference: &str, query: &str) -> Answered {
    let mark = if query.is_empty() { "" } else { "?" };
    moved(
        StatusCode::TEMPORARY_REDIRECT,
        format!("{reference}{mark}{query}"),
    )
}

/// A redirect with this status to this address.
pub(super) fn moved(status: StatusCode, address: String) -> Answered {
    let location = HeaderValue::from_maybe_shared(Bytes::from(address))
        .map_err(|_| Problem::new(Code::NotFound))?;
    let mut response = empty(status);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
