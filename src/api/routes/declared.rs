//! The routes that the settings declare.

use super::super::batch::BATCH;
use super::super::openapi::{DOCS, OPENAPI, docs_page, openapi_document};
use super::rules::RouteRules;
use super::table::{ResourceTarget, Route, RouteTable, Target};
use crate::file_cache::{CacheRules, ContentTypes, RootFault, RootHandle, SiteRoot};
use crate::settings::{RuleSettings, Settings, TargetSettings};
use crate::storage::CollectionId;
use crate::wire::RoutePatterns;

/// The table of the routes. `root` gives the handle of a folder, `collection` finds the records of a resource by its name. Routes
/// that there were in the table `before` go on with their queues.
pub(crate) fn declared(
    settings: &Settings,
    patterns: &RoutePatterns,
    before: Option<&RouteTable>,
    root: impl Fn(SiteRoot) -> Result<RootHandle, RootFault>,
    collection: impl Fn(&str) -> Option<CollectionId>,
) -> Result<RouteTable, RootFault> {
    let before = before.map(RouteTable::rules).unwrap_or_default();
    let route = |pattern: &str, rules: &RuleSettings, target| Route {
        pattern: pattern.to_owned(),
        number: patterns.number(pattern),
        rules: RouteRules::new(rules, before.get(pattern).copied()),
        target,
    };
    // The welcome page is shown only where no route was written.
    let welcome = settings.routes.len() == 1 && settings.routes == Settings::default().routes;
    let mut routes = Vec::new();
    for (prefix, written) in &settings.routes {
        let TargetSettings::Files(folder) = &written.target;
        let root = root(SiteRoot {
            route: prefix.clone(),
            path: folder.root.clone(),
            index: folder.index.clone(),
            built_in: welcome,
            cache: CacheRules::new(&written.cache),
            types: ContentTypes::new(&written.types),
        })?;
        routes.push(route(prefix, &written.rules, Target::Files(root)));
    }
    for (name, written) in &settings.resources {
        if let Some(collection) = collection(name) {
            let target = Target::Resource(ResourceTarget::new(collection, name, written.clone()));
            routes.push(route(&written.path, &written.rules, target));
        }
    }
    if !settings.resources.is_empty() {
        let rules = RuleSettings::default();
        routes.push(route(BATCH, &rules, Target::Batch));
        for (path, document) in [(OPENAPI, openapi_document(settings)), (DOCS, docs_page())] {
            routes.push(route(path, &rules, Target::Document(document)));
        }
    }
    Ok(RouteTable::new(routes))
}
