//! Files: what is in memory on the fast way, the rest by asking the file cache.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::{BoxBody, SizedStream};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use tokio::time::Instant;

use super::conditional::not_modified;
use super::edge::Edge;
use super::routes::StaticRoute;
use crate::file_cache::{Entry, Large, Loaded};
use crate::supervision::AskError;
use crate::wire::Incoming;
use crate::wire::Problem;

const ALLOW: &str = "GET, HEAD, OPTIONS";

/// The answer if the file is in memory and fresh: no await, no lock, no message.
pub(crate) fn quick(
    edge: &Edge,
    method: &Method,
    headers: &HeaderMap,
    route: &StaticRoute,
    rest: &str,
    now: Instant,
) -> Option<HttpResponse<BoxBody>> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let entry = edge.files.hit(route.root, rest, now)?;
    Some(entry_response(headers, &entry))
}

/// The answer, however long it takes.
pub(crate) async fn slow(
    edge: &Edge,
    route: &StaticRoute,
    rest: &str,
    request: &Incoming,
) -> Result<HttpResponse<BoxBody>, Problem> {
    let (method, headers) = (request.method(), request.headers());
    if method == Method::OPTIONS {
        return Ok(options(ALLOW));
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(Problem::not_allowed(ALLOW));
    }
    match edge.files.load(route.root, rest, edge.file_deadline).await {
        Ok(Loaded::Entry(entry)) => Ok(entry_response(headers, &entry)),
        Ok(Loaded::Large(large)) => Ok(large_response(headers, &large)),
        Ok(Loaded::Moved) => Ok(moved(request)),
        Err(AskError::Answer(error)) => Err(error.into()),
        // The cache's child is away, or has too much to do: what was true a moment ago is better than an error.
        Err(
            error @ (AskError::Overloaded { .. }
            | AskError::Expired
            | AskError::Crashed { .. }
            | AskError::Hung { .. }
            | AskError::OutcomeUnknown
            | AskError::ShuttingDown
            | AskError::Lost),
        ) => match edge.files.kept(route.root, rest) {
            Some(entry) => Ok(entry_response(headers, &entry)),
            None => Err(error.into()),
        },
    }
}

/// The answer to a request that something is wrong with: the route's own page for that, if it has one and it can be had,
/// else the problem. No page makes an error anything else than an error: status and headers stay.
pub(crate) async fn error(
    edge: &Edge,
    route: &StaticRoute,
    request: &Incoming,
    problem: Problem,
) -> HttpResponse<BoxBody> {
    let mut response = problem.response(request);
    if let Some(page) = route.rules.page(response.status().as_u16())
        && let Some(entry) = own_page(edge, route, page).await
    {
        set(&mut response, header::CONTENT_TYPE, &entry.content_type);
        response = response.set_body(BoxBody::new(entry.bytes.clone()));
    }
    response
}

async fn own_page(edge: &Edge, route: &StaticRoute, page: &str) -> Option<Arc<Entry>> {
    if let Some(entry) = edge.files.hit(route.root, page, Instant::now()) {
        return Some(entry);
    }
    match edge.files.load(route.root, page, edge.file_deadline).await {
        Ok(Loaded::Entry(entry)) => Some(entry),
        // A page of that size is none to be shown for an error.
        Ok(Loaded::Large(_) | Loaded::Moved) => None,
        Err(error) => {
            tracing::debug!(page, ?error, "an error page can't be had");
            edge.files.kept(route.root, page)
        }
    }
}

fn entry_response(headers: &HeaderMap, entry: &Entry) -> HttpResponse<BoxBody> {
    let known = not_modified(headers, &entry.etag, Some(entry.modified));
    let mut response = if known {
        HttpResponse::with_body(StatusCode::NOT_MODIFIED, BoxBody::new(()))
    } else {
        let body = BoxBody::new(entry.bytes.clone());
        let mut response = HttpResponse::with_body(StatusCode::OK, body);
        set(&mut response, header::CONTENT_TYPE, &entry.content_type);
        response
    };
    set(&mut response, header::ETAG, &entry.etag);
    set(&mut response, header::LAST_MODIFIED, &entry.last_modified);
    if let Some(cache_control) = &entry.cache_control {
        set(&mut response, header::CACHE_CONTROL, cache_control);
    }
    response
}

fn large_response(headers: &HeaderMap, large: &Large) -> HttpResponse<BoxBody> {
    let known = not_modified(headers, &large.etag, Some(large.modified));
    let mut response = if known {
        HttpResponse::with_body(StatusCode::NOT_MODIFIED, BoxBody::new(()))
    } else {
        let body = SizedStream::new(large.length, Box::pin(large.chunks(0..large.length)));
        let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(body));
        set(&mut response, header::CONTENT_TYPE, &large.content_type);
        response
    };
    set(&mut response, header::ETAG, &large.etag);
    set(&mut response, header::LAST_MODIFIED, &large.last_modified);
    if let Some(cache_control) = &large.cache_control {
        set(&mut response, header::CACHE_CONTROL, cache_control);
    }
    response
}

/// A value that was formatted when the file was read; it is shared, not copied.
fn set(response: &mut HttpResponse<BoxBody>, name: header::HeaderName, value: &Bytes) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value.clone()) {
        response.headers_mut().insert(name, value);
    }
}

/// A folder's page lives at the path with a slash. (A path of two slashes is no folder's: the redirect stays here.)
fn moved(request: &Incoming) -> HttpResponse<BoxBody> {
    let (path, query) = (request.path(), request.query());
    let mark = if query.is_empty() { "" } else { "?" };
    // Empty, and not without a body: only then its length is told, and the client need not wait for more.
    let body = BoxBody::new(Bytes::new());
    let mut response = HttpResponse::with_body(StatusCode::PERMANENT_REDIRECT, body);
    if let Ok(place) = HeaderValue::from_str(&format!("{path}/{mark}{query}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// What is allowed.
pub(crate) fn options(allow: &'static str) -> HttpResponse<BoxBody> {
    let mut response = HttpResponse::with_body(StatusCode::NO_CONTENT, BoxBody::new(()));
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
