//! Files: what is in memory on the fast way, the rest by asking the file cache.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::{BoxBody, SizedStream};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use tokio::time::Instant;

use super::conditional::{Evaluated, evaluate};
use super::edge::Edge;
use super::refused::failed_condition;
use super::routes::Matched;
use crate::file_cache::{Entry, Loaded, Representation, RootId};
use crate::wire::{Code, Incoming, Problem, Response};

const ALLOW: &str = "GET, HEAD, OPTIONS";

/// The answer if the file is in memory and fresh: no await, no lock, no message.
pub(super) fn quick(
    edge: &Edge,
    request: &Incoming,
    root: RootId,
    matched: &Matched,
    now: Instant,
) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let entry = edge.files.hit(root, matched.rest(request.path()), now)?;
    // A condition that fails is told on the slow way.
    entry_response(request, &entry).ok()
}

/// The answer, however long it takes.
pub(super) async fn slow(
    edge: &Edge,
    root: RootId,
    rest: &str,
    request: &Incoming,
) -> Result<Response, Problem> {
    let method = request.method();
    if method == Method::OPTIONS {
        return Ok(options(ALLOW));
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(Problem::not_allowed(ALLOW));
    }
    match edge.files.load(root, rest).await? {
        Loaded::Entry(entry) => entry_response(request, &entry),
        Loaded::Large(large) => response(request, large.about(), || {
            let length = large.length();
            BoxBody::new(SizedStream::new(length, Box::pin(large.chunks(0..length))))
        }),
        Loaded::Moved => to_folder(request),
    }
}

/// An error with the route's own page for it, if that can be had.
pub(super) async fn with_page(
    edge: &Edge,
    root: RootId,
    page: &str,
    mut response: Response,
) -> Response {
    let Some(entry) = error_page(edge, root, page).await else {
        return response;
    };
    set(
        &mut response,
        header::CONTENT_TYPE,
        &entry.about.content_type,
    );
    response.set_body(BoxBody::new(entry.bytes.clone()))
}

async fn error_page(edge: &Edge, root: RootId, page: &str) -> Option<Arc<Entry>> {
    if let Some(entry) = edge.files.hit(root, page, Instant::now()) {
        return Some(entry);
    }
    match edge.files.load(root, page).await {
        Ok(Loaded::Entry(entry)) => Some(entry),
        // A page of that size is none to be shown for an error.
        Ok(Loaded::Large(_) | Loaded::Moved) => None,
        Err(error) => {
            tracing::debug!(page, ?error, "an error page can't be read");
            None
        }
    }
}

fn entry_response(request: &Incoming, entry: &Entry) -> Result<Response, Problem> {
    response(request, &entry.about, || BoxBody::new(entry.bytes.clone()))
}

/// The answer with a file: its header fields, and its body unless the request's conditions say otherwise.
fn response(
    request: &Incoming,
    about: &Representation,
    body: impl FnOnce() -> BoxBody,
) -> Result<Response, Problem> {
    let verdict = evaluate(&request.request, &about.etag, Some(about.modified));
    let mut response = match verdict {
        Evaluated::Proceed => {
            let mut response = HttpResponse::with_body(StatusCode::OK, body());
            set(&mut response, header::CONTENT_TYPE, &about.content_type);
            if let Some(encoding) = &about.content_encoding {
                set(&mut response, header::CONTENT_ENCODING, encoding);
            }
            response
        }
        Evaluated::NotModified => {
            HttpResponse::with_body(StatusCode::NOT_MODIFIED, BoxBody::new(()))
        }
        Evaluated::Failed => {
            return Err(failed_condition(&String::from_utf8_lossy(&about.etag)));
        }
    };
    set(&mut response, header::ETAG, &about.etag);
    set(&mut response, header::LAST_MODIFIED, &about.last_modified);
    if let Some(cache_control) = &about.cache_control {
        set(&mut response, header::CACHE_CONTROL, cache_control);
    }
    Ok(response)
}

/// A value that was formatted when the file was read; it is shared, not copied.
fn set(response: &mut Response, name: header::HeaderName, value: &Bytes) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value.clone()) {
        response.headers_mut().insert(name, value);
    }
}

/// A folder has its page at the path with a slash.
fn to_folder(request: &Incoming) -> Result<Response, Problem> {
    let path = request.path();
    let name = path.rsplit('/').next().unwrap_or_default();
    // `a:b/` would be an address with the scheme `a`.
    let here = if name.contains(':') { "./" } else { "" };
    redirect(&format!("{here}{name}/"), request.query())
}

/// A redirect for now, to a reference without a query.
pub(super) fn redirect(reference: &str, query: &str) -> Result<Response, Problem> {
    let mark = if query.is_empty() { "" } else { "?" };
    let location = HeaderValue::from_str(&format!("{reference}{mark}{query}"))
        .map_err(|_| Problem::new(Code::NotFound))?;
    // Empty, and not without a body: only then its length is told, and the client need not wait for more.
    let body = BoxBody::new(Bytes::new());
    let mut response = HttpResponse::with_body(StatusCode::TEMPORARY_REDIRECT, body);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Answers OPTIONS with the allowed methods.
pub(crate) fn options(allow: &'static str) -> Response {
    let mut response = HttpResponse::with_body(StatusCode::NO_CONTENT, BoxBody::new(()));
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
