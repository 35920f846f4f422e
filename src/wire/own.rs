//! A request of the daemon itself: it has no connection, waits for no turn, and is neither counted nor logged.

use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::http::{StatusCode, Uri};
// The way that actix-web has to a request without a connection.
use actix_web::test::TestRequest;
use tokio::time::{Instant, timeout};

use super::edition::Edition;
use super::hosts::Peer;
use super::incoming::{Incoming, Responder};
use super::link::{Link, RateLeft};
use super::pooled_request::PooledRequest;
use super::request_id::RequestId;
use crate::supervision::contain_future;

/// A fault of the server in the answer to a request of the daemon itself.
#[derive(Debug)]
pub(crate) struct OwnFault {
    /// The end of a sentence about it.
    pub(crate) told: String,
    /// Whether the same request may be answered well a little later.
    pub(crate) may_pass: bool,
}

/// The reason why a request of the daemon itself has no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unanswered {
    #[error("it is not a URL")]
    Url,
    #[error("there was no answer in time")]
    Late,
    #[error("what answers it panicked")]
    Panicked,
}

impl<R: Responder> Edition<R> {
    /// The fault of the answer of this edition to a GET, if it is one of the server.
    pub(crate) async fn own_fault(&self, url: &str) -> Option<OwnFault> {
        let (told, may_pass) = match self.ask_itself(url).await {
            Ok(status) if status.is_server_error() => {
                let passing = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
                (format!("was answered {status}"), passing.contains(&status))
            }
            Ok(_) => return None,
            Err(error) => (format!("failed: {error}"), error == Unanswered::Late),
        };
        Some(OwnFault { told, may_pass })
    }

    /// The status of the answer to a GET of this edition.
    async fn ask_itself(&self, url: &str) -> Result<StatusCode, Unanswered> {
        url.parse::<Uri>().map_err(|_| Unanswered::Url)?;
        let link = Link::new(Peer::default(), RequestId::default(), Rc::new(self.rules));
        let mut request = Incoming {
            request: PooledRequest::new(TestRequest::with_uri(url).to_http_request()),
            payload: Payload::None,
            deadline: link.started + self.rules.limits.request_timeout,
            cross_site: false,
            link: Rc::clone(&link),
        };
        // As one that was counted already.
        request.note_rate(RateLeft::default());
        let answer = contain_future(async {
            let matched = self.responder.resolve(&request);
            match self.responder.quick(&request, &matched, Instant::now()) {
                Some(response) => response,
                None => self.responder.slow(&mut request, &matched).await,
            }
        });
        match timeout(self.rules.limits.request_timeout, answer).await {
            Ok(Ok(response)) => Ok(response.status()),
            Ok(Err(_panic)) => Err(Unanswered::Panicked),
            Err(_elapsed) => Err(Unanswered::Late),
        }
    }
}
