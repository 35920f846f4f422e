//! Answers the requests of the public site and API: to a route's files or records, with the rules of the route.

use std::sync::Arc;

use actix_web::http::Method;
use tokio::time::Instant;

use super::answer::{Answered, redirect};
use super::feed::Feeds;
use super::kept_lists::KeptLists;
use super::nowhere::nothing_at;
use super::openapi::METHODS_OF_DOCUMENT;
use super::routes::{CorsRule, Matched, RouteRules, RouteTable, Target, Unrouted, is_asked_before};
use super::{batch, files, redirects, resource, respond};
use crate::file_cache::Files;
use crate::settings::{Permission, RedirectSettings, Settings};
use crate::storage::Store;
use crate::wire::{
    Code, ConnectionCounters, Hosts, Incoming, Pass, Problem, Responder, Response, takes_html,
};

/// The public site and API of one edition of the settings; all request handlers share it.
#[derive(Debug)]
pub(crate) struct Site {
    /// The routes.
    pub routes: Arc<RouteTable>,
    /// The files of all routes.
    pub files: Files,
    /// The records of all resources.
    pub store: Arc<dyn Store>,
    /// The answers of lists that are kept.
    pub lists: KeptLists,
    /// The change feeds.
    pub feeds: Arc<Feeds>,
    /// The counters of the connections, which know whether an answer may be held.
    pub counters: Arc<ConnectionCounters>,
    /// The names of the server.
    pub hosts: Hosts,
    /// The settings of this edition.
    pub settings: Arc<Settings>,
}

impl Site {
    /// The problem of a path where nothing is, with what was probably meant.
    pub(super) fn nothing_at(&self, path: &str) -> Problem {
        nothing_at(&self.routes, &self.settings.resources, path)
    }

    fn add_headers(&self, request: &Incoming, rules: &RouteRules, response: &mut Response) {
        rules.cors.add_headers(request, &self.hosts, response);
        rules.add_headers(request.rate(), response);
    }

    /// The answer to a browser that asks whether a page may send a request.
    fn before(&self, request: &Incoming, matched: &Result<Matched, Unrouted>) -> Response {
        // The page may read that nothing is there.
        let methods = matched
            .as_ref()
            .map_or(files::METHODS, |matched| methods(matched, request.path()));
        let mut response = cors(matched).before(request, &self.hosts, methods);
        if let Ok(matched) = matched {
            matched.route.rules.leave_methods(&mut response);
        }
        response
    }
}

impl Responder for Site {
    type Matched = Result<Matched, Unrouted>;

    fn resolve(&self, request: &Incoming) -> Self::Matched {
        let host = self.routes.has_hosts().then(|| request.host()).flatten();
        self.routes.resolve(host, request.path())
    }

    fn route_index(&self, matched: &Self::Matched) -> Option<usize> {
        matched.as_ref().ok()?.route.number
    }

    fn quick(&self, request: &Incoming, matched: &Self::Matched, now: Instant) -> Option<Response> {
        if is_asked_before(request) {
            return Some(self.before(request, matched));
        }
        let matched = matched.as_ref().ok()?;
        let rules = &matched.route.rules;
        // `admit` refuses it, or finds out who it is.
        if request.cross_site
            || rules.waits()
            || !rules.takes(request.method())
            || !may_pass_now(request, rules)
        {
            return None;
        }
        let mut response = match &matched.route.target {
            Target::Files(root) => files::quick(self, request, root, matched, now)?,
            Target::Resource(target) => resource::quick(self, target, matched, request)?,
            Target::Redirect(redirect) => redirected(redirect, matched, request).ok()?,
            Target::Respond(answer) => answer.answer(request.method()),
            Target::Batch | Target::Document(_) => return None,
        };
        self.add_headers(request, rules, &mut response);
        Some(response)
    }

    async fn admit(&self, request: &Incoming, matched: &Self::Matched) -> Result<Pass, Problem> {
        cors(matched).refuse(request, &self.hosts)?;
        match matched {
            Ok(matched) => {
                allowed(request, &matched.route.rules).await?;
                let of_target = methods(matched, request.path());
                matched.route.rules.must_take(request.method(), of_target)?;
                matched.route.rules.admit().await
            }
            Err(_) => Ok(Pass::default()),
        }
    }

