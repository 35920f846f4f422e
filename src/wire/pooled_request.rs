//! A request as actix-web holds it. actix-web puts it into a pool when it is dropped, up to 256 heads on each thread, to use their
//! memory again: they must hold nothing of what clients have sent.

use std::mem;

use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse};

/// A larger table of headers is not kept. That of a new head has room for 28.
const HEADERS_KEPT_MAX: usize = 32;

/// A request whose head is emptied when it is dropped, and when it is answered. Nobody else has it, which actix-web demands of
/// whoever changes it.
pub(super) struct PooledRequest {
    request: ServiceRequest,
    emptied: bool,
}

impl PooledRequest {
    pub(super) fn new(request: HttpRequest) -> Self {
        Self {
            request: ServiceRequest::from_request(request),
            emptied: false,
        }
    }

    pub(super) fn head(&self) -> &RequestHead {
        self.request.head()
    }

    pub(super) fn query(&self) -> &str {
        self.request.query_string()
    }

    /// Gives the request back to actix-web, with its answer.
    pub(super) fn answered<B>(mut self, response: HttpResponse<B>) -> ServiceResponse<B> {
        self.empty();
        ServiceResponse::new(self.request.request().clone(), response)
    }

    fn empty(&mut self) {
        if mem::replace(&mut self.emptied, true) {
            return;
        }
        mem::take(self.request.match_info_mut().get_mut());
        empty(self.request.head_mut());
    }
}

/// Empties the head of a request that is dropped.
pub(super) fn empty(head: &mut RequestHead) {
    mem::take(&mut head.uri);
    if head.headers.capacity() > HEADERS_KEPT_MAX {
        head.headers = HeaderMap::new();
    } else {
        head.headers.clear();
    }
}

impl Drop for PooledRequest {
    fn drop(&mut self) {
        self.empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;
    use actix_web::test::TestRequest;
    use bytes::Bytes;

    const PATH: &str = "/a?b=c";

    /// A request with so many headers, whose values are parts of these bytes.
    fn request(value: &Bytes, headers: usize) -> PooledRequest {
        let mut request = TestRequest::with_uri(PATH);
        for header in 0..headers {
            let value = HeaderValue::from_maybe_shared(value.clone()).unwrap();
            request = request.append_header((format!("x-{header}"), value));
        }
        PooledRequest::new(request.to_http_request())
    }

    #[test]
    fn a_request_that_is_answered_or_dropped_keeps_nothing_of_its_head() {
        let value = Bytes::from(vec![b'a'; 100]);
        for headers in [1, 100] {
            let request = request(&value, headers);
            assert_eq!(request.head().headers.len(), headers);
            assert_eq!((request.head().uri.path(), request.query()), ("/a", "b=c"));
            let answered = request.answered(HttpResponse::Ok().finish());
            assert!(value.is_unique());
            let request = answered.request();
            assert_eq!((request.uri().path(), request.path()), ("/", "/"));
            assert!(request.headers().capacity() <= HEADERS_KEPT_MAX);
        }
        let request = request(&value, 1);
        assert!(!value.is_unique());
        drop(request);
        assert!(value.is_unique(), "actix-web has the request in its pool");
    }
}
