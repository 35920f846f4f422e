//! The history of one record: `GET /books/ID/_history`.

use actix_web::http::StatusCode;
use actix_web::http::header;

use super::super::answer::{Answered, set};
use super::{ResourceRequest, absent, json};
use crate::record::{HistoryQuery, RecordId};
use crate::settings::Permission;
use crate::wire::{Code, Problem};

/// The methods that are allowed on a history.
pub(crate) const METHODS: &str = "GET, HEAD, OPTIONS";
/// The last segment of its path. No record has such an id.
pub(super) const SEGMENT: &str = "_history";

impl ResourceRequest<'_> {
    /// Answers with the history of a record.
    pub(super) async fn history(&self, id: &RecordId, query: HistoryQuery) -> Answered {
        let collection = self.target.collection;
        let owner = self.owner(Permission::Read);
        if let Some(owner) = &owner {
            let record = self.site.store.get(collection, id).await?;
            if !record.is_some_and(|record| owner.owns(&record)) {
                return Err(absent(self.target));
            }
        }
        let mut history = self.site.store.history(collection, id, query).await?;
        if let Some(owner) = &owner {
            // What had this id before may have been another client's.
            history.keep_only(|json| owner.owns_text(json));
        }
        if history.changes.is_empty() && query.before > history.first {
            let detail = format!(
                "there is no change of a record with this id; the journal begins with change {}",
                history.first
            );
            return Err(Problem::new(Code::NotFound).detail(detail));
        }
        let mut response = json(StatusCode::OK, history.json());
        if let Some(before) = history.next() {
            let (url, limit) = (self.url(), query.limit);
            let next =
                format!("<{url}/{id}/{SEGMENT}?_limit={limit}&_before={before}>; rel=\"next\"");
            set(&mut response, header::LINK, next);
        }
        set(&mut response, header::CACHE_CONTROL, "no-cache");
        Ok(response)
    }
}
