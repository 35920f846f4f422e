//! The admin listener's answers: health, metrics, every child, records out and in, and, where the settings allow it,
//! orders to panic.

mod chaos;
mod history;
mod orders;
mod page;
mod readiness;
mod records;
mod reload;

pub(crate) use history::Histories;
pub(crate) use readiness::{Check, Checks};
pub(crate) use records::{Catalogue, PARCEL_BYTES, PARCEL_LINES, ParcelDone, Records, RefusedLine};
pub(crate) use reload::{NotReloaded, RELOAD_MAX, ReloadOrder, ReloadStatus, Reloaded, Reloads};

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use futures_util::future::{LocalBoxFuture, OptionFuture};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::incidents::Incidents;
use crate::storage::{OldestMoment, Store, moment_text};
use crate::supervision::{Faults, NodeView, Pulse, Supervisors, Tree};
use crate::telemetry::{Exposition, Metrics};
use crate::wire::{Answered, Code, Incoming, Problem, Responder, Response, read_body, wish};
use readiness::Part;

/// The time without a sign of the supervisor or the sentinel after which the process counts as dead.
const PULSE_LIMIT: Duration = Duration::from_secs(1);
/// The largest body of a POST to `/chaos`.
const ORDER_BYTES_MAX: usize = 4096;
/// The header, with the value 1, of each request that changes something. A web page can't send it: its browser would ask before,
/// and is told no.
pub(crate) const ADMIN_HEADER: &str = "Perennial-Admin";
const READ: &str = "GET, HEAD";
const PATHS: &str = "the admin listener has /, /livez, /readyz, /readyz/PART, /metrics, /supervisor, /supervisor/PART/restart, /supervisor/PART/stop, /supervisor/PART/start, /incidents, /records, /history/RESOURCE/ID, /reload, /scrub and /explain?method=METHOD&url=URL";

/// The handler of requests on the admin listener.
pub(crate) struct Admin {
    pulse: Arc<Pulse>,
    faults: Faults,
    running: OnceLock<Running>,
    /// Held while something other than health is told, which is more work.
    turn: Mutex<()>,
}

/// The parts to report on, once every child is prepared.
pub(crate) struct Running {
    /// Every child.
    pub tree: Tree,
    /// Whoever takes orders for them.
    pub supervisors: Supervisors,
    /// The metrics of `/metrics`.
    pub metrics: Metrics,
    /// The checks of `/readyz`, besides the state of the children.
    pub checks: Box<Checks>,
    /// The records of `/history`.
    pub histories: Histories,
    /// The records of `/records`.
    pub records: Records,
    pub incidents: Arc<Incidents>,
    pub store: Arc<dyn Store>,
    /// The answer of `/explain`.
    pub explain: Explain,
    /// The settings, which can be read again.
    pub reloads: Arc<Reloads>,
    /// The public addresses and the certificates, of `/supervisor`.
    pub listening: Box<Listening>,
}

