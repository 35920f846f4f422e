//! The pages of other sites that may use a route: the fields that a browser asks for before it lets such a page read an answer, and
//! the answer to its question beforehand (Fetch standard, section 3.3, "CORS protocol"). Pure.

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::settings::CorsSettings;
use crate::wire::{Code, Hosts, Incoming, Problem, Response, options};

/// The fields of an answer that such a page may read, beside those that it may read anyway.
const EXPOSED: &str = "X-Total-Count, Content-Range, Link, Location, ETag, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id";
/// The time for which a browser need not ask again, in seconds.
const KNOWN_FOR: &str = "600";

/// The rule of a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CorsRule {
    origins: Origins,
    credentials: bool,
}

/// The origins whose pages may use a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Origins {
    // Decision: Pages of this machine are let in where only this machine connects.
    /// Those of this machine, if the listener has a loopback address: servers of front ends that are being written have ports of
    /// their own.
    #[default]
    OfThisMachine,
    /// All.
    Any,
    /// These.
    Named(Vec<String>),
}

impl CorsRule {
    /// The rule of a route that says nothing.
    pub(crate) const UNWRITTEN: Self = Self {
        origins: Origins::OfThisMachine,
        credentials: false,
    };

    /// The rule from the settings.
    pub(super) fn new(written: &CorsSettings) -> Self {
        Self {
            origins: match &written.origins {
                None => Origins::OfThisMachine,
                Some(origins) if origins.iter().any(|origin| origin == "*") => Origins::Any,
                Some(origins) => Origins::Named(origins.clone()),
            },
            credentials: written.credentials,
        }
    }

    /// The rule for what belongs to all of these routes: theirs if it is the same, else that no page of another site may use it.
    pub(super) fn common<'a>(mut of: impl Iterator<Item = &'a Self>) -> Self {
        let first = of.next().unwrap_or(&Self::UNWRITTEN);
        if of.all(|other| other == first) {
            return first.clone();
        }
        Self {
            origins: Origins::Named(Vec::new()),
            credentials: false,
        }
    }

    /// The pages that may use the route, for people.
    pub(crate) fn text(&self) -> String {
        let pages = match &self.origins {
            Origins::OfThisMachine => {
                "pages of this machine on other ports, through a listener with a loopback address"
                    .to_owned()
            }
            Origins::Any => "pages of every site".to_owned(),
            Origins::Named(origins) if origins.is_empty() => "no pages".to_owned(),
            Origins::Named(origins) => format!("pages of {}", origins.join(", ")),
        };
        let credentials = if self.credentials {
            ", with credentials"
        } else {
            ""
        };
        format!("{pages}{credentials}")
    }

    /// Whether a request names one origin, whose pages may use the route.
    fn allows(&self, request: &Incoming, hosts: &Hosts) -> bool {
        let mut values = request.headers().get_all(header::ORIGIN);
        let origin = values.next().filter(|_| values.next().is_none());
        let Some(origin) = origin.and_then(|origin| origin.to_str().ok()) else {
            return false;
        };
        match &self.origins {
            Origins::OfThisMachine => request.on_loopback() && hosts.is_local_origin(origin),
            Origins::Any => true,
            Origins::Named(origins) => origins.iter().any(|known| known == origin),
        }
    }

    /// Whether no page of another site may use the route through the listener of this request.
    fn is_off(&self, request: &Incoming) -> bool {
        match &self.origins {
            Origins::OfThisMachine => !request.on_loopback(),
            Origins::Any => false,
            Origins::Named(origins) => origins.is_empty(),
        }
    }

    /// Refuses a request that may change something if a page sent it that may not use the route.
    pub(crate) fn refuse(&self, request: &Incoming, hosts: &Hosts) -> Result<(), Problem> {
        if request.cross_site && !self.allows(request, hosts) {
            return Err(refused(request));
        }
        Ok(())
    }

    /// Adds the fields by which the browser lets the page read the answer.
    pub(crate) fn add_headers(&self, request: &Incoming, hosts: &Hosts, response: &mut Response) {
        let varies = match &self.origins {
            Origins::Any => false,
            // A page of this machine reads an answer again from the browser's cache only after it has asked whether it is current.
            Origins::OfThisMachine if !request.headers().contains_key(header::ORIGIN) => return,
            Origins::OfThisMachine | Origins::Named(_) if self.is_off(request) => return,
            Origins::OfThisMachine | Origins::Named(_) => true,
        };
        let allowed = self.allows(request, hosts) || self.origins == Origins::Any;
        let headers = response.headers_mut();
        if varies {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if allowed {
            self.allow(headers, request);
            let exposed = HeaderValue::from_static(EXPOSED);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    fn allow(&self, headers: &mut HeaderMap, request: &Incoming) {
        let origin = match &self.origins {
            Origins::Any => None,
            Origins::OfThisMachine | Origins::Named(_) => request.headers().get(header::ORIGIN),
        };
        let origin = origin.map_or(HeaderValue::from_static("*"), HeaderValue::clone);
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
    }

    /// The answer to a browser that asks whether a page may send a request, which `methods` are allowed. It is given before the
    /// request waits for its turn, and no record is read.
    pub(crate) fn before(
        &self,
        request: &Incoming,
        hosts: &Hosts,
        methods: &'static str,
    ) -> Response {
        if !self.allows(request, hosts) {
            return refused(request).response(request);
        }
        let mut response = options(methods);
        let headers = response.headers_mut();
        self.allow(headers, request);
        let methods = HeaderValue::from_static(methods);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let wanted = request
            .headers()
            .get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(wanted) = wanted {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        let known_for = HeaderValue::from_static(KNOWN_FOR);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, known_for);
        let varies = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        headers.insert(header::VARY, HeaderValue::from_static(varies));
        response
    }
}

/// Whether a browser asks whether a page may send a request.
pub(crate) fn is_asked_before(request: &Incoming) -> bool {
    let has = |name: HeaderName| request.headers().contains_key(name);
    *request.method() == Method::OPTIONS
        && has(header::ORIGIN)
        && has(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The refusal of a page that may not use the route.
fn refused(request: &Incoming) -> Problem {
    let origin = request.headers().get(header::ORIGIN);
    let detail = match origin.and_then(|origin| origin.to_str().ok()) {
        None | Some("null") => {
            "the request comes from a page of another site, which does not tell its origin; send it from a page of this one"
                .to_owned()
        }
        Some(origin) => format!(
            "the request comes from a page of {origin:?}; send it from a page of this site, or name that origin in cors.origins of the route or resource"
        ),
    };
    Problem::new(Code::CrossSite).detail(detail)
}
