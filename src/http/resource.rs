//! One record of a resource.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};

use super::conditional::not_modified;
use super::edge::Edge;
use super::incoming::Incoming;
use super::problem::{Code, Problem};
use super::route_table::ResourceRoute;
use super::static_file::options;
use crate::record::{Record, RecordId};

const ALLOW: &str = "GET, HEAD, DELETE, OPTIONS";
/// The media type of every answer that is no problem.
pub(crate) const JSON: &str = "application/json";

/// Answers a request for one record.
pub(crate) async fn answer(
    edge: &Edge,
    route: &ResourceRoute,
    id: &str,
    request: &Incoming,
) -> Result<HttpResponse<BoxBody>, Problem> {
    // What can't be an id names nothing.
    let id = || RecordId::parse(id).map_err(|_| absent(route));
    match *request.method() {
        Method::GET | Method::HEAD => {
            let record = edge.store.get(route.collection, &id()?).await?;
            let record = record.ok_or_else(|| absent(route))?;
            if not_modified(request.headers(), etag(&record).as_bytes(), None) {
                let mut response =
                    HttpResponse::with_body(StatusCode::NOT_MODIFIED, BoxBody::new(()));
                set_etag(&mut response, &record);
                return Ok(response);
            }
            Ok(record_response(StatusCode::OK, &record))
        }
        Method::DELETE => {
            let record = edge.store.delete(route.collection, &id()?).await?;
            let record = record.ok_or_else(|| absent(route))?;
            if wants_minimal(request) {
                let applied = HeaderName::from_static("preference-applied");
                let mut response =
                    HttpResponse::with_body(StatusCode::NO_CONTENT, BoxBody::new(()));
                response
                    .headers_mut()
                    .insert(applied, HeaderValue::from_static("return=minimal"));
                return Ok(response);
            }
            let mut response = record_response(StatusCode::OK, &record);
            // There is no representation left that the tag could be of.
            response.headers_mut().remove(header::ETAG);
            Ok(response)
        }
        Method::OPTIONS => Ok(options(ALLOW)),
        _ => Err(Problem::not_allowed(ALLOW)),
    }
}

fn absent(route: &ResourceRoute) -> Problem {
    Problem::new(Code::NotFound).detail(format!("{} has no record of this id", route.path))
}

/// `Prefer: return=minimal` (RFC 7240 section 4.2).
fn wants_minimal(request: &Incoming) -> bool {
    let prefer = request.headers().get_all(HeaderName::from_static("prefer"));
    let mut parts = prefer.flat_map(|value| value.as_bytes().split(|byte| b",;".contains(byte)));
    parts.any(|part| part.trim_ascii().eq_ignore_ascii_case(b"return=minimal"))
}

fn etag(record: &Record) -> String {
    format!("\"{}\"", record.revision.0)
}

fn set_etag(response: &mut HttpResponse<BoxBody>, record: &Record) {
    if let Ok(etag) = HeaderValue::from_str(&etag(record)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
}

/// The record as an answer.
pub(crate) fn record_response(status: StatusCode, record: &Record) -> HttpResponse<BoxBody> {
    let mut response = HttpResponse::with_body(status, BoxBody::new(record.json.clone()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    set_etag(&mut response, record);
    response
}
