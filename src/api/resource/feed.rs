//! The changes of a resource: `GET /books/_changes`, as a stream of events or, for clients that take JSON, page by page.

use std::future::poll_fn;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use super::super::answer::{Answered, empty, set};
use super::super::feed::{EventStream, FeedReader, JsonPage, WaitingPoll};
use super::super::routes::Route;
use super::dialect::JSON;
use super::{ResourceRequest, json};
use crate::record::{FeedPosition, FeedQuery};
use crate::settings::Permission;
use crate::storage::StoreError;
use crate::wire::{Code, OpenEnd, Problem, Response, wish};

/// The methods that are allowed on the changes of a resource.
pub(crate) const METHODS: &str = "GET, HEAD, OPTIONS";
/// The last segment of their path. No record has such an id.
pub(super) const SEGMENT: &str = "_changes";
const EVENTS: &str = "text/event-stream";

/// The form in which changes are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedForm {
    /// A stream of events.
    Events,
    /// A page.
    Json,
}

impl FeedForm {
    /// The form that a client takes.
    pub(super) fn of(headers: &HeaderMap, waits: bool) -> Result<Self, Problem> {
        let (events, json) = (wish(headers, EVENTS), wish(headers, JSON));
        if json.weight > 0 && (waits || json > events) {
            Ok(Self::Json)
        } else if events.weight > 0 && !waits {
            Ok(Self::Events)
        } else {
            let detail = if waits {
                "with _wait, changes are application/json, which the request's Accept leaves out"
            } else {
                "changes are text/event-stream or application/json, which the request's Accept leaves out"
            };
            Err(Problem::new(Code::NotAcceptable).detail(detail))
        }
    }

    /// The head of the answer.
    pub(crate) fn head(self) -> Response {
        let mut response = empty(StatusCode::OK);
        self.set_fields(&mut response);
        response
    }

    fn set_fields(self, response: &mut Response) {
        let kind = match self {
            Self::Events => EVENTS,
            Self::Json => JSON,
        };
        set(response, header::CONTENT_TYPE, kind);
        set(response, header::CACHE_CONTROL, "no-cache");
        // Proxies of this kind would keep events back.
        let unbuffered = HeaderName::from_static("x-accel-buffering");
        set(response, unbuffered, "no");
        set(response, header::VARY, "accept");
    }
}

/// The position that a client has. What it got last counts more than the address that it began with.
fn since(headers: &HeaderMap, query: &FeedQuery) -> Option<FeedPosition> {
    let last = headers.get("last-event-id").filter(|last| !last.is_empty());
    let Some(last) = last else {
        return query.since.clone();
    };
    let position = last.to_str().ok().and_then(FeedPosition::parse);
    // What does not read as a position is none of this store.
    let foreign = FeedPosition {
        seq: 0,
        mark: Some(String::new()),
    };
    Some(position.unwrap_or(foreign))
}

impl ResourceRequest<'_> {
    /// Answers with the changes.
    pub(super) async fn changes(
        &self,
        route: &Arc<Route>,
        query: FeedQuery,
        form: FeedForm,
    ) -> Answered {
        // Decision: The changes of a resource with an owner are for those alone who see all records.
        if self.owner(Permission::Read).is_some() {
            let detail = "the changes tell of the records of all owners; read the list instead, which has yours";
            return Err(Problem::new(Code::NotPermitted).detail(detail));
        }
        if self.request.method() == Method::HEAD {
            return Ok(form.head());
        }
        let settings = self.site.settings.feed;
        let feeds = &self.site.feeds;
        let place = feeds.place(settings.subscribers.get())?;
        let (since, wait) = (since(self.request.headers(), &query), query.wait);
        let (mut reader, whole) = FeedReader::begin(feeds, place, route, query, since).await?;
        let identity = self.request.identity();
        reader.end_at(identity.and_then(|identity| identity.until()));
        let end = OpenEnd::default();
        if form == FeedForm::Events {
            let stream = EventStream::new(reader, !whole, end.clone(), settings.heartbeat);
            return Ok(streamed(form, BoxBody::new(stream), end));
        }
        let mut page = JsonPage::default();
        if whole {
            poll_fn(|cx| page.poll_read(&mut reader, cx)).await;
        }
        if !whole || page.is_gone() {
            let detail = "the changes after this position are not kept any more, or the position is from another store; read the list again, and continue from next";
            let next = json!(reader.position());
            let problem = Problem::new(Code::HistoryGone).detail(detail);
            return Err(problem.extension("next", next));
        }
        if page.is_unavailable() {
            return Err(StoreError::Unavailable.into());
        }
        let Some(wait) = wait.filter(|_| page.is_empty()) else {
            let mut response = json(StatusCode::OK, page.finish(&reader));
            form.set_fields(&mut response);
            return Ok(response);
        };
        let poll = WaitingPoll::new(reader, end.clone(), Instant::now() + wait);
        Ok(streamed(form, BoxBody::new(poll), end))
    }
}

/// An answer whose body goes on.
fn streamed(form: FeedForm, body: BoxBody, end: OpenEnd) -> Response {
    let mut response = HttpResponse::with_body(StatusCode::OK, body);
    form.set_fields(&mut response);
    response.extensions_mut().insert(end);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_the_client_takes_most_and_json_if_it_waits() {
        use FeedForm::{Events, Json};
        for (accept, waits, form) in [
            (None, false, Some(Events)),
            (None, true, Some(Json)),
            (Some("*/*"), false, Some(Events)),
            (Some("text/event-stream"), false, Some(Events)),
            (Some("text/event-stream"), true, None),
            (Some("application/json"), false, Some(Json)),
            (Some("application/json, text/plain, */*"), false, Some(Json)),
            (
                Some("text/event-stream, application/json;q=0.5"),
                false,
                Some(Events),
            ),
            (Some("text/html"), false, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(
                FeedForm::of(&headers, waits).ok(),
                form,
                "{accept:?} {waits}"
            );
        }
    }
}
