//! A resource as a whole: the list.

use std::pin::pin;
use std::sync::{Arc, OnceLock};

use actix_web::http::header::{self, HeaderName};
use bytes::Bytes;

use super::super::answer::Answered;
use super::super::conditional::etag;
use super::super::kept_lists::ListAnswer;
use super::super::routes::{ResourceTarget, RouteRules};
use super::super::site::Site;
use super::negotiation::{handling, must_take_json};
use super::relations::{Relations, tag_of};
use super::{ResourceRequest, array, preference_applied, url};
use crate::record::{Handling, ListQuery, QueryError, RecordShape, Revision, SELECTED_BYTES_MAX};
use crate::settings::{ContentCoding, Permission};
use crate::storage::{ListPage, StoreError};
use crate::wire::{Incoming, Response, count};

/// The longest list that is compressed on the event loop, in bytes: it takes less than a millisecond.
const COMPRESSED_HERE_MAX: usize = 64 << 10;
/// The methods that are allowed on a resource as a whole.
pub(crate) const METHODS: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";

impl ResourceRequest<'_> {
    /// Answers with a page of the list.
    pub(super) async fn list(&self, query: ListQuery, shape: &RecordShape) -> Answered {
        let headers = self.request.headers();
        // No more is read than may be held.
        let room = self.site.counters.room();
        let query = query
            .at_most(self.site.settings.limits.list_records.get())
            .within(room);
        let owner = self.owner(Permission::Read);
        let query = match &owner {
            Some(owner) => owner.limit(query),
            None => query,
        };
        // Few lists are searched for at a time: a client that has left must not hold a place.
        let page = pin!(self.site.store.query(self.target.collection, &query));
        let page = self.request.unless_left(page).await?;
        let mut page = page.map_err(|error| {
            if error == StoreError::TooLarge && room < SELECTED_BYTES_MAX {
                self.site.counters.no_room()
            } else {
                error.into()
            }
        })?;
        page.total = page.total.filter(|_| query.wants_total());
        let links = self.links(&query, &page)?;
        let mut relations = if shape.has_relations() {
            Some(Relations::of(self.site, self.target, shape, self.request).await?)
        } else {
            None
        };
        if !shape.is_whole() {
            for record in &mut page.records {
                let text = shape.text(record);
                record.json = match &mut relations {
                    Some(relations) => relations.add(record, &text).await?,
                    None => text,
                };
            }
        }
        // The change of a record of another client changes nothing here.
        let etag = if relations.is_some() || owner.is_some() {
            tag_of(&array(&page.records))
        } else {
            list_etag(&page, self.site.store.mark().await?)
        };
        let codings = &self.target.settings.compress;
        let mut answer = list_answer(&page, etag, codings);
        if owner.is_some() {
            let varies = varies(true, !codings.is_empty());
            answer.fields.push((header::VARY, varies));
        }
        answer.is_cut = query.is_cut(page.records.len(), page.more);
        if let Some(links) = links {
            answer.fields.push((header::LINK, links.into()));
        }
        if let Some((first, _)) = query.range() {
            let range = self.content_range(first, &page);
            answer.fields.push((header::CONTENT_RANGE, range.into()));
        }
        if handling(headers) == Handling::Lenient {
            let lenient = Bytes::from_static(b"handling=lenient");
            answer.fields.push((preference_applied(), lenient));
        }
        let answer = Arc::new(answer);
        // An answer with records of other resources changes when they do, too.
        // A resource that is only proposed is not known yet.
        let changed = self.site.store.changed(self.target.collection);
        if self.site.lists.is_on() && relations.is_none() && changed == Some(page.seq) {
            let key = key(self.site, self.target, self.rules, self.request);
            let kept = Arc::clone(&answer);
            self.site.lists.keep(key, kept, &self.site.counters);
        }
        self.give(answer).await
    }

    /// Answers with a list that is new or was kept, compressed if the client takes it.
    pub(super) async fn give(&self, answer: Arc<ListAnswer>) -> Answered {
        if let Some(coding) = answer.unmade(self.request.headers()) {
            if answer.body.len() <= COMPRESSED_HERE_MAX {
                answer.make(coding);
            } else {
                let made = Arc::clone(&answer);
                let made = tokio::task::spawn_blocking(move || made.make(coding));
                // If it has panicked, the hook has told, and the list is sent as it is.
                drop(made.await);
            }
        }
        given(self.site, self.request, &answer)
    }

    /// The links to other parts of the list (RFC 8288 section 3), if there are any.
    fn links(&self, query: &ListQuery, page: &ListPage) -> Result<Option<String>, QueryError> {
        let links = query.links(&page.records, page.total, page.more)?;
        if links.is_empty() {
            return Ok(None);
        }
        let url = self.url();
        let links = links.into_iter();
        let links = links.map(|(rel, query)| format!("<{url}?{query}>; rel=\"{rel}\""));
        Ok(Some(links.collect::<Vec<_>>().join(", ")))
    }

    /// The records of a page that begins with the record `first`, such as `books 0-24/319`.
    fn content_range(&self, first: usize, page: &ListPage) -> String {
        let url = &self.target.url;
        let unit = url.rsplit('/').next().unwrap_or_default();
        let total = page.total.unwrap_or_default();
        match page.records.len().checked_sub(1) {
            Some(further) => {
                let last = first.saturating_add(further);
                format!("{unit} {first}-{last}/{total}")
            }
            None => format!("{unit} */{total}"),
        }
    }
}

