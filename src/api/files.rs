//! Files: `quick` answers from memory; `slow` asks the file cache for the rest.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use tokio::time::Instant;

use super::answer::{Answered, redirect, set};
use super::conditional;
use super::routes::Matched;
use super::site::Site;
use crate::file_cache::{Download, Entry, Loaded, Representation, RootHandle};
use crate::wire::{
    DiskBody, DiskStep, Incoming, Problem, Response, Socket, content_body, content_response,
    disk_response, options,
};

const ALLOW: &str = "GET, HEAD, OPTIONS";

/// The answer if the file is in memory and fresh: no await, no lock, no message.
pub(super) fn quick(
    site: &Site,
    request: &Incoming,
    root: &RootHandle,
    matched: &Matched,
    now: Instant,
) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let entry = site.files.hit(root, matched.rest(request.path()), now)?;
    // If a condition fails, `slow` answers with the error.
    entry_response(request.headers(), &entry).ok()
}

/// The answer, however long it takes.
pub(super) async fn slow(
    site: &Site,
    root: &RootHandle,
    matched: &Matched,
    request: &Incoming,
) -> Answered {
    if let Some(answered) = without_file(request.method()) {
        return answered;
    }
    match site.files.load(root, matched.rest(request.path())).await? {
        Loaded::Entry(entry) => entry_response(request.headers(), &entry),
        Loaded::Large(large) => response(request.headers(), large.about(), || {
            let length = large.length();
            let download = Box::new(large.download(0..length));
            disk_response(StatusCode::OK, length, download)
        }),
        Loaded::Moved => to_folder(request.path(), request.query()),
    }
}

/// The answer to a request whose method needs no file.
pub(super) fn without_file(method: &Method) -> Option<Answered> {
    match *method {
        Method::GET | Method::HEAD => None,
        Method::OPTIONS => Some(Ok(options(ALLOW))),
        _ => Some(Err(Problem::not_allowed(ALLOW))),
    }
}

impl DiskBody for Download {
    fn read(self: Box<Self>, most: usize) -> DiskStep<Bytes> {
        Box::pin(async move { Ok(self.read(most).await?.map(with_rest)) })
    }

    fn send(self: Box<Self>, socket: Arc<Socket>) -> DiskStep<usize> {
        Box::pin(async move { Ok(self.send_to(socket).await?.map(with_rest)) })
    }
}

fn with_rest<T>((done, rest): (T, Box<Download>)) -> (T, Box<dyn DiskBody>) {
    (done, rest)
}

/// An error with the route's own page for it, if the page can be read.
pub(super) async fn with_page(
    site: &Site,
    root: &RootHandle,
    page: &str,
    mut response: Response,
) -> Response {
    let Some(entry) = error_page(site, root, page).await else {
        return response;
    };
    let content_type = entry.about.content_type.clone();
    set(&mut response, header::CONTENT_TYPE, content_type);
    response.set_body(content_body(&entry.content))
}

async fn error_page(site: &Site, root: &RootHandle, page: &str) -> Option<Arc<Entry>> {
    if let Some(entry) = site.files.hit(root, page, Instant::now()) {
        return Some(entry);
    }
    match site.files.load(root, page).await {
        Ok(Loaded::Entry(entry)) => Some(entry),
        // A file that is too large for the memory is not shown as an error page.
        Ok(Loaded::Large(_) | Loaded::Moved) => None,
        Err(error) => {
            tracing::debug!(page, ?error, "an error page can't be read");
            None
        }
    }
}

fn entry_response(headers: &HeaderMap, entry: &Entry) -> Answered {
    response(headers, &entry.about, || {
        content_response(StatusCode::OK, &entry.content)
    })
}

/// The answer with a file: its header fields, and its body unless the request's conditions say otherwise.
pub(super) fn response(
    headers: &HeaderMap,
    about: &Representation,
    whole: impl FnOnce() -> Response,
) -> Answered {
    let (etag, modified) = (about.etag.clone(), Some(about.modified));
    let mut response = conditional::answer(headers, etag, modified, || {
        let mut response = whole();
        let content_type = about.content_type.clone();
        set(&mut response, header::CONTENT_TYPE, content_type);
        if let Some(encoding) = &about.content_encoding {
            set(&mut response, header::CONTENT_ENCODING, encoding.clone());
        }
        response
    })?;
    let last_modified = about.last_modified.clone();
    set(&mut response, header::LAST_MODIFIED, last_modified);
    if let Some(cache_control) = &about.cache_control {
        set(&mut response, header::CACHE_CONTROL, cache_control.clone());
    }
    Ok(response)
}

/// A redirect from a folder's path to the path with a slash at its end, where its page is.
pub(super) fn to_folder(path: &str, query: &str) -> Answered {
    let name = path.rsplit('/').next().unwrap_or_default();
    // `a:b/` would be an address with the scheme `a`.
    let here = if name.contains(':') { "./" } else { "" };
    redirect(&format!("{here}{name}/"), query)
}
