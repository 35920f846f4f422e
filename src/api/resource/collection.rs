//! A resource as a whole: the list.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName};

use super::super::answer::{Answered, set};
use super::super::conditional::{self, etag};
use super::negotiation::handling;
use super::relations::{Relations, tag_of};
use super::{ResourceRequest, array, json, set_preference_applied};
use crate::record::{Handling, ListQuery, QueryError, RecordShape, Revision, SELECTED_BYTES_MAX};
use crate::storage::{ListPage, StoreError};
use crate::wire::count;

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
        let page = self.site.store.query(self.target.collection, &query).await;
        let mut page = page.map_err(|error| {
            if error == StoreError::TooLarge && room < SELECTED_BYTES_MAX {
                self.site.counters.no_room()
            } else {
                error.into()
            }
        })?;
        page.total = page.total.filter(|_| query.wants_total());
        if query.is_cut(page.records.len(), page.more) {
            count(&self.site.counters.lists_cut);
        }
        let links = self.links(&query, &page)?;
        let mut relations = if shape.has_relations() {
            Some(Relations::of(self.site, self.target, shape)?)
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
        let etag = if relations.is_some() {
            tag_of(&array(&page.records))
        } else {
            list_etag(&page, self.site.store.mark().await?)
        };
        let mut response = listed(headers, &page, etag)?;
        if let Some(links) = links {
            set(&mut response, header::LINK, links);
        }
        if let Some((first, _)) = query.range() {
            let range = self.content_range(first, &page);
            set(&mut response, header::CONTENT_RANGE, range);
        }
        if handling(headers) == Handling::Lenient {
            set_preference_applied(&mut response, "handling=lenient");
        }
        Ok(response)
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

/// The entity tag of a page from the store of this mark.
pub(crate) fn list_etag(page: &ListPage, mark: &str) -> String {
    format!("W/{}", etag(Revision(page.seq), mark))
}

/// The answer with a page of a list, without links.
pub(crate) fn listed(headers: &HeaderMap, page: &ListPage, etag: String) -> Answered {
    let whole = || json(StatusCode::OK, array(&page.records));
    let mut response = conditional::answer(headers, etag, None, whole)?;
    if let Some(total) = page.total {
        let name = HeaderName::from_static("x-total-count");
        set(&mut response, name, total.to_string());
    }
    set(&mut response, header::VARY, "Prefer");
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    Ok(response)
}
