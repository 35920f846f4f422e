//! The file of `perennial call`: the requests, and how they belong together.

use std::collections::BTreeMap;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Url};
use serde_json::Value;

use super::super::asking::web_url;
use crate::misread::in_plain_words;

/// The most requests of a file.
const REQUESTS_MAX: usize = 10_000;

/// The effect of a failure on the other requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Together {
    /// The others go on.
    #[default]
    Gather,
    /// The others are cancelled.
    Group,
}

impl Together {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gather => "gather",
            Self::Group => "group",
        }
    }
}

/// The file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallFile {
    #[serde(default)]
    pub(super) mode: Together,
    /// The beginning of URLs that are only a path.
    #[serde(default)]
    base: Option<String>,
    request: Vec<WrittenCall>,
}

/// A request as it is written.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCall {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A text is sent as it is, and everything else as JSON.
    #[serde(default)]
    body: Option<Value>,
    /// The one status that is no failure; without it, each below 400 is.
    #[serde(default)]
    expect: Option<u16>,
}

/// A request that can be sent.
#[derive(Debug)]
pub(super) struct PreparedCall {
    pub(super) name: String,
    pub(super) expect: Option<u16>,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

/// A fault of the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallFileError {
    #[error("{}", of_toml(.0))]
    Toml(#[from] Box<toml::de::Error>),
    #[error("{}", in_plain_words(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    #[error("it has no requests")]
    None,
    #[error("it has more than {REQUESTS_MAX} requests")]
    TooMany,
    #[error("request {number}: {fault}")]
    Request { number: usize, fault: String },
}

/// The error with its lines of the file, and with its message in plain words.
fn of_toml(error: &toml::de::Error) -> String {
    let message = error.message();
    error.to_string().replace(message, &in_plain_words(message))
}

impl CallFile {
    /// Reads it. JSON may be a list of the requests alone.
    pub(super) fn parse(text: &str) -> Result<Self, CallFileError> {
        let begins = |with: &str| text.trim_start().starts_with(with);
        // In TOML, the first request may be what the file begins with.
        let file = if begins("[") && !begins("[[") {
            let request = serde_json::from_str(text)?;
            Self {
                request,
                ..Self::default()
            }
        } else if begins("{") {
            serde_json::from_str(text)?
        } else {
            toml::from_str(text).map_err(Box::new)?
        };
        match file.request.len() {
            0 => Err(CallFileError::None),
            1..=REQUESTS_MAX => Ok(file),
            _ => Err(CallFileError::TooMany),
        }
    }

    /// The requests. `base` takes the place of the file's.
    pub(super) fn prepare(self, base: Option<&Url>) -> Result<Vec<PreparedCall>, CallFileError> {
        let own = self.base;
        let calls = self.request.into_iter().enumerate();
        let prepare = |(index, call): (usize, WrittenCall)| {
            let base = base.map(Url::as_str).or(own.as_deref());
            call.prepare(base).map_err(|fault| CallFileError::Request {
                number: index + 1,
                fault,
            })
        };
        calls.map(prepare).collect()
    }
}

impl WrittenCall {
    fn prepare(self, base: Option<&str>) -> Result<PreparedCall, String> {
        let url = match base {
            Some(base) if self.url.starts_with('/') => {
                format!("{}{}", base.trim_end_matches('/'), self.url)
            }
            Some(_) | None => self.url,
        };
        let url =
            web_url(&url).map_err(|fault| format!("{url:?}: {fault}, or a path and a base"))?;
        let method = self.method.unwrap_or_else(|| {
            let method = if self.body.is_some() { "POST" } else { "GET" };
            method.to_owned()
        });
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_| format!("{method:?} is no method"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let field = HeaderName::try_from(name).ok();
            let field = field.zip(HeaderValue::try_from(value).ok());
            let (name, value) = field.ok_or_else(|| format!("{name:?} is no header field"))?;
            headers.append(name, value);
        }
        let body = self.body.map(|body| {
            if let Value::String(text) = body {
                return text.into_bytes();
            }
            let json = HeaderValue::from_static("application/json");
            headers.entry(CONTENT_TYPE).or_insert(json);
            body.to_string().into_bytes()
        });
        let name = self.name.unwrap_or_else(|| format!("{method} {url}"));
        Ok(PreparedCall {
            name,
            expect: self.expect,
            method,
            url,
            headers,
            body,
        })
    }
}

impl PreparedCall {
    /// The request.
    pub(super) fn request(&self) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        request.headers_mut().clone_from(&self.headers);
        *request.body_mut() = self.body.clone().map(Into::into);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_toml_or_json_and_a_list_alone_is_enough() {
        let toml = r#"
            mode = "group"
            base = "http://localhost:3000/"
            [[request]]
            url = "/books"
            body = { title = "Dune", year = 1965 }
            expect = 201
            [[request]]
            name = "all"
            url = "http://localhost:4000/books"
            headers = { accept = "application/json" }
        "#;
        let file = CallFile::parse(toml).unwrap();
        assert_eq!(file.mode, Together::Group);
        let calls = file.prepare(None).unwrap();
        let names: Vec<_> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["POST http://localhost:3000/books", "all"]);
        let request = calls[0].request();
        assert_eq!(request.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(
            request.body().unwrap().as_bytes().unwrap(),
            br#"{"title":"Dune","year":1965}"#
        );
        let list = r#"[{"url": "/a", "method": "delete"}, {"url": "/b", "body": "text"}]"#;
        let base = Url::parse("http://[::1]:3000").unwrap();
        let calls = CallFile::parse(list).unwrap().prepare(Some(&base)).unwrap();
        assert_eq!(calls[0].name, "DELETE http://[::1]:3000/a");
        assert!(calls[1].request().headers().is_empty());
        let object = r#"{"mode": "gather", "request": [{"url": "http://localhost/"}]}"#;
        assert_eq!(CallFile::parse(object).unwrap().mode, Together::Gather);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_request() {
        let told = |text: &str| {
            let prepared = CallFile::parse(text).and_then(|file| file.prepare(None));
            prepared.unwrap_err().to_string()
        };
        for (text, error) in [
            ("", "`request` is missing"),
            ("request = 1", "an array is wanted, not the number 1"),
            ("[]", "it has no requests"),
            (r#"{"request": []}"#, "it has no requests"),
            (
                r#"[{"url": "/a"}]"#,
                "request 1: \"/a\": write the whole URL",
            ),
            (
                r#"[{"url": "http://a/", "metod": "GET"}]"#,
                "`metod` means nothing here; there are `name`, `method`",
            ),
            (
                r#"[{"url": "http://a/", "method": "G T"}]"#,
                "request 1: \"G T\" is no method",
            ),
            (
                r#"[{"url": "http://a/", "headers": {"a b": "c"}}]"#,
                "request 1: \"a b\" is no header field",
            ),
        ] {
            let found = told(text);
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
