//! `/_batch`: several changes of several resources in one request.
//!
//! `atomic` does all of them or none, as a task group does: all are tried, every refusal is told, and what could have been done
//! is cancelled. `gather` does each for itself.

use std::pin::pin;
use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::{self, StreamExt as _};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::Number;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::answer::{Answered, set};
use super::conditional::conditions;
use super::operations::{AllDone, carry_out_all, no_batch};
use super::resource::methods as resource_methods;
use super::resource::{
    ChangeBody, JSON, NamedRecord, ResourceWish, ToldChange, finish, is_json, json, max_affected,
    media_type, must_be_utf_8, prefers, refused, request_key, wanted, without_mark,
};
use super::routes::Target;
use super::site::Site;
use crate::misread::in_plain_words;
use crate::record::{Conditions, ExactNumber, RequestKey};
use crate::settings::Permission;
use crate::storage::{Write, WriteBatch, Written};
use crate::wire::{Code, Incoming, Problem, Response, options, read_body};

/// The path of it. No route of the settings can have it.
pub(crate) const BATCH: &str = "/_batch";
pub(crate) const METHODS: &str = "POST, OPTIONS";
/// The changes of a `gather` that are on their way to the store at a time.
const IN_FLIGHT: usize = 128;

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(default)]
    mode: BatchMode,
    #[serde(borrow)]
    ops: Vec<BatchOperation<'a>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BatchMode {
    #[default]
    Atomic,
    Gather,
}

/// One change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchOperation<'a> {
    method: String,
    path: String,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(default)]
    if_match: Option<String>,
    #[serde(default)]
    if_none_match: Option<String>,
    #[serde(default, deserialize_with = "count")]
    max_affected: Option<usize>,
}

/// Reads a count: `2.0` is one, as in JSON Schema.
fn count<'de, D: Deserializer<'de>>(text: D) -> Result<Option<usize>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(text)? else {
        return Ok(None);
    };
    let count = ExactNumber::of(&number).and_then(ExactNumber::count);
    let found = Unexpected::Float(number.as_f64().unwrap_or_default());
    let refused = || D::Error::invalid_value(found, &"usize");
    count.map(Some).ok_or_else(refused)
}

/// A change that was read: the URL of its resource, and what the store is to do.
struct ReadOperation {
    url: String,
    write: Result<Write, Problem>,
}

impl BatchOperation<'_> {
    /// The command of it, or why there is none.
    fn read(&self, site: &Site, base: &str, told: &Teller<'_>) -> ReadOperation {
        let mut url = String::new();
        let write = self.write(site, base, told, &mut url);
        ReadOperation { url, write }
    }

    fn write(
        &self,
        site: &Site,
        base: &str,
        told: &Teller<'_>,
        url: &mut String,
    ) -> Result<Write, Problem> {
        let method = Method::from_bytes(self.method.as_bytes());
        let method = method.map_err(|_| no_batch(format!("{:?} is not a method", self.method)))?;
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        // An answer that was kept is told as it was, although the path may be no resource's any more.
        *url = format!("{base}{}", resource_path(&method, path));
        let nowhere = || {
            let detail = format!("{} is not the path of a resource or of a record", self.path);
            Problem::new(Code::NotFound).detail(detail)
        };
        let matched = site.routes.resolve(None, path).map_err(|_| nowhere())?;
        let Target::Resource(target) = &matched.route.target else {
            return Err(nowhere());
        };
        *url = format!("{base}{}", target.url);
        let of_target = resource_methods(target, &matched, path);
        matched.route.rules.must_take(&method, of_target)?;
        let headers = self.headers()?;
        let named = NamedRecord::of(target, &matched, path);
        let wish = match wanted(target, named, &method, &headers, query)? {
            ResourceWish::Write(wish) => wish,
            ResourceWish::Methods(_)
            | ResourceWish::List(..)
            | ResourceWish::Item(..)
            | ResourceWish::History(..)
            | ResourceWish::Changes(..)
            | ResourceWish::Schema => {
                return Err(no_batch(
                    "a batch has changes only: POST, PUT, PATCH or DELETE",
                ));
            }
        };
        let rules = &matched.route.rules;
        let owner = target.owner(rules, told.request, Permission::Write);
        let conditions = Conditions {
            owner: owner.map(Box::new),
            ..conditions(&headers, told.mark)
        };
        wish.must_name_state(target, &conditions)?;
        let body = self.body.map_or("", RawValue::get).as_bytes();
        let limits = &site.settings.limits;
        if body.len() > limits.body_bytes {
            let detail = format!(
                "a record may have {} bytes (limits.body)",
                limits.body_bytes
            );
            return Err(Problem::new(Code::BodyTooLarge).detail(detail));
        }
        let most = || max_affected(self.max_affected, limits.batch.get(), "max_affected");
        let read = ChangeBody {
            target,
            text: body,
            by_operations: body.first() == Some(&b'['),
            bytes_max: limits.body_bytes,
        };
        let command = wish.command(&read, &conditions, most)?;
        Ok(Write {
            collection: target.collection,
            schema: Arc::clone(&target.settings.schema),
            command,
            conditions,
            bytes: body.len(),
        })
    }

    /// Refuses it if the client of this request may not change its resource, or has sent too much. An operation that leads nowhere is refused later.
    async fn admit(&self, site: &Site, request: &Incoming) -> Result<(), Problem> {
        let path = self.path.split('?').next().unwrap_or_default();
        match site.routes.resolve(None, path) {
            Ok(matched) => {
                let rules = &matched.route.rules;
                rules.admit_part(request, Permission::Write).await
            }
            Err(_) => Ok(()),
        }
    }

    /// Its conditions, as a request has them.
    fn headers(&self) -> Result<HeaderMap, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::IF_MATCH, &self.if_match),
            (header::IF_NONE_MATCH, &self.if_none_match),
        ] {
            if let Some(value) = value {
                let value = HeaderValue::from_str(value);
                let value = value.map_err(|_| no_batch(format!("{name} is not right")))?;
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }
}

