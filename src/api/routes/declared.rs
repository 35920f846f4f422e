//! The routes that the settings declare.

use super::rules::RouteRules;
use super::table::{ResourceTarget, RouteTable, Target};
use crate::file_cache::{CacheRules, ContentTypes, RootFault, RootHandle, SiteRoot};
use crate::settings::{Settings, TargetSettings};
use crate::storage::CollectionId;

/// The table of the routes. `root` gives the handle of a folder, `collection` finds the records of a resource by its name.
pub(crate) fn declared(
    settings: &Settings,
    root: impl Fn(SiteRoot) -> Result<RootHandle, RootFault>,
    collection: impl Fn(&str) -> Option<CollectionId>,
) -> Result<RouteTable, RootFault> {
    // The welcome page is shown only where no route was written.
    let welcome = settings.routes == Settings::default().routes;
    let mut table = Vec::new();
    for (prefix, route) in &settings.routes {
        let TargetSettings::Files(folder) = &route.target;
        let root = root(SiteRoot {
            route: prefix.clone(),
            path: folder.root.clone(),
            index: folder.index.clone(),
            built_in: welcome,
            cache: CacheRules::new(&route.cache),
            types: ContentTypes::new(&route.types),
        })?;
        let rules = RouteRules::new(&route.rules);
        table.push((prefix.clone(), rules, Target::Files(root)));
    }
    for (name, resource) in &settings.resources {
        if let Some(collection) = collection(name) {
            let target = ResourceTarget::new(collection, resource.clone());
            let rules = RouteRules::new(&resource.rules);
            table.push((resource.path.clone(), rules, Target::Resource(target)));
        }
    }
    Ok(RouteTable::new(table))
}
