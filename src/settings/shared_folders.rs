//! Warns of a folder that only some clients may read by one route, and others by another one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::auth::{AccessSettings, AllowedClients};
use super::findings::Findings;

/// The path of a route, and its real folder.
pub(super) type ServedFolder = (String, PathBuf);

/// Warns of each route with keys whose folder another route serves to other clients.
pub(super) fn check(found: &mut Findings, served: &[ServedFolder]) {
    let readers = |found: &Findings, route: &str| {
        let written = found.value_of(&["route", route, "access"]);
        let access = written.and_then(|written| AccessSettings::read(written).ok());
        access.unwrap_or_default().read
    };
    let routes: HashSet<_> = served.iter().map(|(route, _)| route.as_str()).collect();
    let mut by_folder = HashMap::<_, Vec<_>>::new();
    for (route, folder) in served {
        by_folder
            .entry(folder.as_path())
            .or_default()
            .push(route.as_str());
    }
    for (route, folder) in served {
        let own = readers(found, route);
        if own == AllowedClients::Public {
            continue;
        }
        for above in folder.ancestors() {
            for other in by_folder.get(above).into_iter().flatten() {
                let address = address(other, folder.strip_prefix(above).unwrap_or(above));
                // A longer route may have that address.
                let answers = longest(&address, |prefix| routes.contains(prefix)) == Some(other);
                if answers && other != route && readers(found, other) != own {
                    let problem = format!(
                        "does not protect the folder alone: route.{other:?} serves it, too, at {address:?}, to other clients; give that route or one at {address:?} the same access"
                    );
                    found.warn_of(&["route", route, "access"], problem);
                }
            }
        }
    }
}

/// The path of a folder below a route.
fn address(route: &str, below: &Path) -> String {
    let mut address = route.trim_end_matches('/').to_owned();
    for name in below {
        address.push('/');
        address.push_str(&name.to_string_lossy());
    }
    if address.is_empty() {
        "/".to_owned()
    } else {
        address
    }
}

/// The longest route that has an address.
fn longest(address: &str, is_route: impl Fn(&str) -> bool) -> Option<&str> {
    let ends = address.match_indices('/').rev().map(|(at, _)| at);
    let mut prefixes = std::iter::once(address.len()).chain(ends);
    prefixes.find_map(|end| {
        let prefix = address.get(..end)?;
        let prefix = if prefix.is_empty() { "/" } else { prefix };
        is_route(prefix).then_some(prefix)
    })
}
