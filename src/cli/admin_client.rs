//! Requests of the command line to the admin listener.

mod over_unix;

use std::io::{self, Read};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, Body};

use super::Exit;
use crate::admin::ADMIN_HEADER;
use over_unix::UnixConnector;

/// The time limit for connecting and for each read of an answer that nothing has to be waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time limit for each read and write where the daemon may wait for its disk, or for the outcome of an order.
const PATIENCE_WITH_WORK: Duration = Duration::from_secs(100);
/// The most times that a request that changes nothing is sent. A listener with too many connections may close one before its
/// answer is sent.
const ATTEMPTS: usize = 3;
/// The largest answer that is taken whole.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The error of a request to the admin listener.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("nothing answers at {0}; is the daemon running, and is that its admin address?")]
    Unreachable(String, #[source] Box<ureq::Error>),
    #[error(
        "{0} may not be opened by this user: run the command as the user that the daemon runs as, or as root"
    )]
    Denied(String, #[source] Box<ureq::Error>),
    #[error(
        "{0} did not answer in time; the daemon there may be stuck or stopped: look at its log"
    )]
    Silent(String),
    #[error("{address}{path} answered {status}{detail}")]
    Refused {
        address: String,
        path: String,
        status: u16,
        /// The detail of the problem, if the answer is one.
        detail: String,
        /// Its reasons, one by one, if it has some.
        reasons: Vec<String>,
    },
    #[error("the answer of {0} broke off")]
    Broken(String, #[source] io::Error),
    #[error(
        "the connection to {0} was closed before an answer came; the request may have been carried out: `perennial status` shows what runs"
    )]
    Cut(String, #[source] Box<ureq::Error>),
}

impl ClientError {
    /// The exit of a command that needs the answer.
    pub(super) fn exit(&self) -> Exit {
        if matches!(self, Self::Unreachable(..)) {
            Exit::Unavailable
        } else {
            Exit::Failed
        }
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(..) | Self::Silent(_) | Self::Broken(..) | Self::Cut(..) => true,
            Self::Denied(..) => false,
            Self::Refused { status, .. } => *status >= 500,
        }
    }

    /// The reasons of a refusal, one by one.
    pub(super) fn reasons(&self) -> &[String] {
        if let Self::Refused { reasons, .. } = self {
            reasons
        } else {
            &[]
        }
    }

    /// Whether the daemon says that it can't do it now, though it could a little later.
    pub(super) fn asks_for_patience(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if matches!(status, 503 | 507))
    }
}

/// The prefix of the path of a unix socket.
const UNIX: &str = "unix:";

/// The admin listener at an address, HOST:PORT or unix:PATH. Its connection is kept between requests.
pub(super) struct AdminClient {
    agent: Agent,
    /// The address, for people.
    address: String,
    /// The beginning of each URL.
    base: String,
}

/// An answer with status 200.
pub(super) struct AdminAnswer {
    /// `X-Total-Count`
    pub(super) total: Option<u64>,
    body: Body,
    address: String,
}

impl AdminAnswer {
    /// The body, as it comes.
    pub(super) fn reader(self) -> impl Read {
        self.body.into_reader()
    }

    pub(super) fn bytes(self) -> Result<Vec<u8>, ClientError> {
        let body = self.body.into_with_config().limit(ANSWER_BYTES_MAX);
        let broken = |error: ureq::Error| ClientError::Broken(self.address, error.into_io());
        body.read_to_vec().map_err(broken)
    }

    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let address = self.address.clone();
        let read = serde_json::from_slice(&self.bytes()?);
        read.map_err(|error| ClientError::Broken(address, error.into()))
    }
}

impl AdminClient {
    pub(super) fn new(address: &str) -> Self {
        Self::with_patience(address, PATIENCE_WITH_WORK)
    }

    /// With this time limit for each read and write.
    pub(super) fn with_patience(address: &str, patience: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // The daemon is here or in the next room: a proxy for the internet does not know it.
            .proxy(None)
            .timeout_connect(Some(PATIENCE))
            .timeout_per_read(Some(patience))
            .timeout_per_write(Some(patience));
        let config = config.build();
        match address.strip_prefix(UNIX) {
            Some(path) => Self {
                agent: Agent::with_parts(
                    config,
                    UnixConnector::new(path),
                    DefaultResolver::default(),
                ),
                address: address.to_owned(),
                base: "http://127.0.0.1".to_owned(),
            },
            None => Self {
                agent: config.into(),
                address: format!("http://{address}"),
                base: format!("http://{address}"),
            },
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<AdminAnswer, ClientError> {
        let get = || self.agent.get(self.url(path)).call();
        let mut attempts = (1..ATTEMPTS).map(|_| get());
        let answered = attempts.find(|answer| !was_closed(answer));
        self.answer(path, answered.unwrap_or_else(get))
    }

    pub(super) fn post(&self, path: &str, body: &[u8]) -> Result<AdminAnswer, ClientError> {
        let request = self.agent.post(self.url(path));
        self.answer(path, request.header(ADMIN_HEADER, "1").send(body))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn answer(&self, path: &str, answer: HttpResult) -> Result<AdminAnswer, ClientError> {
        let address = self.address.clone();
        let answer = match answer {
            Ok(answer) => answer,
            Err(ureq::Error::Timeout(_)) => return Err(ClientError::Silent(address)),
            Err(error) if is_denied(&error) => {
                return Err(ClientError::Denied(address, Box::new(error)));
            }
            Err(error) if is_cut(&error) => return Err(ClientError::Cut(address, Box::new(error))),
            Err(error) => return Err(ClientError::Unreachable(address, Box::new(error))),
        };
        let status = answer.status().as_u16();
        let total = answer.headers().get("x-total-count");
        let total = total.and_then(|total| total.to_str().ok()?.parse().ok());
        let body = answer.into_body();
        let answer = AdminAnswer {
            total,
            body,
            address: address.clone(),
        };
        if status == 200 {
            return Ok(answer);
        }
        let body = answer.bytes().unwrap_or_default();
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let detail = problem.get("detail").and_then(Value::as_str);
        let reasons = problem.get("reasons").and_then(Value::as_array);
        let reasons = reasons.into_iter().flatten().filter_map(Value::as_str);
        Err(ClientError::Refused {
            address,
            path: path.split('?').next().unwrap_or_default().to_owned(),
            status,
            detail: detail.map_or_else(String::new, |detail| format!(": {detail}")),
            reasons: reasons.map(str::to_owned).collect(),
        })
    }
}

/// The answer to a request, whatever its status, or the reason why there is none.
type HttpResult = Result<ureq::http::Response<Body>, ureq::Error>;

/// The body of a 200.
pub(super) fn get(address: &str, path: &str) -> Result<Vec<u8>, ClientError> {
    AdminClient::with_patience(address, PATIENCE)
        .get(path)?
        .bytes()
}

/// The body of a 200 to a POST without a body. It is sent once: it may change something.
pub(super) fn post(address: &str, path: &str) -> Result<Vec<u8>, ClientError> {
    AdminClient::new(address).post(path, b"")?.bytes()
}

/// Whether the connection was closed before an answer came.
fn was_closed(answer: &HttpResult) -> bool {
    answer.as_ref().err().is_some_and(is_cut)
}

/// Whether this is the error of a connection that was there and was closed.
fn is_cut(error: &ureq::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kinds = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        UnexpectedEof,
    ];
    matches!(error, ureq::Error::Io(error) if kinds.contains(&error.kind()))
}

/// Whether this user may not open the socket.
fn is_denied(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
}