/// The path of the resource that an operation on this path is about, as far as the path tells: a POST is about the resource, and
/// the others, if they make a record, about a record.
fn resource_path<'a>(method: &Method, path: &'a str) -> &'a str {
    let path = path.trim_end_matches('/');
    let parent = path.rsplit_once('/').map(|(parent, _)| parent);
    parent.filter(|_| method != Method::POST).unwrap_or(path)
}

/// Answers a request for [`BATCH`].
pub(super) async fn answer(site: &Site, request: &mut Incoming) -> Answered {
    match *request.method() {
        Method::POST => {}
        Method::OPTIONS => {
            let mut response = options(METHODS);
            set(&mut response, HeaderName::from_static("accept-post"), JSON);
            return Ok(response);
        }
        _ => return Err(Problem::not_allowed(METHODS)),
    }
    if !is_json(request.headers()) {
        return Err(Problem::unsupported(
            media_type(request.headers()),
            HeaderName::from_static("accept-post"),
            JSON,
        ));
    }
    must_be_utf_8(request.headers())?;
    let limits = &site.settings.limits;
    let body = read_body(request, limits.batch_bytes).await?;
    let body = without_mark(body);
    let headers = request.headers();
    let minimal = prefers(headers, "return", "minimal");
    let dry_run = prefers(headers, "tx", "rollback");
    let path = request.path().as_bytes();
    let batch: BatchBody<'_> = serde_json::from_slice(&body).map_err(|error| {
        let told = in_plain_words(&error.to_string());
        no_batch(format!(
            "{told}; send {{\"mode\":\"atomic\",\"ops\":[{{\"method\":\"POST\",\"path\":\"/books\",\"body\":{{}}}}]}}"
        ))
    })?;
    let most = limits.batch.get();
    if batch.ops.len() > most {
        let detail = format!("a batch may have {most} operations (limits.batch); send several");
        return Err(Problem::new(Code::BodyTooLarge).detail(detail));
    }
    // Decision: A batch is refused as a whole if its client may not send one of its operations.
    for operation in &batch.ops {
        operation.admit(site, request).await?;
    }
    // The client is a part of the key, so that it has to be known.
    let key = request_key(request, &[b"POST", path, &body])?.filter(|_| !dry_run);
    let base = site.hosts.base(request).unwrap_or_default();
    let mark = site.store.mark().await?;
    let told = Teller {
        request,
        mark,
        minimal,
        dry_run,
    };
    match batch.mode {
        BatchMode::Atomic => atomic(site, &batch.ops, &base, key, &told).await,
        BatchMode::Gather => gather(site, &batch.ops, &base, key.as_ref(), &told).await,
    }
}