    async fn slow(&self, request: &mut Incoming, matched: &Self::Matched) -> Response {
        let answered = match matched {
            Ok(matched) => match &matched.route.target {
                Target::Files(root) => files::slow(self, root, matched, request).await,
                Target::Redirect(redirect) => redirected(redirect, matched, request),
                Target::Respond(answer) => Ok(answer.answer(request.method())),
                Target::Resource(resource) => {
                    resource::answer(self, resource, matched, request).await
                }
                Target::Batch if matched.rest(request.path()).is_empty() => {
                    batch::answer(self, request).await
                }
                Target::Batch => Err(Problem::new(Code::NotFound)),
                Target::Document(document) => document.answer(request.method(), request.headers()),
            },
            Err(Unrouted::Elsewhere(reference)) => redirect(reference, request.query()),
            Err(Unrouted::Nowhere) => Err(self.nothing_at(request.path())),
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(problem) => return self.refuse(request, matched, problem).await,
        };
        match matched {
            Ok(Matched { route, .. }) => self.add_headers(request, &route.rules, &mut response),
            Err(_) => cors(matched).add_headers(request, &self.hosts, &mut response),
        }
        response
    }

    /// The answer for an error, with the route's own page if it has one. A page changes neither status nor headers.
    async fn refuse(
        &self,
        request: &Incoming,
        matched: &Self::Matched,
        problem: Problem,
    ) -> Response {
        let mut response = problem.response(request);
        let Ok(Matched { route, .. }) = matched else {
            cors(matched).add_headers(request, &self.hosts, &mut response);
            return response;
        };
        if let Some(root) = route.target.root()
            && takes_html(request.headers())
            && let Some(page) = route.rules.page(response.status().as_u16())
        {
            // Boxed, since it is rare.
            response = Box::pin(files::with_page(self, root, page, response)).await;
        }
        self.add_headers(request, &route.rules, &mut response);
        response
    }
}

/// The methods that the target of a path takes.
pub(super) fn methods(matched: &Matched, path: &str) -> &'static str {
    match &matched.route.target {
        Target::Files(_) => files::METHODS,
        Target::Redirect(_) => redirects::METHODS,
        Target::Respond(_) => respond::METHODS,
        Target::Resource(target) => resource::methods(target, matched, path),
        Target::Batch => batch::METHODS,
        Target::Document(_) => METHODS_OF_DOCUMENT,
    }
}

fn redirected(redirect: &RedirectSettings, matched: &Matched, request: &Incoming) -> Answered {
    let rest = matched.rest(request.path());
    redirects::answer(redirect, request.method(), rest, request.query())
}

/// The permission that a request needs. OPTIONS needs none, since it tells nothing that is not in the description of the API.
fn needed_permission(method: &Method) -> Option<Permission> {
    match *method {
        Method::OPTIONS => None,
        Method::GET | Method::HEAD => Some(Permission::Read),
        _ => Some(Permission::Write),
    }
}

/// Refuses a request if its client may not send it by this route.
async fn allowed(request: &Incoming, rules: &RouteRules) -> Result<(), Problem> {
    // A request without permission is counted too, so that nobody can try many keys or passwords.
    rules.count_address(request)?;
    let allowed = match needed_permission(request.method()) {
        None => Ok(()),
        Some(permission) => rules.access.check(request, permission).await,
    };
    rules.count_once(request)?;
    allowed
}

/// Whether it is known at once that a request may be sent by this route.
fn may_pass_now(request: &Incoming, rules: &RouteRules) -> bool {
    let permission = needed_permission(request.method());
    permission.is_none_or(|permission| rules.access.is_allowed_now(request, permission))
        && rules.count_once(request).is_ok()
}

/// The rule for pages of other sites where a request leads.
fn cors(matched: &Result<Matched, Unrouted>) -> &CorsRule {
    match matched {
        Ok(matched) => &matched.route.rules.cors,
        Err(_) => &CorsRule::UNWRITTEN,
    }
}
