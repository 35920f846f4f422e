//! A resource as a whole: the list, making records, and deleting by example.

use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::{Method, StatusCode};

use super::super::answer::{Answered, set};
use super::super::conditional::{self, etag};
use super::dialect::BodyOf;
use super::{ResourceRequest, array, json, prefers, set_preference_applied};
use crate::record::{
    Conditions, Handling, ListQuery, QueryError, Revision, SELECTED_BYTES_MAX, Schema,
    WriteCommand, wants_meta,
};
use crate::storage::{ListPage, StoreError};
use crate::wire::{Code, Problem};

impl ResourceRequest<'_> {
    /// Answers a request for the resource as a whole.
    pub(super) async fn answer_collection(&mut self, allowed: &'static str) -> Answered {
        match *self.request.method() {
            Method::GET | Method::HEAD => self.list().await,
            Method::POST => self.create().await,
            Method::DELETE if self.target.settings.delete_matching => self.delete_matching().await,
            _ => Err(Problem::not_allowed(allowed)),
        }
    }

    async fn list(&self) -> Answered {
        let (headers, sent) = (self.request.headers(), self.request.query());
        let query = list_query(headers, sent, &self.target.settings.schema)?;
        // No more is read than may be held.
        let room = self.site.counters.room();
        let query = query.within(room);
        let page = self.site.store.query(self.target.collection, &query).await;
        let mut page = page.map_err(|error| {
            if error == StoreError::TooLarge && room < SELECTED_BYTES_MAX {
                self.site.counters.no_room()
            } else {
                error.into()
            }
        })?;
        if wants_meta(sent)? {
            for record in &mut page.records {
                record.json = record.json_with_meta();
            }
        }
        let mark = self.site.store.mark().await?;
        let mut response = listed(&self.target.url, headers, &query, &page, mark)?;
        if is_lenient(headers) {
            set_preference_applied(&mut response, "handling=lenient");
        }
        Ok(response)
    }

    async fn create(&mut self) -> Answered {
        let settings = &self.target.settings;
        let object = self.read_object(BodyOf::Post).await?;
        let uuid = uuid::Uuid::now_v7;
        let command = WriteCommand::create(object, settings.ids, &settings.schema, uuid)?;
        self.write(command, Conditions::default()).await
    }

    /// Deletes the records that are equal to the body in all its members, and answers with them.
    async fn delete_matching(&mut self) -> Answered {
        if !self.request.query().is_empty() {
            return Err(Problem::not_available("DELETE with a query"));
        }
        let refused = |detail: &str| Err(Problem::new(Code::InvalidParameter).detail(detail));
        if !self.request.has_body() {
            return refused("send an example: what is equal to it in all its members is deleted");
        }
        let example = self.read_object(BodyOf::Other).await?;
        if example.members().is_empty() {
            return refused(
                "the example must have at least one member: an empty one would delete everything",
            );
        }
        let command = WriteCommand::DeleteMatching { example };
        self.write(command, Conditions::default()).await
    }
}

fn is_lenient(headers: &HeaderMap) -> bool {
    prefers(headers, "handling", "lenient")
}

/// Reads the query of a list.
pub(crate) fn list_query(
    headers: &HeaderMap,
    query: &str,
    schema: &Schema,
) -> Result<ListQuery, QueryError> {
    let handling = if is_lenient(headers) {
        Handling::Lenient
    } else {
        Handling::Strict
    };
    ListQuery::parse(query, schema, handling)
}

/// The answer with a page of the list at `url`, from the store of this mark.
pub(crate) fn listed(
    url: &str,
    headers: &HeaderMap,
    query: &ListQuery,
    page: &ListPage,
    mark: &str,
) -> Answered {
    let etag = format!("W/{}", etag(Revision(page.seq), mark));
    let whole = || json(StatusCode::OK, array(&page.records));
    let mut response = conditional::answer(headers, etag, None, whole)?;
    let total = HeaderName::from_static("x-total-count");
    set(&mut response, total, page.total.to_string());
    set(&mut response, header::VARY, "Prefer");
    if let Some(links) = links(url, query, page.total) {
        set(&mut response, header::LINK, links);
    }
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    Ok(response)
}

/// The links to the other pages (RFC 8288 section 3), if there are any. They are relative, since the daemon does not know
/// under which name clients reach it.
fn links(path: &str, query: &ListQuery, total: u64) -> Option<String> {
    let links = query.links(total).into_iter();
    let links: Vec<_> = links
        .map(|(rel, query)| format!("<{path}?{query}>; rel=\"{rel}\""))
        .collect();
    (!links.is_empty()).then(|| links.join(", "))
}
