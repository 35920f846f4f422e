//! Answers of routes that are always the same.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::{Method, StatusCode, header};
use bytes::Bytes;

use super::answer::set;
use crate::settings::RespondSettings;
use crate::wire::{Response, options};

/// The methods that are answered, all in the same way.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The answer of one route, made once for each edition of the settings.
#[derive(Debug)]
pub(crate) struct FixedAnswer {
    status: StatusCode,
    body: Bytes,
    content_type: Bytes,
}

impl FixedAnswer {
    /// The answer of the settings, which allow no status that does not exist.
    pub(super) fn new(written: &RespondSettings) -> Self {
        Self {
            status: StatusCode::from_u16(written.status).unwrap_or(StatusCode::OK),
            body: written.body.clone().into(),
            content_type: written.content_type.clone().into(),
        }
    }

    /// The answer to a request with this method.
    pub(super) fn answer(&self, method: &Method) -> Response {
        if *method == Method::OPTIONS {
            return options(METHODS);
        }
        let body = BoxBody::new(self.body.clone());
        let mut response = HttpResponse::with_body(self.status, body);
        if !self.body.is_empty() {
            let kind = self.content_type.clone();
            set(&mut response, header::CONTENT_TYPE, kind);
        }
        response
    }
}
