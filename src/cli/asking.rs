//! One request to any server, and how it ended.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Request, Url};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::num::as_u64;

/// Sends requests.
pub(super) struct Asking {
    client: reqwest::Client,
    /// The most bytes of an answer's body that are kept.
    kept_bytes: usize,
}

/// The reason why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    NotConnected,
    TimedOut,
    BrokenOff,
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestEnd {
    Answered {
        status: u16,
        bytes: u64,
        /// Its beginning, as far as it is kept.
        body: Vec<u8>,
    },
    Failed {
        failure: Failure,
        error: String,
    },
}

/// A request that has ended.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    /// The time from the begin of the first to its own.
    pub(super) at: Duration,
    /// From its begin to the last byte of the answer.
    pub(super) took: Duration,
    pub(super) ended: RequestEnd,
}

/// The URL of a web server.
pub(super) fn web_url(text: &str) -> Result<Url, &'static str> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(_) | Err(_) => Err("write the whole URL, such as http://localhost:3000/books"),
    }
}

impl Failure {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::NotConnected => "not connected",
            Self::TimedOut => "timed out",
            Self::BrokenOff => "broken off",
        }
    }

    fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::TimedOut
        } else if error.is_connect() {
            Self::NotConnected
        } else {
            Self::BrokenOff
        }
    }
}

/// The error behind all others, which tells most.
fn first_cause<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    error.source().map_or(error, first_cause)
}

impl Asking {
    /// Each request may take so long, and so many bytes of its answer are kept.
    pub(super) fn new(timeout: Duration, kept_bytes: usize) -> Result<Self, reqwest::Error> {
        // An error says that there is one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .user_agent("perennial")
            .timeout(timeout)
            .redirect(Policy::none())
            .no_proxy();
        let client = client.build()?;
        Ok(Self { client, kept_bytes })
    }

    /// Sends a request, and reads its answer to the end. `begun` is the time when the first was sent.
    pub(super) async fn ask(&self, request: Request, begun: Instant) -> Timed {
        let start = Instant::now();
        let ended = match self.answer(request).await {
            Ok(answered) => answered,
            Err(error) => RequestEnd::Failed {
                failure: Failure::of(&error),
                error: first_cause(&error).to_string(),
            },
        };
        Timed {
            at: start - begun,
            took: start.elapsed(),
            ended,
        }
    }

    async fn answer(&self, request: Request) -> Result<RequestEnd, reqwest::Error> {
        let mut answer = self.client.execute(request).await?;
        let (mut bytes, mut body) = (0, Vec::new());
        while let Some(part) = answer.chunk().await? {
            bytes += as_u64(part.len());
            let room = self.kept_bytes.saturating_sub(body.len());
            body.extend_from_slice(part.get(..room).unwrap_or(&part));
        }
        Ok(RequestEnd::Answered {
            status: answer.status().as_u16(),
            bytes,
            body,
        })
    }
}

impl Timed {
    /// Whether it was answered, and without an error.
    pub(super) fn is_good(&self) -> bool {
        matches!(self.ended, RequestEnd::Answered { status, .. } if status < 400)
    }

    pub(super) fn json(&self) -> Value {
        let [at, took] = [self.at, self.took].map(milliseconds);
        match &self.ended {
            RequestEnd::Answered { status, bytes, .. } => {
                json!({"at_ms": at, "took_ms": took, "status": status, "bytes": bytes})
            }
            RequestEnd::Failed { failure, error } => {
                json!({"at_ms": at, "took_ms": took, "failure": failure.label(), "error": error})
            }
        }
    }
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [at, took] = [self.at, self.took].map(milliseconds);
        write!(f, "{at:>10.1} ms  {took:>9.2} ms  ")?;
        match &self.ended {
            RequestEnd::Answered { status, bytes, .. } => write!(f, "{status}  {bytes} bytes"),
            RequestEnd::Failed { failure, error } => write!(f, "{}: {error}", failure.label()),
        }
    }
}

/// To the thousandth.
pub(super) fn milliseconds(time: Duration) -> f64 {
    let microseconds = u32::try_from(time.as_micros()).map_or(f64::INFINITY, f64::from);
    if microseconds.is_finite() {
        microseconds / 1000.0
    } else {
        time.as_secs_f64() * 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_of_the_web() {
        for (text, good) in [
            ("http://localhost:3000/books", true),
            ("https://example.com", true),
            ("localhost:3000", false),
            ("/books", false),
            ("ftp://example.com/", false),
            ("http://", false),
        ] {
            assert_eq!(web_url(text).is_ok(), good, "{text}");
        }
    }
}
