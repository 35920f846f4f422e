//! A resource as a whole: the list, making records, and deleting by example.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};

use super::super::conditional::{Evaluated, evaluate};
use super::super::edge::Edge;
use super::super::refused::failed_condition;
use super::super::routes::ResourceTarget;
use super::dialect::BodyOf;
use super::{
    Answered, array, json, later, negotiation, options, prefers, read_object, set_no_cache,
};
use crate::record::{
    Conditions, Handling, IdScheme, ListQuery, RecordId, RuleViolation, WriteCommand,
};
use crate::wire::Incoming;
use crate::wire::{Code, Problem};

/// Answers a request for the resource as a whole.
pub(crate) async fn answer(
    edge: &Edge,
    target: &ResourceTarget,
    request: &mut Incoming,
) -> Answered {
    let allowed = target.settings.collection_methods();
    if *request.method() == Method::OPTIONS {
        return Ok(options(allowed, &target.settings, BodyOf::Post));
    }
    negotiation::must_take_json(request.headers())?;
    later::refuse(request)?;
    match *request.method() {
        Method::GET | Method::HEAD => list(edge, target, request).await,
        Method::POST => create(edge, target, request).await,
        Method::DELETE if target.settings.delete_matching => {
            delete_matching(edge, target, request).await
        }
        _ => Err(Problem::not_allowed(allowed)),
    }
}

async fn list(edge: &Edge, target: &ResourceTarget, request: &Incoming) -> Answered {
    let lenient = prefers(request.headers(), "handling", "lenient");
    let handling = if lenient {
        Handling::Lenient
    } else {
        Handling::Strict
    };
    let query = ListQuery::parse(request.query(), &target.settings.schema, handling)?;
    let page = edge.store.query(target.collection, &query).await?;
    let etag = format!("W/\"{}\"", page.seq);
    let mut response = match evaluate(&request.request, etag.as_bytes(), None) {
        Evaluated::Proceed => json(StatusCode::OK, array(&page.records)),
        Evaluated::NotModified => {
            HttpResponse::with_body(StatusCode::NOT_MODIFIED, BoxBody::new(()))
        }
        Evaluated::Failed => return Err(failed_condition(&etag)),
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    let total = HeaderName::from_static("x-total-count");
    headers.insert(total, HeaderValue::from(page.total));
    headers.insert(header::VARY, HeaderValue::from_static("Prefer"));
    if let Some(links) = links(&target.url, &query, page.total) {
        headers.insert(header::LINK, links);
    }
    if lenient {
        let applied = HeaderName::from_static("preference-applied");
        headers.insert(applied, HeaderValue::from_static("handling=lenient"));
    }
    set_no_cache(&mut response);
    Ok(response)
}

/// RFC 8288 section 3; relative, since nobody here knows under which name clients reach us.
fn links(path: &str, query: &ListQuery, total: u64) -> Option<HeaderValue> {
    let links: Vec<_> = query
        .links(total)
        .into_iter()
        .map(|(rel, query)| format!("<{path}?{query}>; rel=\"{rel}\""))
        .collect();
    if links.is_empty() {
        return None;
    }
    HeaderValue::from_str(&links.join(", ")).ok()
}

async fn create(edge: &Edge, target: &ResourceTarget, request: &mut Incoming) -> Answered {
    let resource = &target.settings;
    resource.must_read(BodyOf::Post, request.headers())?;
    let (mut object, bytes) = read_object(edge, request).await?;
    let id = object.id(resource.ids)?;
    let mut violations: Vec<_> = id_violation(resource.ids, id.as_ref())
        .into_iter()
        .collect();
    if let Err(more) = resource.check(&mut object) {
        violations.extend(more);
    }
    if !violations.is_empty() {
        return Err(violations.into());
    }
    let command = match resource.ids {
        IdScheme::Sequence => WriteCommand::CreateNumbered {
            members: object.without_id(),
        },
        IdScheme::Uuid | IdScheme::Client => {
            let id = id.unwrap_or_else(|| RecordId::from_uuid(uuid::Uuid::now_v7()));
            let json = object.text(&id);
            WriteCommand::Create { id, json }
        }
    };
    super::write(edge, target, request, command, Conditions::default(), bytes).await
}

/// Who gives the id is a rule of the resource.
fn id_violation(scheme: IdScheme, id: Option<&RecordId>) -> Option<RuleViolation> {
    match (scheme, id) {
        (IdScheme::Sequence, Some(_)) => Some(RuleViolation::id_given()),
        (IdScheme::Client, None) => Some(RuleViolation::id_required()),
        (IdScheme::Uuid, _) | (IdScheme::Sequence, None) | (IdScheme::Client, Some(_)) => None,
    }
}

/// Deletes the records that are equal to the body in all its members, and answers with them.
async fn delete_matching(edge: &Edge, target: &ResourceTarget, request: &mut Incoming) -> Answered {
    if !request.query().is_empty() {
        return Err(Problem::not_available("DELETE with a query"));
    }
    if !request.has_body() {
        let detail = "send an example: what is equal to it in all its members is deleted";
        return Err(Problem::new(Code::InvalidParameter).detail(detail));
    }
    target
        .settings
        .must_read(BodyOf::Other, request.headers())?;
    let (example, bytes) = read_object(edge, request).await?;
    if example.members().is_empty() {
        let detail =
            "the example must have at least one member: an empty one would delete everything";
        return Err(Problem::new(Code::InvalidParameter).detail(detail));
    }
    let command = WriteCommand::DeleteMatching { example };
    super::write(edge, target, request, command, Conditions::default(), bytes).await
}