/// Tells the public addresses and the certificates, each under its name.
pub(crate) type Listening = dyn Fn() -> [(&'static str, Value); 2] + Send + Sync;

/// Explains what a request of this method to this URL gets, as JSON; the error is about the method or the URL.
pub(crate) type Explain =
    Box<dyn Fn(&str, &str) -> LocalBoxFuture<'static, Result<Value, String>> + Send + Sync>;

impl Responder for Admin {
    type Matched = ();

    fn resolve(&self, _: &Incoming) {}

    async fn slow(&self, request: &mut Incoming, (): &()) -> Response {
        // One answer for each connection in each turn of the thread: whoever asks a thousand times at once delays nobody.
        tokio::task::yield_now().await;
        if let Err(problem) = permitted(request) {
            return problem.response(request);
        }
        let path = request.path().to_owned();
        let answer = match path.as_str() {
            "/explain" => self.explain(request).await,
            "/chaos" if self.faults.enabled() => self.chaos(request).await,
            "/records" => self.records(request).await,
            _ if path.starts_with("/records/") => self.records(request).await,
            "/reload" => self.reload(request).await,
            "/scrub" => self.scrub(request),
            _ => match (
                path.strip_prefix("/history/"),
                path.strip_prefix("/supervisor/"),
            ) {
                (Some(record), _) => self.history(record, request).await,
                (None, Some(target)) => orders::answer(self, target, request).await,
                (None, None) => {
                    // One at a time, so that health never waits behind the metrics of a thousand clients.
                    let turn = (!is_health(&path)).then(|| self.turn.lock());
                    let _turn = OptionFuture::from(turn).await;
                    self.tell(request)
                }
            },
        };
        answer.unwrap_or_else(|problem| problem.response(request))
    }
}

/// Whether a path tells whether the daemon lives and can serve.
fn is_health(path: &str) -> bool {
    path == "/livez" || path == "/readyz" || path.starts_with("/readyz/")
}

impl Admin {
    /// An admin without a tree: its own children are a part of the tree, so [`attach`](Self::attach) adds it later.
    pub(crate) fn new(pulse: Arc<Pulse>, faults: Faults) -> Self {
        Self {
            pulse,
            faults,
            running: OnceLock::new(),
            turn: Mutex::new(()),
        }
    }

    /// Attaches the tree and what belongs to it; a second call does nothing.
    pub(crate) fn attach(&self, running: Running) {
        self.running.get_or_init(|| running);
    }

    /// The tree as it is now; `None` before it is attached.
    fn view(&self) -> Option<NodeView> {
        self.running.get().map(|running| running.tree.view())
    }

    /// Each part of the daemon, and whether it can serve.
    fn parts(&self) -> Vec<Part> {
        let running = self.running.get();
        let checks = running.map_or_else(Vec::new, |running| (running.checks)());
        readiness::parts(self.view().as_ref(), checks)
    }

    fn tell(&self, request: &Incoming) -> Answered {
        let (method, path) = (request.method(), request.path());
        let answer = match path {
            "/" => Ok(self.page()),
            "/livez" => self.live(),
            "/readyz" => self.ready(request.query()),
            "/metrics" => Ok(self.metrics(request)),
            "/supervisor" => Ok(json_answer(&self.supervisor())),
            "/incidents" => {
                let running = self.running.get();
                let incidents = running.map(|running| running.incidents.all());
                Ok(json_answer(
                    &json!({ "incidents": incidents.unwrap_or_default() }),
                ))
            }
            _ => {
                let asset = page::ASSETS.iter().find(|(at, ..)| *at == path);
                match (path.strip_prefix("/readyz/"), asset) {
                    (Some(part), _) => self.ready_part(part),
                    (None, Some((_, kind, content))) => Ok(answer(kind, (*content).to_owned())),
                    (None, None) => return Err(Problem::new(Code::NotFound).detail(PATHS)),
                }
            }
        };
        if method != Method::GET && method != Method::HEAD {
            return Err(Problem::not_allowed(READ));
        }
        answer
    }

    fn metrics(&self, request: &Incoming) -> Response {
        let weight = |kind| wish(request.headers(), kind).weight;
        let exposition = if weight("application/openmetrics-text") > weight("text/plain") {
            Exposition::OpenMetrics
        } else {
            Exposition::Text
        };
        let running = self.running.get();
        let text = running.map(|running| running.metrics.encode(exposition));
        answer(exposition.content_type(), text.unwrap_or_default())
    }

    fn page(&self) -> Response {
        let settings = self.running.get();
        let settings = settings.map_or_else(Vec::new, |running| running.reloads.lines());
        let html = page::html(self.view().as_ref(), &self.parts(), &settings);
        let mut page = answer("text/html; charset=utf-8", html);
        page.headers_mut().insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(page::SECURITY),
        );
        page
    }

    fn live(&self) -> Answered {
        let silence = self.pulse.silence();
        if silence < PULSE_LIMIT {
            return Ok(json_answer(&json!({ "live": true })));
        }
        let detail = format!("the root supervisor has not answered for {silence:?}");
        Err(Problem::new(Code::NotReady).detail(detail))
    }

    // Decision: `/readyz` counts every part.
    /// All parts, without those that `?exclude=NAME` names; it may be given several times.
    fn ready(&self, query: &str) -> Answered {
        let mut parts = self.parts();
        for excluded in query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("exclude="))
            .map(decoded)
        {
            if !parts.is_empty() && !parts.iter().any(|part| part.name == excluded) {
                let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
                let detail = format!(
                    "there is no part to exclude named {excluded}; the parts are {}",
                    names.join(", ")
                );
                return Err(Problem::new(Code::InvalidParameter).detail(detail));
            }
            parts.retain(|part| part.name != excluded);
        }
        let by_name: Value = parts
            .iter()
            .map(|part| (part.name.clone(), json!(part.fault.is_none())))
            .collect();
        let busy = |part: &Part| Some((part.name.clone(), json!(part.doing.as_ref()?)));
        let doing: Value = parts.iter().filter_map(busy).collect();
        let faults: Vec<_> = parts.iter().filter_map(fault).collect();
        if faults.is_empty() && !parts.is_empty() {
            return Ok(json_answer(
                &json!({ "ready": true, "parts": by_name, "doing": doing }),
            ));
        }
        let problem = not_ready(&faults).extension("parts", by_name);
        Err(problem.extension("doing", doing))
    }

    fn ready_part(&self, name: &str) -> Answered {
        let name = decoded(name);
        let parts = self.parts();
        let Some(part) = parts.iter().find(|part| part.name == name) else {
            let detail = "there is no such part; /readyz lists them";
            return Err(Problem::new(Code::NotFound).detail(detail));
        };
        match fault(part) {
            None => Ok(json_answer(
                &json!({ "ready": true, "part": name, "doing": part.doing }),
            )),
            Some(fault) => Err(not_ready(&[fault])),
        }
    }

    /// The tree, and in it which settings are in force.
    fn supervisor(&self) -> Value {
        let mut tree = json!(self.view());
        if let (Some(root), Some(running)) = (tree.as_object_mut(), self.running.get()) {
            root.insert("settings".to_owned(), running.reloads.view());
            let listening = (running.listening)();
            root.extend(listening.map(|(name, value)| (name.to_owned(), value)));
            if let Some(OldestMoment { change, at_ms }) = running.store.reaches_back() {
                let time = at_ms.map(moment_text);
                let oldest = json!({ "oldest_change": change, "oldest_time": time });
                root.insert("store".to_owned(), oldest);
            }
        }
        tree
    }

    /// Has everything that is stored read soon, and what is damaged made again.
    fn scrub(&self, request: &Incoming) -> Answered {
        if request.method() != Method::POST {
            return Err(Problem::not_allowed("POST"));
        }
        let running = self.running.get().ok_or_else(|| not_ready(&[]))?;
        running.store.look_for_damage();
        Ok(json_answer(&json!({ "asked": true })))
    }

    async fn reload(&self, request: &Incoming) -> Answered {
        match self.running.get() {
            Some(running) => running.reloads.answer(request).await,
            None => Err(not_ready(&[])),
        }
    }

    async fn history(&self, record: &str, request: &Incoming) -> Answered {
        match self.running.get() {
            Some(running) => running.histories.answer(record, request).await,
            None => Err(not_ready(&[])),
        }
    }

    async fn records(&self, request: &mut Incoming) -> Answered {
        match self.running.get() {
            Some(running) => running.records.answer(request).await,
            None => Err(not_ready(&[])),
        }
    }

    async fn explain(&self, request: &Incoming) -> Answered {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Problem::not_allowed(READ));
        }
        let running = self.running.get().ok_or_else(|| not_ready(&[]))?;
        let of = |name: &str| {
            let mut pairs = request.query().split('&');
            pairs.find_map(|pair| pair.strip_prefix(name)).map(decoded)
        };
        let (method, url) = (of("method="), of("url=").unwrap_or_default());
        let method = method.unwrap_or(Cow::Borrowed("GET"));
        match (running.explain)(&method, &url).await {
            Ok(explanation) => Ok(json_answer(&explanation)),
            Err(detail) => Err(Problem::new(Code::InvalidParameter).detail(detail)),
        }
    }

    async fn chaos(&self, request: &mut Incoming) -> Answered {
        let method = request.method();
        if method == Method::GET || method == Method::HEAD {
            return Ok(json_answer(&chaos::known(self)));
        }
        if method != Method::POST {
            return Err(Problem::not_allowed("GET, HEAD, POST"));
        }
        let body = read_body(request, ORDER_BYTES_MAX).await?;
        chaos::obey(self, &body)?;
        Ok(HttpResponse::NoContent().finish())
    }
}

