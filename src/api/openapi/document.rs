//! A text that is made once for each edition of the settings, when it is asked for first, and served as it is.

use std::sync::LazyLock;

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

/// A text with its media type.
#[derive(Debug)]
pub(crate) struct Document {
    media_type: &'static str,
    text: LazyLock<TaggedText, Box<dyn FnOnce() -> TaggedText + Send>>,
}

#[derive(Debug)]
struct TaggedText {
    etag: String,
    body: Bytes,
}

impl Document {
    /// A text that is made when it is asked for first: that of many resources takes long, and a reload does not wait for it.
    pub(crate) fn new<T: Into<Bytes>>(
        media_type: &'static str,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Self {
        let make = move || {
            let body = make().into();
            let etag = tag_of(&body);
            TaggedText { etag, body }
        };
        Self {
            media_type,
            text: LazyLock::new(Box::new(make)),
        }
    }

    /// The answer to a GET or HEAD.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Answered {
        let TaggedText { etag, body } = &*self.text;
        let whole = || {
            let mut whole = HttpResponse::with_body(StatusCode::OK, BoxBody::new(body.clone()));
            set(&mut whole, header::CONTENT_TYPE, self.media_type);
            whole
        };
        let mut response = conditional::answer(headers, etag.clone(), None, whole)?;
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
