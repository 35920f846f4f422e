//! A text that is made once for each edition of the settings, and served as it is.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;

use super::super::answer::{Answered, set};
use super::super::conditional;
use super::super::resource::tag_of;
use crate::wire::{Problem, options};

/// The methods that are allowed on a document.
pub(crate) const METHODS: &str = "GET, HEAD, OPTIONS";

/// The text, with its media type and its entity tag.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    media_type: &'static str,
    etag: String,
    body: Bytes,
}

impl Document {
    pub(crate) fn new(media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self {
            media_type,
            etag: tag_of(&body),
            body,
        }
    }

    /// A document of JSON.
    pub(crate) fn json(media_type: &'static str, value: &serde_json::Value) -> Self {
        Self::new(media_type, value.to_string())
    }

    /// The answer to a GET or HEAD.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Answered {
        let whole = || {
            let mut whole =
                HttpResponse::with_body(StatusCode::OK, BoxBody::new(self.body.clone()));
            set(&mut whole, header::CONTENT_TYPE, self.media_type);
            whole
        };
        let mut response = conditional::answer(headers, self.etag.clone(), None, whole)?;
        // The settings may change at any time.
        set(&mut response, header::CACHE_CONTROL, "no-cache");
        Ok(response)
    }

    /// The answer to a request for a document with a path of its own.
    pub(crate) fn answer(&self, method: &Method, headers: &HeaderMap) -> Answered {
        match *method {
            Method::GET | Method::HEAD => self.read(headers),
            Method::OPTIONS => Ok(options(METHODS)),
            _ => Err(Problem::not_allowed(METHODS)),
        }
    }
}
