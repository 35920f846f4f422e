//! Answers the requests of the public site and API: to a route's files or records, with the rules of the route.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::routes::{Destination, RouteTable, Target, segment};
use super::{files, resource};
use crate::file_cache::Files;
use crate::storage::Store;
use crate::wire::{Code, Handler, Incoming, Pass, Problem, Response, takes_html};

/// The public site and API; all request handlers share it.
#[derive(Debug)]
pub(crate) struct Edge {
    /// The routes. A request is resolved once and keeps its route to its end.
    pub routes: ArcSwap<RouteTable>,
    /// The files of all routes.
    pub files: Files,
    /// The records of all resources.
    pub store: Arc<dyn Store>,
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
}

impl Handler for Edge {
    type Matched = Destination;

    fn resolve(&self, request: &Incoming) -> Destination {
        self.routes.load().resolve(request.path())
    }

    fn label(&self, destination: &Destination) -> Option<usize> {
        match destination {
            Destination::Route(matched) => Some(matched.route.label),
            Destination::Elsewhere(_) | Destination::Nothing => None,
        }
    }

    fn quick(
        &self,
        request: &Incoming,
        destination: &Destination,
        now: Instant,
    ) -> Option<Response> {
        let Destination::Route(matched) = destination else {
            return None;
        };
        let rules = &matched.route.rules;
        let Target::Files(root) = matched.route.target else {
            return None;
        };
        if rules.waits() {
            return None;
        }
        let mut response = files::quick(self, request, root, matched, now)?;
        rules.add_headers(&mut response);
        Some(response)
    }

    async fn admit(&self, request: &Incoming, destination: &Destination) -> Result<Pass, Problem> {
        request.refuse_cross_site()?;
        match destination {
            Destination::Route(matched) => matched.route.rules.admit().await,
            Destination::Elsewhere(_) | Destination::Nothing => Ok(Pass::default()),
        }
    }

    async fn slow(&self, request: &mut Incoming, destination: &Destination) -> Response {
        let answered = match destination {
            Destination::Route(matched) => {
                let path = request.path().to_owned();
                let rest = matched.rest(&path);
                let id = rest.strip_prefix('/').filter(|id| !id.is_empty());
                match (&matched.route.target, id) {
                    (Target::Files(root), _) => files::slow(self, *root, rest, request).await,
                    // `/books/` is the list too: clients that join paths produce it.
                    (Target::Resource(resource), None) => {
                        resource::answer_collection(self, resource, request).await
                    }
                    (Target::Resource(resource), Some(id)) => {
                        let id = segment(id).unwrap_or_default();
                        resource::answer_item(self, resource, &id, request).await
                    }
                }
            }
            Destination::Elsewhere(reference) => files::redirect(reference, request.query()),
            Destination::Nothing => Err(Problem::new(Code::NotFound)),
        };
        match answered {
            Ok(mut response) => {
                if let Destination::Route(matched) = destination {
                    matched.route.rules.add_headers(&mut response);
                }
                response
            }
            Err(problem) => self.refuse(request, destination, problem).await,
        }
    }

    /// The answer for an error, with the route's own page if it has one. A page changes neither status nor headers.
    async fn refuse(
        &self,
        request: &Incoming,
        destination: &Destination,
        problem: Problem,
    ) -> Response {
        let mut response = problem.response(request);
        let Destination::Route(matched) = destination else {
            return response;
        };
        let rules = &matched.route.rules;
        if let Target::Files(root) = matched.route.target
            && takes_html(request.headers())
            && let Some(page) = rules.page(response.status().as_u16())
        {
            response = files::with_page(self, root, page, response).await;
        }
        rules.add_headers(&mut response);
        response
    }
}
