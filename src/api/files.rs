//! Answers requests for files: `quick` from memory, `slow` by asking the file cache. `range`
//! reads which of its bytes are wanted, `partial` sends them, `fallback` is about files that are not there, and `listing`
//! shows folders.

mod fallback;
mod listing;
mod partial;
mod range;

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use bytes::Bytes;
use tokio::time::Instant;

use super::accepted::{AcceptedCodings, Choice};
use super::answer::{Answered, redirect, set};
use super::conditional;
use super::routes::Matched;
use super::site::Site;
use crate::file_cache::{
    CodingState, Download, Entry, Files, Large, Loaded, Representation, RootHandle,
};
use crate::settings::ContentCoding;
use crate::wire::{
    Code, DiskBody, DiskStep, Incoming, Problem, Response, Socket, content_body, options,
};
pub(super) use fallback::is_page;
use fallback::{fallback, varied};
pub(super) use listing::listed;
use partial::FileContent;
pub(super) use partial::described;

/// The methods that are allowed on a file.
pub(super) const METHODS: &str = "GET, HEAD, OPTIONS";

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
    let entry = site.files.fresh(root, matched.rest(request.path()), now)?;
    // What has to be made waits. If a condition fails, `slow` answers with the error.
    let response = match choose(request, &*entry, true) {
        Choice::Make(_) => return None,
        choice @ (Choice::Plain | Choice::Encoded(_) | Choice::Refused) => {
            entry_response(site, request, &entry, choice).ok()?
        }
    };
    site.files.count_hit();
    Some(response)
}

/// The answer, however long it takes.
pub(super) async fn slow(
    site: &Site,
    root: &RootHandle,
    matched: &Matched,
    request: &Incoming,
) -> Answered {
    if *request.method() == Method::OPTIONS {
        return Ok(methods());
    }
    let path = matched.rest(request.path());
    if let Some(entry) = site.files.hit(root, path, Instant::now()) {
        must_read(request.method())?;
        return encoded_response(site, root, path, request, entry).await;
    }
    let error = match site.files.load(root, path).await {
        Ok(loaded) => return loaded_response(site, root, path, request, loaded).await,
        Err(error) => Problem::from(error),
    };
    if error != Problem::new(Code::NotFound) {
        return Err(error);
    }
    if let Some(page) = fallback(root.site(), path, request)
        && let Ok(loaded @ (Loaded::Entry(_) | Loaded::Large(_))) =
            site.files.load(root, page).await
    {
        let response = loaded_response(site, root, page, request, loaded).await?;
        return Ok(varied(response));
    }
    Err(site.nothing_at(request.path()))
}

/// The answer with what `path` leads to.
async fn loaded_response(
    site: &Site,
    root: &RootHandle,
    path: &str,
    request: &Incoming,
    loaded: Loaded,
) -> Answered {
    must_read(request.method())?;
    match loaded {
        Loaded::Entry(entry) => encoded_response(site, root, path, request, entry).await,
        Loaded::Large(large) => {
            let large = match choose(request, &large, false) {
                Choice::Plain | Choice::Make(_) => large,
                Choice::Encoded(coding) => large.encoded(coding).unwrap_or(large),
                Choice::Refused => return Err(refused_coding()),
            };
            let content = FileContent::Disk(&large);
            file_response(&site.files, request, large.about(), content)
        }
        Loaded::Moved => to_folder(request.path(), request.query()),
        Loaded::Listing(listing) => {
            listed(request.headers(), request.path(), path == "/", &listing)
        }
    }
}

/// The answer with a file in memory, in a coding that is made for it if need be.
async fn encoded_response(
    site: &Site,
    root: &RootHandle,
    path: &str,
    request: &Incoming,
    mut entry: Arc<Entry>,
) -> Answered {
    if let Choice::Make(coding) = choose(request, &*entry, true)
        && let Some(encoded) = site.files.encoded(root, path, coding).await
    {
        entry = encoded;
    }
    let choice = choose(request, &*entry, false);
    entry_response(site, request, &entry, choice)
}

/// The answer with a file in memory, as it was chosen.
fn entry_response(site: &Site, request: &Incoming, entry: &Entry, choice: Choice) -> Answered {
    let encoded = match choice {
        Choice::Plain | Choice::Make(_) => None,
        Choice::Encoded(coding) => entry.encoded(coding),
        Choice::Refused => return Err(refused_coding()),
    };
    let (about, content) = encoded.map_or((&entry.about, &entry.content), |encoded| {
        (&encoded.about, &encoded.content)
    });
    file_response(&site.files, request, about, FileContent::Memory(content))
}

