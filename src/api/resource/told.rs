//! The result of a change: as an answer of its own, and as one result in the answer to a batch.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use bytes::Bytes;

use super::super::answer::{empty, set};
use super::super::conditional::etag;
use super::super::refused::failed_condition;
use super::{array, json, set_preference_applied};
use crate::record::{CommandError, Record};
use crate::storage::Written;
use crate::wire::{Problem, Response};

/// The answer to a change.
pub(crate) struct ToldChange {
    status: StatusCode,
    etag: Option<String>,
    location: Option<String>,
    /// The number of records, if it was about all that match.
    matched: Option<usize>,
    body: Bytes,
}

impl ToldChange {
    /// The answer to a change of records of the resource at `url`, in the store of this mark. What was only tried out has no state that an
    /// entity tag or a URL could be of.
    pub(crate) fn new(written: &Written, url: &str, mark: &str, dry_run: bool) -> Self {
        let records = written.records();
        let (status, body, matched) = match written {
            Written::Created(record) => (StatusCode::CREATED, record.json.clone(), None),
            // A deleted record has no representation left that an entity tag could be of.
            Written::Replaced(record) | Written::Deleted(record) => {
                (StatusCode::OK, record.json.clone(), None)
            }
            Written::DeletedMatching(_) | Written::PatchedMatching(_) => {
                (StatusCode::OK, array(records).into(), Some(records.len()))
            }
        };
        let is = |record: &Record| Some(etag(record.revision, mark)).filter(|_| !dry_run);
        let (etag, location) = match written {
            Written::Created(record) => {
                let place = Some(format!("{url}/{}", record.id));
                (is(record), place.filter(|_| !dry_run))
            }
            Written::Replaced(record) => (is(record), None),
            Written::Deleted(_) | Written::DeletedMatching(_) | Written::PatchedMatching(_) => {
                (None, None)
            }
        };
        Self {
            status,
            etag,
            location,
            matched,
            body,
        }
    }

    /// All records that were created.
    pub(crate) fn created(records: &[Record]) -> Self {
        Self {
            status: StatusCode::CREATED,
            etag: None,
            location: None,
            matched: Some(records.len()),
            body: array(records).into(),
        }
    }

    /// The answer to a request. A `minimal` one has no body.
    pub(crate) fn response(self, minimal: bool) -> Response {
        let mut response = if minimal {
            let status = if self.status == StatusCode::OK {
                StatusCode::NO_CONTENT
            } else {
                self.status
            };
            let mut minimal = empty(status);
            set_preference_applied(&mut minimal, "return=minimal");
            minimal
        } else {
            json(self.status, self.body)
        };
        if let Some(etag) = self.etag {
            set(&mut response, header::ETAG, etag);
        }
        if let Some(location) = self.location {
            set(&mut response, header::LOCATION, location);
        }
        if let Some(matched) = self.matched {
            let name = HeaderName::from_static("x-total-count");
            set(&mut response, name, matched.to_string());
        }
        response
    }

    /// The same as a JSON object.
    pub(crate) fn object(&self, minimal: bool) -> String {
        let mut headers = serde_json::Map::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                headers.insert(name.to_owned(), value.into());
            }
        };
        add("etag", self.etag.clone());
        add("location", self.location.clone());
        add(
            "x-total-count",
            self.matched.map(|matched| matched.to_string()),
        );
        let status = self.status.as_u16();
        let headers = serde_json::Value::from(headers);
        let body = if minimal {
            "null".into()
        } else {
            String::from_utf8_lossy(&self.body)
        };
        format!("{{\"status\":{status},\"headers\":{headers},\"body\":{body}}}")
    }
}

/// The problem of a command that was refused.
pub(crate) fn refused(error: CommandError, mark: &str) -> Problem {
    if let CommandError::Precondition {
        current: Some(current),
    } = error
    {
        return failed_condition(&etag(current, mark));
    }
    error.into()
}