/// Refuses a request that may change something if a web page may have sent it. Every such request comes by here.
fn permitted(request: &Incoming) -> Result<(), Problem> {
    let headers = request.headers();
    let detail = if request.method() == Method::GET || request.method() == Method::HEAD {
        return Ok(());
    } else if headers.contains_key(header::ORIGIN) {
        "web pages change nothing here: send the request from a program, without the header Origin"
    } else if headers.get(ADMIN_HEADER).is_none_or(|value| value != "1") {
        "send the header Perennial-Admin: 1, which no web page can send unasked"
    } else {
        return Ok(());
    };
    Err(Problem::new(Code::CrossSite).detail(detail))
}

/// A part's name as it was meant: the prefix of a route may have any letters.
fn decoded(name: &str) -> Cow<'_, str> {
    percent_decode_str(name).decode_utf8_lossy()
}

/// A part that can't serve, and why.
fn fault(part: &Part) -> Option<String> {
    let fault = part.fault.as_ref()?;
    let doing = part.doing.as_ref();
    let doing = doing.map_or_else(String::new, |doing| format!("; {doing}"));
    Some(format!("{} ({fault}{doing})", part.name))
}

fn not_ready(faults: &[String]) -> Problem {
    let detail = if faults.is_empty() {
        "not ready: the daemon is starting".to_owned()
    } else {
        format!("not ready: {}", faults.join(", "))
    };
    Problem::new(Code::NotReady).detail(detail)
}

fn answer(content_type: &'static str, body: String) -> Response {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(body)
}

fn json_answer(value: &Value) -> Response {
    answer("application/json", value.to_string())
}
