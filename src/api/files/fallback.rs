//! The page that is shown where there is no file, for applications of a single page, which read the path themselves.

// Decision: Only who opens a page gets the fallback.

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};

use crate::file_cache::SiteRoot;
use crate::file_cache::containment::SafePath;
use crate::wire::{Incoming, Response, wish};

static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The page that answers a request for `path`, where there is no file; `None` if it gets a 404.
pub(super) fn fallback<'a>(root: &'a SiteRoot, path: &str, request: &Incoming) -> Option<&'a str> {
    let page = root.fallback.as_deref()?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    // A path that names no file is none of a page either.
    let may_be = SafePath::new(path).is_ok() && is_page(root, path);
    (reads && may_be && navigates(request)).then_some(page)
}

/// Whether a path may be that of a page: its name has no ending that a kind of file has.
pub(in super::super) fn is_page(root: &SiteRoot, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    !root.types.knows(name)
}

/// Whether a request is sent by a browser that opens a page, and not by a script or for a part of a page.
fn navigates(request: &Incoming) -> bool {
    let mode = request.headers().get(&SEC_FETCH_MODE);
    let html = wish(request.headers(), "text/html");
    mode.is_some_and(|mode| mode == "navigate") || html.named && html.weight > 0
}

/// Tells caches what the choice of the page depended on.
pub(super) fn varied(mut response: Response) -> Response {
    let by = HeaderValue::from_static("accept, sec-fetch-mode");
    response.headers_mut().append(header::VARY, by);
    response
}
