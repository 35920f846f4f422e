//! What a later release will do: it is refused, since who asks for it relies on it.

use actix_web::http::Method;
use actix_web::http::header::HeaderName;

use super::prefers;
use crate::record::ListQuery;
use crate::wire::Incoming;
use crate::wire::{Code, Problem};

/// Paths that resources and files leave free.
const RESERVED: [&str; 3] = ["/_batch", "/_docs", "/_openapi.json"];
/// The change feed of a resource, where a record's id would be.
const FEED: &str = "_changes";

/// Whether a path will lead somewhere in a later release.
pub(crate) fn is_reserved(path: &str) -> bool {
    RESERVED.contains(&path)
}

/// The same for what is below a resource.
pub(super) fn reserved_id(id: &str, request: &Incoming) -> Option<Problem> {
    (id == FEED).then(|| not_there(request.path()))
}

/// The problem for such a path.
pub(crate) fn not_there(path: &str) -> Problem {
    Problem::new(Code::NotFound).detail(format!("{path} is not available yet"))
}

/// Refuses a request to be carried out once, or not at all: ignored, it would do harm. And one for a part of a record, or
/// for more than it.
pub(super) fn refuse(request: &Incoming) -> Result<(), Problem> {
    let headers = request.headers();
    let method = request.method();
    let key = HeaderName::from_static("idempotency-key");
    // The others are idempotent by themselves.
    if (method == Method::POST || method == Method::PATCH) && headers.contains_key(key) {
        return Err(Problem::not_available("Idempotency-Key"));
    }
    if !method.is_safe() && prefers(headers, "tx", "rollback") {
        return Err(Problem::not_available("Prefer: tx=rollback"));
    }
    Ok(ListQuery::refuse_shape(request.query())?)
}
