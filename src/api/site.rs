//! Answers the requests of the public site and API: to a route's files or records, with the rules of the route.

use std::sync::Arc;

use tokio::time::Instant;

use super::answer::redirect;
use super::feed::Feeds;
use super::routes::{Matched, RouteTable, Target, Unrouted};
use super::{batch, files, resource};
use crate::file_cache::Files;
use crate::settings::Settings;
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
    /// The change feeds.
    pub feeds: Arc<Feeds>,
    /// The counters of the connections, which know whether an answer may be held.
    pub counters: Arc<ConnectionCounters>,
    /// The names of the server.
    pub hosts: Hosts,
    /// The settings of this edition.
    pub settings: Arc<Settings>,
}

impl Responder for Site {
    type Matched = Result<Matched, Unrouted>;

    fn resolve(&self, request: &Incoming) -> Self::Matched {
        self.routes.resolve(request.path())
    }

    fn route_index(&self, matched: &Self::Matched) -> Option<usize> {
        matched.as_ref().ok()?.route.number
    }

    fn quick(&self, request: &Incoming, matched: &Self::Matched, now: Instant) -> Option<Response> {
        let matched = matched.as_ref().ok()?;
        let rules = &matched.route.rules;
        if rules.waits() {
            return None;
        }
        let mut response = match &matched.route.target {
            Target::Files(root) => files::quick(self, request, root, matched, now)?,
            Target::Resource(target) => resource::quick(self, target, matched, request)?,
            Target::Batch | Target::Document(_) => return None,
        };
        rules.add_headers(&mut response);
        Some(response)
    }

    async fn admit(&self, request: &Incoming, matched: &Self::Matched) -> Result<Pass, Problem> {
        request.refuse_cross_site()?;
        match matched {
            Ok(matched) => matched.route.rules.admit().await,
            Err(_) => Ok(Pass::default()),
        }
    }

    async fn slow(&self, request: &mut Incoming, matched: &Self::Matched) -> Response {
        let answered = match matched {
            Ok(matched) => match &matched.route.target {
                Target::Files(root) => files::slow(self, root, matched, request).await,
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
            Err(Unrouted::Nowhere) => Err(Problem::new(Code::NotFound)),
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(problem) => return self.refuse(request, matched, problem).await,
        };
        if let Ok(matched) = matched {
            matched.route.rules.add_headers(&mut response);
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
            return response;
        };
        if let Some(root) = route.target.root()
            && takes_html(request.headers())
            && let Some(page) = route.rules.page(response.status().as_u16())
        {
            // Boxed, since it is rare.
            response = Box::pin(files::with_page(self, root, page, response)).await;
        }
        route.rules.add_headers(&mut response);
        response
    }
}