/// The header fields by which a list varies. A browser keeps the list of one client apart from that of another one.
fn varies(by_client: bool, by_coding: bool) -> Bytes {
    Bytes::from_static(match (by_client, by_coding) {
        (false, false) => b"Prefer",
        (true, false) => b"Prefer, Authorization",
        (false, true) => b"Prefer, Accept-Encoding",
        (true, true) => b"Prefer, Accept-Encoding, Authorization",
    })
}

/// The entity tag of a page from the store of this mark.
pub(crate) fn list_etag(page: &ListPage, mark: &str) -> String {
    format!("W/{}", etag(Revision(page.seq), mark))
}

/// The answer with a page of a list, without links, which may be sent in these codings.
pub(crate) fn list_answer(page: &ListPage, etag: String, codings: &[ContentCoding]) -> ListAnswer {
    let mut fields = vec![
        (header::VARY, varies(false, !codings.is_empty())),
        (header::CACHE_CONTROL, Bytes::from_static(b"no-cache")),
    ];
    if let Some(total) = page.total {
        let name = HeaderName::from_static("x-total-count");
        fields.push((name, total.to_string().into()));
    }
    ListAnswer {
        seq: page.seq,
        etag: etag.into(),
        body: array(&page.records).into(),
        fields,
        is_cut: false,
        encoded: codings
            .iter()
            .map(|coding| (*coding, OnceLock::new()))
            .collect(),
    }
}

/// The answer to a GET or HEAD of a list that was answered before, if it is kept and no record has changed since. One that has to
/// be compressed first, which takes long, is left out.
pub(super) fn again(
    site: &Site,
    target: &ResourceTarget,
    rules: &RouteRules,
    request: &Incoming,
) -> Option<Response> {
    let answer = kept(site, target, rules, request)?;
    match answer.unmade(request.headers()) {
        Some(_) if answer.body.len() > COMPRESSED_HERE_MAX => return None,
        Some(coding) => answer.make(coding),
        None => {}
    }
    let response = given(site, request, &answer).ok()?;
    count(&site.counters.lists_again);
    Some(response)
}

/// The answer that is kept for a list, if no record has changed since.
pub(super) fn kept(
    site: &Site,
    target: &ResourceTarget,
    rules: &RouteRules,
    request: &Incoming,
) -> Option<Arc<ListAnswer>> {
    if !site.lists.is_on() {
        return None;
    }
    must_take_json(request.headers()).ok()?;
    let seq = site.store.changed(target.collection)?;
    let key = key(site, target, rules, request);
    site.lists.get(&key, seq, &site.counters)
}

/// The text that tells a list from all others of an edition of the settings: all that its answer depends on, besides the records
/// and the conditions of a request.
fn key(site: &Site, target: &ResourceTarget, rules: &RouteRules, request: &Incoming) -> String {
    let url = url(site, target, request);
    let lenient = handling(request.headers()) == Handling::Lenient;
    let query = request.query();
    let lenient = u8::from(lenient);
    if target.owner(rules, request, Permission::Read).is_none() {
        return format!("{lenient} {url}?{query}");
    }
    let client = request.identity().map_or("", |identity| &identity.name);
    // No URL has a space.
    format!("{lenient} {url}?{query} {client}")
}

/// The response to a request, by an answer that is new or was kept.
fn given(site: &Site, request: &Incoming, answer: &ListAnswer) -> Answered {
    if answer.is_cut {
        count(&site.counters.lists_cut);
    }
    answer.response(request.headers())
}
