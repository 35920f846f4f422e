//! A request of the daemon itself: it has no connection, waits for no turn, and is neither counted nor logged.

use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::http::{StatusCode, Uri};
// The way that actix-web has to a request without a connection.
use actix_web::test::TestRequest;
use tokio::time::{Instant, timeout};

use super::edition::Edition;
use super::incoming::{Incoming, Responder};
use super::link::Link;
use super::request_id::RequestId;
use super::thread::RequestRules;
use crate::supervision::contain_future;

/// The reason why a request of the daemon itself has no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("it is not a URL")]
    Url,
    #[error("there was no answer in time")]
    Late,
    #[error("what answers it panicked")]
    Panicked,
}

impl<R: Responder> Edition<R> {
    /// The status of the answer to a GET of this edition.
    pub(crate) async fn ask_itself(&self, url: &str) -> Result<StatusCode, Unanswered> {
        url.parse::<Uri>().map_err(|_| Unanswered::Url)?;
        let rules = RequestRules {
            limits: self.limits,
            logs: self.access_lines,
            logs_query: self.access_queries,
        };
        let link = Link::new(false, RequestId::default(), rules);
        let mut request = Incoming {
            request: TestRequest::with_uri(url).to_http_request(),
            payload: Payload::None,
            deadline: link.started + self.limits.request_timeout,
            cross_site: false,
            link: Rc::clone(&link),
        };
        let answer = contain_future(async {
            let matched = self.responder.resolve(&request);
            match self.responder.quick(&request, &matched, Instant::now()) {
                Some(response) => response,
                None => self.responder.slow(&mut request, &matched).await,
            }
        });
        match timeout(self.limits.request_timeout, answer).await {
            Ok(Ok(response)) => Ok(response.status()),
            Ok(Err(_panic)) => Err(Unanswered::Panicked),
            Err(_elapsed) => Err(Unanswered::Late),
        }
    }
}
