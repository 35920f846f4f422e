//! Requests of the daemon itself to what is new, before anybody else's: whether folders can be read, and whether routes answer.

use std::collections::HashSet;
use std::future::Future;

use futures_util::stream::{self, StreamExt as _};

use super::waiting::wait_while;
use crate::admin::NotReloaded;
use crate::api::{Route, Site};
use crate::file_cache::RootHandle;
use crate::settings::{NodeChange, Settings, node_name};
use crate::wire::Edition;

/// Folders and routes that are asked at a time.
const AT_A_TIME: usize = 64;

/// Looks whether new folders can be read.
pub(super) fn look_at_folders(
    next: &Edition<Site>,
    wanted: impl Fn() -> Result<(), NotReloaded>,
) -> Result<(), NotReloaded> {
    let probes = next.responder.routes.roots().map(RootHandle::probe);
    let looked_at = wait_while(wanted, together(probes))?.into_iter();
    refuse(looked_at.filter_map(|looked| Some(looked.err()?.to_string())))
}

/// Asks each route that was added or changed.
pub(super) fn ask_routes(
    next: &Edition<Site>,
    before: &Edition<Site>,
    settings: &Settings,
    changes: &[NodeChange],
    wanted: impl Fn() -> Result<(), NotReloaded>,
) -> Result<(), NotReloaded> {
    let patterns = changed(settings, changes);
    let routes = next.responder.routes.all();
    let asked = routes.filter(|route| patterns.contains(&*route.pattern));
    let asked = asked.map(|route| fault(route, next, before));
    refuse(wait_while(wanted, together(asked))?.into_iter().flatten())
}

fn refuse(faults: impl Iterator<Item = String>) -> Result<(), NotReloaded> {
    let faults: Vec<_> = faults.collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(NotReloaded::Unusable(faults))
}

/// The results of all, in their order.
async fn together<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(all).buffered(AT_A_TIME).collect().await
}

/// The patterns of the routes that are added or change. A resource that is added is asked, too: the store has no record of
/// it, or those that were kept when it was removed.
fn changed<'a>(settings: &'a Settings, changes: &[NodeChange]) -> HashSet<&'a str> {
    let nodes: HashSet<&str> = changes.iter().map(|change| &*change.node).collect();
    let routes = settings.routes.keys();
    let routes = routes.map(|prefix| (node_name("route", prefix), prefix));
    let resources = settings.resources.iter();
    let resources = resources.map(|(name, is)| (node_name("resource", name), &is.path));
    routes
        .chain(resources)
        .filter(|(node, _)| nodes.contains(&**node))
        .map(|(_, pattern)| pattern.as_str())
        .collect()
}

/// The reason why a route can't be put in force: it answers with an error of the server, and did not before.
async fn fault(route: &Route, next: &Edition<Site>, before: &Edition<Site>) -> Option<String> {
    let url = route.own_url();
    let failed = async |edition: &Edition<Site>| match edition.ask_itself(&url).await {
        Ok(status) if status.is_server_error() => Some(format!("was answered {status}")),
        Ok(_) => None,
        Err(error) => Some(format!("failed: {error}")),
    };
    let fault = failed(next).await?;
    let known = before.responder.routes.all();
    let mut known = known.filter(|known| known.pattern == route.pattern);
    if known.next().is_some() && failed(before).await.is_some() {
        return None;
    }
    let pattern = &route.pattern;
    Some(format!(
        "route {pattern}: a GET of {url} by the daemon itself {fault}; the log may say more"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ResourceSettings;

    #[test]
    fn each_route_and_resource_that_is_added_or_changed_is_asked() {
        let mut settings = Settings::default();
        let resources = &mut settings.resources;
        for path in ["/books", "/albums", "/pens"] {
            resources.insert(
                path.trim_start_matches('/').to_owned(),
                ResourceSettings::at(path),
            );
        }
        let changes = [
            "route.\"/\" live",
            "resource.books added",
            "resource.pens live",
            "resource.cups removed",
            "limits live",
        ];
        let changes: Vec<NodeChange> = changes
            .iter()
            .map(|text| {
                let (node, change) = text.rsplit_once(' ').unwrap();
                let change = serde_json::json!({ "node": node, "change": change, "keys": [] });
                serde_json::from_value(change).unwrap()
            })
            .collect();
        let asked = changed(&settings, &changes);
        assert_eq!(asked, HashSet::from(["/", "/books", "/pens"]));
    }
}