/// The circumstances that all results of an answer share.
struct Teller<'a> {
    request: &'a Incoming,
    mark: &'a str,
    minimal: bool,
    dry_run: bool,
}

impl Teller<'_> {
    fn done(&self, written: &Written, url: &str) -> String {
        ToldChange::new(written, url, self.mark, self.dry_run).object(self.minimal)
    }

    fn response(&self, results: &[String], change: Option<u64>, replayed: bool) -> Response {
        let change = change.filter(|_| !self.dry_run);
        let change = change.map(|change| format!(",\"change\":{change}"));
        let (results, change) = (results.join(","), change.unwrap_or_default());
        let body = Bytes::from(format!("{{\"results\":[{results}]{change}}}"));
        finish(json(StatusCode::OK, body), self.dry_run, replayed)
    }
}

async fn atomic(
    site: &Site,
    operations: &[BatchOperation<'_>],
    base: &str,
    key: Option<RequestKey>,
    told: &Teller<'_>,
) -> Answered {
    let operations = operations
        .iter()
        .map(|operation| operation.read(site, base, told));
    let (mut urls, mut writes) = (Vec::new(), Vec::new());
    for operation in operations {
        urls.push(operation.url);
        writes.push(operation.write);
    }
    let before = match &key {
        Some(key) => site.store.answered(key).await?,
        None => None,
    };
    let done = match before {
        Some(before) => AllDone::Done(before),
        None => carry_out_all(&*site.store, told.request, writes, key, told.dry_run).await?,
    };
    let written = match done {
        AllDone::Done(written) => written,
        AllDone::Refused(problems) => return Err(Problem::of_all(problems, "operations")),
    };
    let results = written.results.iter().flatten().zip(&urls);
    let results: Vec<_> = results
        .map(|(written, url)| told.done(written, url))
        .collect();
    Ok(told.response(&results, Some(written.last), written.replayed))
}

async fn gather(
    site: &Site,
    operations: &[BatchOperation<'_>],
    base: &str,
    key: Option<&RequestKey>,
    told: &Teller<'_>,
) -> Answered {
    let (leave, left) = oneshot::channel::<()>();
    let left = left.shared();
    let results = operations.iter().enumerate().map(|(at, operation)| {
        let left = left.clone();
        async move {
            // Each has its own answer that is kept, together with what it changes.
            let key = key.map(|key| key.part(at));
            let done = one(site, operation, base, key, told, left).await;
            done.unwrap_or_else(|problem| (problem.result().to_string(), false))
        }
    });
    let results = stream::iter(results).buffered(IN_FLIGHT);
    let mut results = pin!(results.collect::<Vec<_>>());
    let results = if let Ok(results) = told.request.unless_left(results.as_mut()).await {
        results
    } else {
        // What is on its way to the store is told to a client that has only closed its side.
        drop(leave);
        results.await
    };
    let replayed = !results.is_empty() && results.iter().all(|(_, replayed)| *replayed);
    let results: Vec<_> = results.into_iter().map(|(result, _)| result).collect();
    Ok(told.response(&results, None, replayed))
}

/// The result of one operation, and whether it is one of before. If the client leaves before the records are found that its
/// filters match, it is not carried out.
async fn one(
    site: &Site,
    operation: &BatchOperation<'_>,
    base: &str,
    key: Option<RequestKey>,
    told: &Teller<'_>,
    left: impl Future + Unpin,
) -> Result<(String, bool), Problem> {
    let read = operation.read(site, base, told);
    if let Some(key) = &key
        && let Some(before) = site.store.answered(key).await?
    {
        return Ok((told.done(&before.only()?, &read.url), true));
    }
    let batch = WriteBatch {
        dry_run: told.dry_run,
        key,
        by: told.request.changed_by(),
        ..WriteBatch::all(vec![read.write?])
    };
    let found = match select(site.store.find_matching(batch), left).await {
        Either::Left((found, _)) => found?,
        Either::Right(_) => return Err(Problem::new(Code::ClientLeft)),
    };
    let written = site.store.carry_out(found).await?;
    let replayed = written.replayed;
    let result = written.results.into_iter().next();
    let result = result.ok_or_else(|| Problem::new(Code::Internal))?;
    let written = result.map_err(|error| refused(error, told.mark))?;
    Ok((told.done(&written, &read.url), replayed))
}
