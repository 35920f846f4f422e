//! A request to a resource: what it names, what its method does there, and how the records are found.

use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;

use super::super::answer::{Answered, empty};
use super::super::resource::{
    self, BodyOf, NamedPart, NamedRecord, ResourceWish, WriteWish, absent, absent_in_put,
    list_answer, list_etag, wanted,
};
use super::super::routes::ResourceTarget;
use super::explanation::{duration, size};
use super::{Explanation, RoutedRequest, plan};
use crate::num::as_u64;
use crate::record::{Absent, IdScheme, ListQuery, Record, Revision};
use crate::settings::{Put, Settings};
use crate::storage::{ListPage, Plan, PlanFacts, Store, unknown_size};
use crate::wire::{Problem, Response};

/// A request to a resource.
pub(super) struct AskedRecords<'a> {
    settings: &'a Settings,
    target: &'a ResourceTarget,
    routed: &'a RoutedRequest<'a>,
    named: Option<NamedRecord>,
}

impl<'a> AskedRecords<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        target: &'a ResourceTarget,
        routed: &'a RoutedRequest<'a>,
    ) -> Self {
        Self {
            settings,
            target,
            routed,
            named: NamedRecord::of(target, &routed.matched, &routed.asked.path),
        }
    }

    fn method(&self) -> &Method {
        &self.routed.asked.method
    }

    /// The part that is asked for by a request without header fields, or the answer that needs no store.
    fn wanted(&self) -> Result<ResourceWish, Box<Answered>> {
        let (asked, headers) = (self.routed.asked, HeaderMap::new());
        let named = self.named.clone();
        match wanted(self.target, named, &asked.method, &headers, &asked.query) {
            Ok(ResourceWish::Methods(methods)) => Err(Box::new(Ok(*methods))),
            Ok(ResourceWish::List(query, shape)) => {
                let most = self.settings.limits.list_records.get();
                Ok(ResourceWish::List(Box::new(query.at_most(most)), shape))
            }
            Ok(wanted) => Ok(wanted),
            Err(problem) => Err(Box::new(Err(problem))),
        }
    }

    /// Tells what a request names and does, and how it is answered. Without a store, records are not looked up.
    pub(super) async fn tell(&self, store: Option<&dyn Store>, told: &mut Explanation) {
        told.add("target", self.place());
        let rules = &self.routed.matched.route.rules;
        let path = &self.routed.asked.path;
        let wanted = match self.wanted() {
            Ok(wanted) => wanted,
            Err(answered) => {
                told.answered(path, *answered, Some(rules));
                told.add("answered by", "a request handler");
                return;
            }
        };
        if let Some(owner) = &self.target.settings.owner {
            let told_owner = format!(
                "{owner}: who has to show who it is sees and changes its own records alone; this looks at all"
            );
            told.add("owner", told_owner);
        }
        told.add("method", self.effect());
        if let ResourceWish::Changes(..) = &wanted {
            self.feed_limits(told);
        }
        if let ResourceWish::List(query, _)
        | ResourceWish::Write(WriteWish::DeleteWhere(query) | WriteWish::PatchWhere(query)) =
            &wanted
        {
            told.add("query", query.told());
            let is_read = store.is_some() && matches!(wanted, ResourceWish::List(..));
            if !is_read {
                told.add("found by", self.plan(query));
            }
            self.codings(told);
        }
        let by = match &wanted {
            ResourceWish::List(..) | ResourceWish::Item(..) => {
                "a request handler, from the view of the store"
            }
            ResourceWish::Schema => "a request handler, from the settings",
            ResourceWish::History(..) => "a thread that reads the journal",
            ResourceWish::Changes(..) => {
                "a request handler, from the newest changes in memory; older ones are read from the journal"
            }
            ResourceWish::Methods(_) | ResourceWish::Write(_) => {
                "writer, after the journal has the change on the disk"
            }
        };
        let looked = match store {
            Some(store) => self.look_up(&wanted, store, told).await,
            None => Ok(None),
        };
        if let Some(answered) = looked.transpose() {
            told.answered(path, answered, Some(rules));
        } else {
            let head = self.head(&wanted).unwrap_or_else(|_| empty(StatusCode::OK));
            told.open(self.open_answer(), head, rules);
        }
        told.add("answered by", by);
        if let ResourceWish::Write(_) = wanted {
            self.limits(told);
        }
    }

    /// Tells in which codings a list is compressed.
    fn codings(&self, told: &mut Explanation) {
        let codings = self.target.settings.compress.iter();
        let codings: Vec<_> = codings.map(|coding| coding.name()).collect();
        if !codings.is_empty() && self.method().is_safe() {
            let codings = codings.join(" or ");
            told.add(
                "content",
                format!("for a client that takes {codings}: compressed"),
            );
        }
    }

    /// Reads the record or the list, and tells what that cost.
    async fn look_up(
        &self,
        wanted: &ResourceWish,
        store: &dyn Store,
        told: &mut Explanation,
    ) -> Result<Option<Response>, Problem> {
        let (target, headers) = (self.target, HeaderMap::new());
        let mark = store.mark().await?;
        match wanted {
            ResourceWish::Item(id, shape) => {
                let record = store.get(target.collection, id).await?;
                let record = record.ok_or_else(|| absent(target))?;
                told.add("content", size(as_u64(record.json.len())));
                resource::found(&headers, shape, &record, mark).map(Some)
            }
            ResourceWish::List(query, _) => {
                let cost = store.cost(target.collection, query).await?;
                let indexes: Vec<_> = cost.indexes.iter().collect();
                told.add("found by", plan::told(&cost.plan, query, &indexes));
                told.add("estimated cost", plan::estimate(cost.estimated));
                told.add("real cost", plan::real(&cost));
                let records = cost.page.records.iter();
                let bytes = records.map(|record| as_u64(record.json.len())).sum();
                let count = cost.page.records.len();
                told.add("content", format!("{count} records, {}", size(bytes)));
                let page = ListPage {
                    records: Vec::new(),
                    ..cost.page
                };
                list_answer(
                    &page,
                    list_etag(&page, mark),
                    &self.target.settings.compress,
                )
                .response(&headers)
                .map(Some)
            }
            ResourceWish::Write(_) => store.refuses_writes().map_or(Ok(None), |no| Err(no.into())),
            ResourceWish::Methods(_)
            | ResourceWish::History(..)
            | ResourceWish::Changes(..)
            | ResourceWish::Schema => Ok(None),
        }
    }

    /// The head of an answer, without what depends on the records.
    fn head(&self, wanted: &ResourceWish) -> Answered {
        let headers = HeaderMap::new();
        match wanted {
            ResourceWish::List(..) => {
                let page = ListPage {
                    records: Vec::new(),
                    total: Some(0),
                    ..ListPage::default()
                };
                let codings = &self.target.settings.compress;
                list_answer(&page, list_etag(&page, ""), codings).response(&headers)
            }
            ResourceWish::Item(id, shape) => {
                let record = Record {
                    id: id.clone(),
                    revision: Revision(0),
                    created_ms: 0,
                    changed_ms: 0,
                    json: Bytes::new(),
                };
                resource::found(&headers, shape, &record, "")
            }
            ResourceWish::Changes(_, form) => Ok(form.head()),
            ResourceWish::Schema => self.target.schema.read(&headers),
            ResourceWish::Methods(_) | ResourceWish::History(..) | ResourceWish::Write(_) => {
                Ok(empty(StatusCode::OK))
            }
        }
    }

    fn part(&self) -> Option<NamedPart> {
        self.named.as_ref().map(|named| named.part)
    }

    fn is_feed(&self) -> bool {
        self.part() == Some(NamedPart::Changes)
    }

    /// The thing that the path names.
    fn place(&self) -> String {
        let path = &self.target.settings.path;
        match &self.named {
            None => format!("the resource at {path} as a whole"),
            Some(NamedRecord {
                part: NamedPart::Changes,
                ..
            }) => format!("the changes of the resource at {path}"),
            Some(NamedRecord {
                part: NamedPart::Schema,
                ..
            }) => format!("the JSON Schema of the resource at {path}"),
            Some(NamedRecord { id: None, .. }) => {
                format!("a record of the resource at {path} that can't exist: its id is not valid")
            }
            Some(NamedRecord {
                id: Some(id), part, ..
            }) => {
                let of = if *part == NamedPart::History {
                    "the history of record"
                } else {
                    "record"
                };
                format!("{of} {id} of the resource at {path}")
            }
        }
    }

    /// The effect of the method there.
    fn effect(&self) -> String {
        let settings = &self.target.settings;
        let condition = if settings.if_match_required {
            "; 428 without If-Match"
        } else {
            ""
        };
        let absent = "; 404 if it does not exist";
        match (self.method().as_str(), &self.named) {
            ("POST", _) => format!(
                "creates a record, or all of an array or none; the id is {}",
                ids(settings.ids)
            ),
            ("DELETE", None) if self.routed.asked.query.is_empty() => {
                "deletes the records that are equal to the example in the body".to_owned()
            }
            (method @ ("DELETE" | "PATCH"), None) => {
                let does = if method == "DELETE" {
                    "deletes"
                } else {
                    "patches"
                };
                format!(
                    "{does} all records that match, or none if they are more than Prefer: max-affected=N allows"
                )
            }
            ("DELETE", Some(_)) => format!("deletes the record{absent}{condition}"),
            ("PATCH", _) => format!(
                "replaces the members that are sent, and removes those that are null{absent}{condition}"
            ),
            ("PUT", _) => {
                let does = match settings.put {
                    Put::Replace => "replaces the record",
                    Put::Merge => "replaces the members that are sent",
                };
                let absent = match absent_in_put(settings, false) {
                    Absent::Create => "; creates it if it does not exist",
                    Absent::Refuse => absent,
                };
                format!("{does}{absent}{condition}")
            }
            _ => "reads".to_owned(),
        }
    }

    /// The way in which the records of a list are found.
    fn plan(&self, query: &ListQuery) -> String {
        let settings = &self.target.settings;
        let indexes: Vec<_> = settings.indexes.iter().collect();
        let facts = PlanFacts {
            ids: settings.ids,
            indexes: &indexes,
            records: 0,
            size: &unknown_size,
        };
        plan::told(&Plan::of(query, &facts), query, &indexes)
    }

    /// The answers that are possible where the request has to be carried out to know.
    fn open_answer(&self) -> &'static str {
        let item = self.named.is_some();
        match self.method().as_str() {
            "GET" | "HEAD" if self.is_feed() => {
                "200 with events for as long as the client listens, or with a page of changes as JSON if it takes that or sends _wait; the first event is reset, or 410, if changes are missing after its position"
            }
            "POST" => "201 with the record, unless the body or its id is refused",
            "GET" | "HEAD" if item => "200, or 404 if there is no such record; --running looks",
            "GET" | "HEAD" => "200 with the list",
            "PUT" => "200 or 201 with the record, unless it is refused",
            "PATCH" => "200 with the record, unless it is refused",
            _ => "200 with what was deleted, unless it is refused",
        }
    }

    /// Tells how many feeds there may be, and how far they reach back.
    fn feed_limits(&self, told: &mut Explanation) {
        let feed = &self.settings.feed;
        let open = format!("{} feeds at a time, else 503", feed.subscribers);
        told.add("limit", open);
        let (changes, age) = (feed.history, duration(feed.history_age));
        let history =
            format!("{changes} changes back, no older than {age}, as far as the journal reaches");
        told.add("limit", history);
        let heartbeat = duration(feed.heartbeat);
        let told_as = format!("a comment each {heartbeat} without changes");
        told.add("limit", told_as);
    }

    /// Tells what a write may send, and how long it may take.
    fn limits(&self, told: &mut Explanation) {
        let body = match *self.method() {
            Method::POST => BodyOf::Post,
            Method::PATCH => BodyOf::Patch,
            _ => BodyOf::Other,
        };
        if *self.method() != Method::DELETE || self.named.is_none() {
            let accepted = self.target.settings.accepted(body);
            told.add("limit", format!("a body of {accepted}, else 415"));
            let most = size(as_u64(self.settings.limits.body_bytes));
            told.add("limit", format!("a body of {most}, else 413"));
        }
        let deadline = duration(self.settings.supervision.children.storage.deadline);
        told.add(
            "limit",
            format!("waits for the writer {deadline} at most, then 504"),
        );
    }
}

fn ids(ids: IdScheme) -> &'static str {
    match ids {
        IdScheme::Uuid => "the one in the body, or else a new UUID",
        IdScheme::Sequence => "the one in the body, or else the next number",
        IdScheme::Client => "the one in the body, which must have it",
    }
}
