//! A resource as a whole: the list, and making records.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};

use super::body::read_body;
use super::conditional::not_modified;
use super::edge::Edge;
use super::incoming::Incoming;
use super::problem::{Code, Problem};
use super::resource::{JSON, record_response};
use super::route_table::ResourceRoute;
use super::static_file::options;
use crate::record::{JsonObject, PAGE_RECORDS_MAX, Slice};

const ALLOW: &str = "GET, HEAD, POST, OPTIONS";
/// What a POST may carry.
const ACCEPT: &str = "application/json";

/// Answers a request for the resource as a whole.
pub(crate) async fn answer(
    edge: &Edge,
    route: &ResourceRoute,
    request: &mut Incoming,
) -> Result<HttpResponse<BoxBody>, Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => list(edge, route, request).await,
        Method::POST => create(edge, route, request).await,
        Method::OPTIONS => Ok(options(ALLOW)),
        _ => Err(Problem::not_allowed(ALLOW)),
    }
}

async fn list(
    edge: &Edge,
    route: &ResourceRoute,
    request: &Incoming,
) -> Result<HttpResponse<BoxBody>, Problem> {
    let slice = slice(request.query())?;
    let page = edge.store.list(route.collection, slice).await?;
    let etag = format!("W/\"{}\"", page.seq);
    let unchanged = not_modified(request.headers(), etag.as_bytes(), None);
    let mut response = if unchanged {
        HttpResponse::with_body(StatusCode::NOT_MODIFIED, BoxBody::new(()))
    } else {
        let bytes = page
            .records
            .iter()
            .map(|record| record.json.len() + 1)
            .sum::<usize>();
        let mut body = Vec::with_capacity(bytes + 2);
        body.push(b'[');
        for (n, record) in page.records.iter().enumerate() {
            if n > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&record.json);
        }
        body.push(b']');
        let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(body));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        response
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    let total = HeaderName::from_static("x-total-count");
    headers.insert(total, HeaderValue::from(page.total));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// `_start` (0 if absent) and `_end`, which is exclusive.
fn slice(query: &str) -> Result<Slice, Problem> {
    let number = |name: &str| -> Result<Option<usize>, Problem> {
        let Some(text) = parameter(query, name) else {
            return Ok(None);
        };
        let wrong = || {
            let detail = format!("{name} must be a whole number, 0 or more");
            Problem::new(Code::InvalidParameter).detail(detail)
        };
        text.parse().map(Some).map_err(|_| wrong())
    };
    let start = number("_start")?.unwrap_or(0);
    let limit = match number("_end")? {
        None => PAGE_RECORDS_MAX,
        Some(end) if end >= start => end - start,
        Some(_) => {
            let detail = "_end must not be less than _start";
            return Err(Problem::new(Code::InvalidParameter).detail(detail));
        }
    };
    Ok(Slice::new(start, limit))
}

/// The first value of a parameter, as it was sent.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

async fn create(
    edge: &Edge,
    route: &ResourceRoute,
    request: &mut Incoming,
) -> Result<HttpResponse<BoxBody>, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::unsupported(ACCEPT));
    }
    let body = read_body(request, edge.body_bytes).await?;
    let object = JsonObject::parse(&body)?;
    let id = object.id()?;
    let record = edge.store.create(route.collection, object, id).await?;
    let mut response = record_response(StatusCode::CREATED, &record);
    if let Ok(place) = HeaderValue::from_str(&format!("{}/{}", route.path, record.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// Whether a body is declared to be JSON, whatever its parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let media_type = value
        .as_bytes()
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    media_type
        .trim_ascii()
        .eq_ignore_ascii_case(ACCEPT.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_read_from_the_query() {
        assert_eq!(slice(""), Ok(Slice::new(0, 500)));
        assert_eq!(slice("x=1&_start=20&_end=30"), Ok(Slice::new(20, 10)));
        assert_eq!(slice("_end=9999999"), Ok(Slice::new(0, 500)));
        assert_eq!(slice("_start=5&_end=5"), Ok(Slice::new(5, 0)));
        for wrong in [
            "_start=-1",
            "_start=",
            "_end=x",
            "_start=2&_end=1",
            "_start=99999999999999999999",
        ] {
            assert!(slice(wrong).is_err(), "{wrong}");
        }
    }
}
