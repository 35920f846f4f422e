//! Features of a later release. A request for one is refused, since its client relies on it.

use actix_web::http::Method;
use actix_web::http::header::HeaderName;

use super::prefers;
use crate::record::ListQuery;
use crate::wire::{Incoming, Problem};

/// Refuses `Idempotency-Key`, `Prefer: tx=rollback`, and parameters that ask for a part of a record or for more than it:
/// to ignore them would do harm.
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
