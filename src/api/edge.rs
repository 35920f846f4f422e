//! Everything a request can need, the same for all handlers.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::files;
use super::resource;
use super::routes::{Resolved, RouteTable};
use crate::file_cache::Files;
use crate::storage::Store;
use crate::wire::{Code, Pass, Problem};
use crate::wire::{Handler, Incoming, Response};

/// The public site and API.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Where paths lead: a request loads it once and keeps it to its end.
    pub routes: ArcSwap<RouteTable>,
    /// Files.
    pub files: Files,
    /// Records.
    pub store: Store,
    /// How long a request waits for a file.
    pub file_deadline: Duration,
    /// The largest body.
    pub body_bytes: usize,
}

impl Handler for Edge {
    fn quick(&self, request: &Incoming, now: Instant) -> Option<Response> {
        let routes = self.routes.load();
        let Resolved::File(route, rest) = routes.resolve(request.path()) else {
            return None;
        };
        if route.rules.waits() {
            return None;
        }
        let mut answer = files::quick(self, request.method(), request.headers(), route, rest, now)?;
        route.rules.dress(&mut answer);
        Some(Response {
            answer,
            route: Some(route.label),
        })
    }

    async fn slow(&self, request: &mut Incoming) -> Response {
        let routes = self.routes.load_full();
        let path = request.path().to_owned();
        let (answer, route) = match (resource::reserved(&path), routes.resolve(&path)) {
            (Some(later), _) => (Err(later), None),
            (None, Resolved::File(route, rest)) => {
                let answer = files::slow(self, route, rest, request).await;
                let mut answer = match answer {
                    Ok(answer) => answer,
                    Err(problem) => files::error(self, route, request, problem).await,
                };
                route.rules.dress(&mut answer);
                (Ok(answer), Some(route.label))
            }
            (None, Resolved::List(route)) => (
                resource::answer_collection(self, route, request).await,
                Some(route.label),
            ),
            (None, Resolved::Item(route, id)) => (
                resource::answer_item(self, route, id, request).await,
                Some(route.label),
            ),
            (None, Resolved::Nothing) => (Err(Problem::new(Code::NotFound)), None),
        };
        let answer = answer.unwrap_or_else(|problem| problem.response(request));
        Response { answer, route }
    }

    async fn admit(&self, request: &Incoming) -> Result<Pass, Problem> {
        let rules = match self.routes.load().resolve(request.path()) {
            Resolved::File(route, _) if route.rules.waits() => Arc::clone(&route.rules),
            Resolved::File(..) | Resolved::List(_) | Resolved::Item(..) | Resolved::Nothing => {
                return Ok(Pass::default());
            }
        };
        rules.admit().await
    }

    async fn refuse(&self, request: &Incoming, problem: Problem) -> Response {
        let routes = self.routes.load_full();
        let path = request.path();
        let (answer, route) = match routes.resolve(path) {
            Resolved::File(route, _) => {
                let mut answer = files::error(self, route, request, problem).await;
                route.rules.dress(&mut answer);
                (answer, Some(route.label))
            }
            Resolved::List(route) | Resolved::Item(route, _) => {
                (problem.response(request), Some(route.label))
            }
            Resolved::Nothing => (problem.response(request), None),
        };
        Response { answer, route }
    }
}
