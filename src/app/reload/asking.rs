//! Requests of the daemon itself to what is new, before anybody else's: whether folders can be read, and whether routes answer.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use futures_util::future;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep};

use super::waiting::wait_while;
use crate::admin::NotReloaded;
use crate::api::{Route, Site};
use crate::file_cache::{RootHandle, probe_new};
use crate::settings::{NodeChange, Settings, node_name};
use crate::wire::Edition;

/// Routes that are asked at a time: few, so that no client waits behind them.
const AT_A_TIME: usize = 4;
/// The pause before a route is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// The routes that are asked.
#[derive(Clone, Copy)]
pub(super) struct AskedRoutes<'a> {
    /// Those that were added or changed.
    pub(super) changes: &'a [NodeChange],
    /// Whether those of resources are among them.
    pub(super) resources: bool,
}

/// Looks whether new folders can be read.
pub(super) fn look_at_folders(
    next: &Edition<Site>,
    wanted: impl Fn() -> Result<(), NotReloaded>,
) -> Result<(), NotReloaded> {
    let faults = wait_while(wanted, probe_new(next.responder.routes.roots()))?;
    refuse(faults.iter().map(ToString::to_string))
}

/// Asks the routes that were added or changed.
pub(super) fn ask_routes(
    next: &Edition<Site>,
    before: &Edition<Site>,
    asked: AskedRoutes<'_>,
    wanted: impl Fn() -> Result<(), NotReloaded>,
) -> Result<(), NotReloaded> {
    let settings = &next.responder.settings;
    let patterns = changed(settings, asked);
    let known = before.responder.routes.all();
    let asking = RouteQuestions {
        next,
        before,
        known: known.map(|route| &*route.pattern).collect(),
        patience: settings.supervision.start_timeout,
        exhausted: Cell::new(false),
    };
    let faults = stream::iter(asking.asked(&patterns))
        .map(|route| asking.fault(route))
        .buffered(AT_A_TIME)
        .filter_map(future::ready)
        .collect::<Vec<_>>();
    refuse(wait_while(wanted, faults)?.into_iter())
}

fn refuse(faults: impl Iterator<Item = String>) -> Result<(), NotReloaded> {
    let faults: Vec<_> = faults.collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(NotReloaded::Unusable(faults))
}

/// The patterns of the routes that are added or change. A resource that is added is asked, too: the store has no record of
/// it, or those that were kept when it was removed.
fn changed<'a>(settings: &'a Settings, asked: AskedRoutes<'_>) -> HashSet<&'a str> {
    let nodes: HashSet<&str> = asked.changes.iter().map(|change| &*change.node).collect();
    let routes = settings.routes.keys();
    let routes = routes.map(|prefix| (node_name("route", prefix), prefix));
    let resources = settings.resources.iter().filter(|_| asked.resources);
    let resources = resources.map(|(name, is)| (node_name("resource", name), &is.path));
    routes
        .chain(resources)
        .filter(|(node, _)| nodes.contains(&**node))
        .map(|(_, pattern)| pattern.as_str())
        .collect()
}

/// Asks the routes of the next edition.
struct RouteQuestions<'a> {
    next: &'a Edition<Site>,
    before: &'a Edition<Site>,
    /// The patterns of its routes.
    known: HashSet<&'a str>,
    /// The time for which a route that does not answer in time is asked again.
    patience: Duration,
    /// Whether one has not answered in all that time: then the others are not waited for.
    exhausted: Cell<bool>,
}

impl RouteQuestions<'_> {
    /// The routes with these patterns, one for each folder: the answers of the others of that folder would be the same.
    fn asked(&self, patterns: &HashSet<&str>) -> Vec<&Route> {
        let routes = self.next.responder.routes.all();
        let mut routes: Vec<_> = routes
            .filter(|route| patterns.contains(&*route.pattern))
            .collect();
        // A new one tells most: it has no answer of before.
        routes.sort_by_key(|route| self.is_known(route));
        let mut folders = HashSet::new();
        routes.retain(|route| {
            let site = route.target.root().map(RootHandle::site);
            site.is_none_or(|site| folders.insert((&site.path, &site.index, site.built_in)))
        });
        routes
    }

    /// Whether the edition before has such a route.
    fn is_known(&self, route: &Route) -> bool {
        self.known.contains(&*route.pattern)
    }

    /// The reason why a route can't be put in force: it answers with an error of the server, and did not before. It is asked again
    /// if it may only be slow, as on a machine that is busy.
    async fn fault(&self, route: &Route) -> Option<String> {
        let url = route.own_url()?;
        let until = Instant::now() + self.patience;
        loop {
            let fault = self.next.own_fault(&url).await?;
            if self.is_known(route) && self.before.own_fault(&url).await.is_some() {
                return None;
            }
            if !fault.may_pass || self.exhausted.get() || Instant::now() >= until {
                self.exhausted.set(fault.may_pass || self.exhausted.get());
                let (pattern, told) = (&route.pattern, fault.told);
                return Some(format!(
                    "route {pattern}: a GET of {url} by the daemon itself {told}; the log may say more"
                ));
            }
            sleep(AGAIN).await;
        }
    }
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
        for (resources, patterns) in [(true, &["/", "/books", "/pens"][..]), (false, &["/"])] {
            let changes = &changes;
            let asked = changed(&settings, AskedRoutes { changes, resources });
            let patterns: HashSet<&str> = patterns.iter().copied().collect();
            assert_eq!(asked, patterns);
        }
    }
}
