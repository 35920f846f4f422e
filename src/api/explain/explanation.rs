//! An explanation: facts in plain English, and for programs the status and the route.

use std::time::Duration;

use actix_web::http::StatusCode;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::super::answer::Answered;
use super::super::routes::RouteRules;
use super::asked::AskedRequest;
use crate::wire::Response;

/// The answer of a request, and the reasons for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explanation {
    /// The method.
    pub(crate) method: String,
    /// The path with its query, as a client sends it.
    pub(crate) url: String,
    /// The status of the answer, if it is known without carrying the request out.
    pub(crate) status: Option<u16>,
    /// The path of the route.
    pub(crate) route: Option<String>,
    /// All that is known, in the order in which it is decided.
    pub(crate) facts: Vec<Fact>,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fact {
    /// Its subject, such as `route`. Several facts may have the same.
    pub(crate) about: String,
    /// The fact.
    pub(crate) text: String,
}

impl Explanation {
    pub(super) fn new(asked: &AskedRequest) -> Self {
        let mark = if asked.query.is_empty() { "" } else { "?" };
        Self {
            method: asked.method.to_string(),
            url: format!("{}{mark}{}", asked.path, asked.query),
            status: None,
            route: None,
            facts: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, about: &str, text: impl Into<String>) {
        self.facts.push(Fact {
            about: about.to_owned(),
            text: text.into(),
        });
    }

    /// Tells the head of the answer to a request for `path` by a route with these rules.
    pub(super) fn answered(&mut self, path: &str, answered: Answered, rules: Option<&RouteRules>) {
        let (mut response, detail) = match answered {
            Ok(response) => (response, String::new()),
            Err(problem) => {
                let detail = format!(": {}", problem.text());
                (problem.unlogged(path, ""), detail)
            }
        };
        let status = response.status();
        self.status = Some(status.as_u16());
        self.add("answer", format!("{}{detail}", named(status)));
        if let Some(page) = rules.and_then(|rules| rules.page(status.as_u16())) {
            self.add("error page", format!("{page}, as text/html, for clients that take HTML as browsers and curl do; others get the problem, whose header fields follow"));
        }
        self.headers(&mut response, rules);
    }

    /// Tells an answer whose status is not known, with the header fields that it has in any case.
    pub(super) fn open(&mut self, text: &str, mut response: Response, rules: &RouteRules) {
        for varying in ["etag", "x-total-count", "link"] {
            response.headers_mut().remove(varying);
        }
        self.add("answer", text);
        self.headers(&mut response, Some(rules));
    }

    fn headers(&mut self, response: &mut Response, rules: Option<&RouteRules>) {
        if let Some(rules) = rules {
            rules.add_headers(None, response);
        }
        let headers = response.headers().iter();
        let lines = headers
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        for line in lines {
            self.add("header", line);
        }
    }

    /// The facts with a line each, aligned.
    pub(crate) fn text(&self) -> String {
        let lengths = self.facts.iter().map(|fact| fact.about.len());
        let width = lengths.max().unwrap_or(0);
        let lines = self
            .facts
            .iter()
            .map(|Fact { about, text }| format!("{about:width$}  {text}\n"));
        lines.collect()
    }
}

/// A status with its name.
fn named(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    format!("{} {reason}", status.as_u16())
}

/// A size as people read it.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        _ => ByteSize::b(bytes).display().iec().to_string(),
    }
}

/// A duration as the settings write it.
pub(super) fn duration(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
