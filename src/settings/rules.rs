//! The rules that span several keys: no address is bound and no path is served twice, every route leads somewhere, and
//! nothing is open to others by accident.
//!
//! They look at what was walked, not at what was merged, so that a wrong value elsewhere hides none of their faults.

use std::collections::BTreeMap;

use super::listen::Listen;
use super::lookup;
use super::value::{Plain, url_path_fault};
use super::violation::Place;
use super::walk::Walk;

/// Which key serves a path.
type Taken = BTreeMap<String, String>;

/// Adds what breaks the rules to the faults of the walk.
pub(super) fn check(walk: &mut Walk) {
    // What stands behind a fault of the syntax may belong to another key than it seems.
    if walk.violations.iter().all(|fault| !fault.key.is_empty()) {
        addresses(walk);
    }
    let open = open_address(walk);
    let mut taken = Taken::new();
    let named = walk.named.clone();
    // Routes first: of a route and a resource with one path, the resource is told to move.
    for (key, place) in &named {
        if let [kind, prefix] = key.as_slice()
            && kind == "route"
        {
            route(walk, key, place, prefix);
            taken.insert(prefix.clone(), format!("route.{prefix:?}"));
        }
    }
    for (key, place) in &named {
        if let [kind, name] = key.as_slice()
            && kind == "resource"
        {
            path(walk, key, place, &mut taken);
            upsert(walk, name);
            if let (None, Some(address)) = (walk.value(&["resource", name, "access"]), &open) {
                let problem = format!(
                    "open to everybody who can reach {address}; if that is meant, write access = \"public\", else listen on 127.0.0.1 only"
                );
                walk.fault(place.clone(), key, &problem);
            }
        }
    }
}

/// No two sockets can have one address. Found here it is a fault with a line; found by the system it would look as if
/// another program were there.
fn addresses(walk: &mut Walk) {
    let mut bound: Vec<(Listen, Option<Place>)> = Vec::new();
    for key in [["server", "listen"], ["server", "admin"]] {
        let place = walk.written(&key).map(|(_, place)| place.clone());
        for address in addresses_of(walk, key) {
            let other = bound.iter().find(|(other, _)| other.collides(&address));
            // Where both are defaults there is no fault; where one is, the other one was written.
            if let Some((other, told)) = other
                && let Some(place) = place.clone().or(told.clone())
            {
                let problem = format!(
                    "{address} can't be listened on beside {other}; choose another one, or keep one of the two"
                );
                walk.fault(place, &key.map(str::to_owned), &problem);
            }
            bound.push((address, place.clone()));
        }
    }
}

/// What is written for this key, else its default. What is no address has been told already.
fn addresses_of(walk: &Walk, key: [&str; 2]) -> Vec<Listen> {
    let texts: Vec<&str> = match walk.value(&key) {
        Some(Plain::Array(items)) => items.iter().filter_map(Plain::text).collect(),
        Some(one) => one.text().into_iter().collect(),
        None => lookup::find(&key).map_or(Vec::new(), |key| key.default.split('"').collect()),
    };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// An address that others than this machine can reach, or may; the default is none.
fn open_address(walk: &Walk) -> Option<Listen> {
    let Some(Plain::Array(items)) = walk.value(&["server", "listen"]) else {
        return None;
    };
    let addresses = items.iter().filter_map(Plain::text);
    addresses
        .filter_map(|text| text.parse::<Listen>().ok())
        .find(|listen| !listen.is_local())
}

fn route(walk: &mut Walk, key: &[String], place: &Place, prefix: &str) {
    let root = walk.value(&["route", prefix, "files", "root"]);
    // What was meant to be its target has been told already.
    if root.is_none() && !walk.is_faulty_below(key) {
        let problem = "leads nowhere; write files = { root = \"FOLDER\" }";
        walk.fault(place.clone(), key, problem);
    }
}

/// Where the store counts, a client can't name the record that is to be made.
fn upsert(walk: &mut Walk, name: &str) {
    let value = |key| walk.value(&["resource", name, key]);
    let counted = value("id").and_then(Plain::text) == Some("sequence");
    let Some((Plain::Bool(true), place)) = walk.written(&["resource", name, "upsert"]) else {
        return;
    };
    if counted {
        let (place, key) = (
            place.clone(),
            ["resource", name, "upsert"].map(str::to_owned),
        );
        let problem = "can't be with id = \"sequence\", where the server names records; take one of the two out";
        walk.fault(place, &key, problem);
    }
}

fn path(walk: &mut Walk, key: &[String], place: &Place, taken: &mut Taken) {
    let name = key.last().map_or("", String::as_str);
    let path = match walk.value(&["resource", name, "path"]) {
        Some(written) => written.text().unwrap_or_default().to_owned(),
        None => format!("/{name}"),
    };
    // A name that is none has been told, and what follows from it is none of the operator's.
    if name.is_empty() || url_path_fault(&path).is_some() {
        return;
    }
    if path == "/" {
        let problem = "a resource can't be served at /; write path = \"/NAME\"";
        walk.fault(place.clone(), key, problem);
    }
    if let Some(other) = taken.insert(path.clone(), format!("resource.{name}")) {
        let problem = format!("{path:?} is the path of {other} already; choose another one");
        walk.fault(place.clone(), key, &problem);
    }
}
