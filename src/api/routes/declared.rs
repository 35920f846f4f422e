//! The routes that the settings declare.

use std::sync::Arc;

use super::super::batch::BATCH;
use super::super::identities::Identities;
use super::super::openapi::{DOCS, OPENAPI, docs_page, openapi_document};
use super::super::respond::FixedAnswer;
use super::access::AccessRule;
use super::cors::CorsRule;
use super::rules::RouteRules;
use super::table::{ResourceTarget, Route, RouteTable, Target};
use crate::file_cache::{CacheRules, ContentTypes, Patterns, RootFault, RootHandle, SiteRoot};
use crate::settings::{
    FolderSettings, RoutePlace, RouteSettings, RuleSettings, Settings, TargetSettings,
};
use crate::storage::CollectionId;
use crate::wire::RoutePatterns;

/// The table of the routes. `root` gives the handle of a folder, `collection` finds the records of a resource by its name. Routes
/// that there were in the table `before` go on with their queues.
pub(crate) fn declared(
    settings: &Arc<Settings>,
    patterns: &RoutePatterns,
    before: Option<&RouteTable>,
    root: impl Fn(SiteRoot) -> Result<RootHandle, RootFault>,
    collection: impl Fn(&str) -> Option<CollectionId>,
) -> Result<RouteTable, RootFault> {
    let identities = Identities::new(&settings.auth, before.map(|before| &*before.identities));
    let before = before.map(RouteTable::rules).unwrap_or_default();
    // A scope names a route by its path, and a resource by its name.
    let route = |pattern: &str, name: &str, rules: &RuleSettings, target| {
        let place = RoutePlace::of(pattern);
        let access = AccessRule::new(&rules.access, name, &identities);
        Route {
            pattern: pattern.to_owned(),
            host: place.host.map(str::to_owned),
            path: place.path.to_owned(),
            number: patterns.number(pattern),
            rules: RouteRules::new(rules, access, before.get(pattern).copied()),
            target,
        }
    };
    // The welcome page is shown only where no route was written.
    let welcome = settings.routes.len() == 1 && settings.routes == Settings::default().routes;
    let mut routes = Vec::new();
    for (prefix, written) in &settings.routes {
        let target = match &written.target {
            TargetSettings::Files(folder) => {
                Target::Files(root(site_root(prefix, written, folder, welcome))?)
            }
            TargetSettings::Redirect(redirect) => Target::Redirect(Box::new(redirect.clone())),
            TargetSettings::Respond(respond) => Target::Respond(FixedAnswer::new(respond)),
        };
        routes.push(route(prefix, prefix, &written.rules, target));
    }
    for (name, written) in &settings.resources {
        if let Some(collection) = collection(name) {
            let target = ResourceTarget::new(collection, name, written.clone());
            let target = Target::Resource(Box::new(target));
            routes.push(route(&written.path, name, &written.rules, target));
        }
    }
    if !settings.resources.is_empty() {
        let resources = routes
            .iter()
            .filter(|route| matches!(route.target, Target::Resource(_)));
        let cors = CorsRule::common(resources.map(|route| &route.rules.cors));
        let of_all = |path: &str, target| {
            let mut route = route(path, path, &RuleSettings::default(), target);
            route.rules.cors = cors.clone();
            route
        };
        let documents = [(OPENAPI, openapi_document(settings)), (DOCS, docs_page())];
        let documents = documents.map(|(path, document)| of_all(path, Target::Document(document)));
        let batch = of_all(BATCH, Target::Batch);
        routes.push(batch);
        routes.extend(documents);
    }
    let mut table = RouteTable::new(routes);
    table.identities = identities;
    Ok(table)
}

/// The folder of a route.
fn site_root(
    prefix: &str,
    written: &RouteSettings,
    folder: &FolderSettings,
    built_in: bool,
) -> SiteRoot {
    SiteRoot {
        route: prefix.to_owned(),
        path: folder.root.clone(),
        index: folder.index.clone(),
        clean_urls: folder.clean_urls,
        listing: folder.listing,
        fallback: folder.fallback.clone(),
        built_in,
        compress: folder.compress.clone(),
        precompressed: folder.precompressed.clone(),
        cache: CacheRules::new(&written.cache),
        types: ContentTypes::new(&written.types),
        downloads: Patterns::new(&folder.download),
    }
}
