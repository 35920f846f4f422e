//! The description of the API, made of the settings: the `OpenAPI` document at [`OPENAPI`], which [`DOCS`] shows, the JSON Schema of
//! each resource, and `TypeScript` types. Everything but `document` is pure.
//!
//! `shapes` has the schemas of records, `parameters` those of queries, `problems` says which request a problem is the answer
//! to, and `operations`, each of which is an `operation`, put them together for one resource. Names of parameters, codes and methods come from the tables that
//! the code itself uses.

mod batch;
mod components;
mod document;
mod operation;
mod operations;
mod parameters;
mod problems;
mod records;
mod shapes;
#[cfg(test)]
mod tests;
mod typescript;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::resource::relation_names;
use crate::settings::{ResourceSettings, Settings};
pub(crate) use document::{Document, METHODS as METHODS_OF_DOCUMENT};
use operation::{Operation, read_item, security_schemes};
use operations::{CONDITIONS_OF_READ, DescribedResource};
use parameters::QueryParameters;
use problems::Arises;
pub(crate) use typescript::typescript;

/// The path of the document.
pub(crate) const OPENAPI: &str = "/_openapi.json";
/// The path of the page that shows it.
pub(crate) const DOCS: &str = "/_docs";
/// The tag of what belongs to no resource.
const API: &str = "api";

/// The document at [`OPENAPI`].
pub(crate) fn openapi_document(settings: &Arc<Settings>) -> Document {
    let settings = Arc::clone(settings);
    Document::new("application/json", move || openapi(&settings).to_string())
}

/// The page at [`DOCS`], which needs nothing but the document.
pub(crate) fn docs_page() -> Document {
    let page = include_str!("openapi/docs.html");
    Document::new("text/html; charset=utf-8", move || page)
}

/// The JSON Schema of the records of a resource.
pub(crate) fn schema_document(name: &str, settings: &ResourceSettings) -> Document {
    let (name, settings) = (name.to_owned(), settings.clone());
    let schema = move || shapes::of_resource(&name, &settings).to_string();
    Document::new("application/schema+json", schema)
}

/// The API of these settings (`OpenAPI` 3.1).
fn openapi(settings: &Settings) -> Value {
    let mut paths = Map::new();
    let mut schemas = components::schemas();
    let mut parameters = components::parameters(settings.limits.batch.get());
    let mut tags = Vec::new();
    for (name, resource) in &settings.resources {
        let described = DescribedResource {
            name,
            settings: resource,
            parameters: QueryParameters {
                name,
                settings: resource,
                relations: relation_names(&settings.resources, name),
            },
            records_max: settings.limits.batch.get(),
        };
        paths.extend(described.paths());
        schemas.extend(described.schemas());
        parameters.extend(described.parameters.components());
        tags.push(json!({ "name": name }));
    }
    batch::add(settings, &mut paths, &mut schemas);
    for (path, id, media_type, summary) in [
        (OPENAPI, "openapi", "application/json", "This document"),
        (DOCS, "docs", "text/html", "A page that shows this document"),
    ] {
        let get = || of_document(id, media_type, summary);
        let item = read_item(METHODS_OF_DOCUMENT, API, get);
        paths.insert(path.to_owned(), item);
    }
    tags.push(json!({ "name": API, "description": "What belongs to no resource" }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Perennial",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The resources that the settings of this server declare. Every error is a problem (RFC 9457).",
        },
        "servers": [{ "url": "/" }],
        "security": [],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": parameters,
            "headers": components::headers(),
            "responses": problems::responses(),
            "securitySchemes": security_schemes(),
        },
    })
}

fn of_document(id: &str, media_type: &'static str, summary: &str) -> Operation {
    Operation::new(id.to_owned(), API, summary)
        .headers(&CONDITIONS_OF_READ)
        .answers(
            200,
            "The document",
            &["ETag", "Cache-Control"],
            vec![(
                media_type,
                json!({ "type": if media_type == "text/html" { "string" } else { "object" } }),
            )],
        )
        .not_modified()
        .fails(&[Arises::Conditional])
}
