//! Requests of the daemon itself to what is new, before anybody else's: whether folders can be read, and whether routes answer.

use std::collections::HashSet;
use std::future::Future;

use futures_util::stream::{self, StreamExt as _};

use super::wait_for;
use crate::admin::NotReloaded;
use crate::api::{Route, Site};
use crate::file_cache::RootHandle;
use crate::settings::{Changed, NodeChange, Settings, node_name};
use crate::wire::Edition;

/// Folders and routes that are asked at a time.
const AT_A_TIME: usize = 64;

/// Looks whether new folders can be read, and then whether each route that was added or changed answers.
pub(super) fn ask(
    next: &Edition<Site>,
    before: &Edition<Site>,
    settings: &Settings,
    changes: &[NodeChange],
) -> Result<(), NotReloaded> {
    let routes = &next.responder.routes;
    let probes = routes.roots().map(RootHandle::probe);
    let looked_at = wait_for(together(probes))?.into_iter();
    refuse(looked_at.filter_map(|looked| Some(looked.err()?.to_string())))?;
    let patterns = changed(settings, changes);
    let asked = routes
        .all()
        .filter(|route| patterns.contains(&*route.pattern));
    let asked = asked.map(|route| fault(route, next, before));
    refuse(wait_for(together(asked))?.into_iter().flatten())
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

/// The patterns of the routes that change. A resource that is added has nothing to be asked for before the store has it.
fn changed<'a>(settings: &'a Settings, changes: &[NodeChange]) -> HashSet<&'a str> {
    let is_there = |change: &&NodeChange| {
        change.change != Changed::Added || !change.node.starts_with("resource.")
    };
    let nodes = changes.iter().filter(is_there);
    let nodes: HashSet<&str> = nodes.map(|change| &*change.node).collect();
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