fn refused_coding() -> Problem {
    let detail = "this file is not there in a coding of the request's Accept-Encoding, which refuses the file as it is";
    Problem::new(Code::NotAcceptable).detail(detail)
}

/// A file that may be there in several codings.
trait Encodable {
    /// The header fields of the file as it is.
    fn plain(&self) -> &Representation;

    /// The state of a coding of it.
    fn coding(&self, coding: ContentCoding) -> CodingState;

    /// The entity tag in a coding, if it is there.
    fn tag(&self, coding: ContentCoding) -> Option<Bytes>;
}

impl Encodable for Entry {
    fn plain(&self) -> &Representation {
        &self.about
    }

    fn coding(&self, coding: ContentCoding) -> CodingState {
        Self::coding(self, coding)
    }

    fn tag(&self, coding: ContentCoding) -> Option<Bytes> {
        Some(self.encoded(coding)?.about.etag.clone())
    }
}

impl Encodable for Large {
    fn plain(&self) -> &Representation {
        self.about()
    }

    fn coding(&self, coding: ContentCoding) -> CodingState {
        self.encoded(coding)
            .map_or(CodingState::Absent, |_| CodingState::Ready)
    }

    fn tag(&self, coding: ContentCoding) -> Option<Bytes> {
        Some(self.encoded(coding)?.about().etag.clone())
    }
}

// Decision: A part of a file is one of the file as it is.
/// Chooses the coding in which a file is sent. One that has to be made is chosen only if somebody makes it.
///
/// Who asks for a part gets it of the file as it is, or of the coding whose tag `If-Range` names: many clients take the bytes for
/// those of the file although they accept codings.
fn choose(request: &Incoming, file: &impl Encodable, makes: bool) -> Choice {
    if !file.plain().varies {
        return Choice::Plain;
    }
    let accepted = AcceptedCodings::of(request.headers());
    if range_field(request).is_some() {
        let named = request.headers().get(header::IF_RANGE);
        let is_named = |coding: &ContentCoding| {
            accepted.weight(*coding) > 0
                && file
                    .tag(*coding)
                    .is_some_and(|tag| named.is_some_and(|named| *named == *tag))
        };
        if let Some(coding) = ContentCoding::ALL.into_iter().find(is_named) {
            return Choice::Encoded(coding);
        }
        if accepted.takes_plain() {
            return Choice::Plain;
        }
    }
    accepted.choose(|coding| file.coding(coding), makes)
}

/// The methods that are allowed on a file, whether it is there or not.
pub(super) fn methods() -> Response {
    options(METHODS)
}

/// Refuses a method by which a file is not read.
pub(super) fn must_read(method: &Method) -> Result<(), Problem> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Problem::not_allowed(METHODS)),
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
        Ok(Loaded::Large(_) | Loaded::Moved | Loaded::Listing(_)) => None,
        Err(error) => {
            tracing::debug!(page, ?error, "an error page can't be read");
            None
        }
    }
}

/// The answer to a GET or HEAD of a file with this content.
fn file_response(
    files: &Files,
    request: &Incoming,
    about: &Representation,
    content: FileContent<'_>,
) -> Answered {
    response(request.headers(), about, || {
        let Some(range) = range_field(request) else {
            return Ok(content.whole(about));
        };
        content.ranges(range, request.headers(), about, || {
            files.count_ignored_ranges();
        })
    })
}

/// The one `Range` field of a request by which parts of a file can be asked for (RFC 9110 section 14.2).
fn range_field(request: &Incoming) -> Option<&[u8]> {
    let mut fields = request.headers().get_all(header::RANGE);
    let field = fields.next()?;
    let alone = fields.next().is_none() && *request.method() == Method::GET;
    alone.then(|| field.as_bytes())
}

/// The answer with a file: its header fields, and its body unless the request's conditions say otherwise.
pub(super) fn response(
    headers: &HeaderMap,
    about: &Representation,
    body: impl FnOnce() -> Answered,
) -> Answered {
    let (etag, modified) = (about.etag.clone(), Some(about.modified));
    let mut response = conditional::answer_unless(headers, etag, modified, || {
        let mut response = body()?;
        if about.download {
            let fields = response.headers_mut();
            let attachment = HeaderValue::from_static("attachment");
            fields.insert(header::CONTENT_DISPOSITION, attachment);
        }
        if let Some(encoding) = &about.content_encoding {
            set(&mut response, header::CONTENT_ENCODING, encoding.clone());
        }
        let fields = response.headers_mut();
        fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        Ok(response)
    })?;
    let last_modified = about.last_modified.clone();
    set(&mut response, header::LAST_MODIFIED, last_modified);
    if about.varies {
        let fields = response.headers_mut();
        fields.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
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
