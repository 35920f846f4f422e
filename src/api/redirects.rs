//! Answers of routes that send their clients elsewhere.

use actix_web::http::{Method, StatusCode};

use super::answer::{Answered, moved};
use crate::settings::RedirectSettings;
use crate::wire::options;

/// The methods that are answered. The address to which they lead may take fewer.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The answer to a request with this rest of its path and this query.
pub(super) fn answer(
    redirect: &RedirectSettings,
    method: &Method,
    rest: &str,
    query: &str,
) -> Answered {
    if *method == Method::OPTIONS {
        return Ok(options(METHODS));
    }
    let status = if redirect.permanent {
        StatusCode::PERMANENT_REDIRECT
    } else {
        StatusCode::TEMPORARY_REDIRECT
    };
    moved(status, redirect.to.address(rest, query))
}
