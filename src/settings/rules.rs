//! The rules that span several keys: no address is bound and no path is served twice, every route leads somewhere, and
//! nothing is open to others by accident.
//!
//! They look at what was walked, not at what was merged, so that a wrong value elsewhere hides none of their faults.

use std::collections::BTreeMap;

use serde_json::Value;

use super::backup::BackupTo;
use super::fault::Location;
use super::indexes;
use super::keys::{self, Key};
use super::listen::Listen;
use super::references;
use super::texts::url_path_fault;
use super::walk::Findings;
use crate::record::Schema;

const LISTEN: [&str; 2] = ["server", "listen"];
pub(super) const ADMIN: [&str; 2] = ["server", "admin"];

/// Adds what breaks the rules to the faults of the walk.
pub(super) fn check(found: &mut Findings) {
    // What stands behind a fault of the syntax may belong to another key than it seems.
    if found.faults.iter().all(|fault| !fault.key.is_empty()) {
        addresses(found);
    }
    open_admin(found);
    backup(found);
    for (prefix, location) in found.named("route") {
        let key = ["route", &prefix];
        let root = found.value_of(&["route", &prefix, "files", "root"]);
        // If something was meant to be its target, that has been told already.
        if root.is_none() && !found.is_faulty_below(&key) {
            let problem = "leads nowhere; write files = { root = \"FOLDER\" }";
            found.fault(location, &key, problem);
        }
    }
    paths(found);
    references::check(found);
    let public = listens(found, LISTEN);
    let open = public.iter().find(|listen| !listen.is_local());
    for (name, location) in found.named("resource") {
        upsert(found, &name);
        additional(found, &name);
        indexes::check(found, &name);
        if let (None, Some(address)) = (found.value_of(&["resource", &name, "access"]), open) {
            let problem = format!(
                "open to everybody who can reach {address}; if that is meant, write access = \"public\", else listen on 127.0.0.1 only"
            );
            found.fault(location, &["resource", &name], problem);
        }
    }
}

/// Refuses additional members beside no fields, and tells the schema whether there may be some.
fn additional(found: &mut Findings, resource: &str) {
    let key = ["resource", resource, "additional"];
    let [file, fields] = ["schema", "fields"].map(|name| ["resource", resource, name]);
    let additional = found.value_of(&key) == Some(&Value::Bool(true));
    if found.value_of(&file).is_some() {
        if found.value_of(&fields).is_some() {
            found.fault_of(&file, "takes the place of fields; keep one of the two");
        }
        if additional {
            let problem = "is for fields; a schema file has additionalProperties";
            found.fault_of(&key, problem);
        }
    } else if let Some(Schema::Fields(fields)) = found.schemas.get_mut(resource) {
        fields.additional = additional;
    } else if additional && !found.is_faulty_below(&["resource", resource]) {
        let problem = "is for resources with fields; without them a record has any members";
        found.fault_of(&key, problem);
    }
}

/// No two sockets can have one address. Found here it is a fault with a line; found by the system it would look as if
/// another program were there.
fn addresses(found: &mut Findings) {
    let ipv6_only = found.value_of(&["server", "ipv6_only"]) == Some(&Value::Bool(true));
    let mut bound: Vec<(Listen, Option<Location>)> = Vec::new();
    for key in [LISTEN, ADMIN] {
        let location = found.written(&key).map(|(_, location)| location.clone());
        for address in listens(found, key) {
            let other = bound
                .iter()
                .find(|(other, _)| other.collides(&address, ipv6_only));
            // Where both are defaults there is no fault; where one is, the other one was written.
            if let Some((other, told)) = other
                && let Some(location) = location.clone().or(told.clone())
            {
                let way_out = if other.collides(&address, true) {
                    "keep one of the two"
                } else {
                    "set server.ipv6_only = true"
                };
                let problem = format!(
                    "{address} can't be listened on beside {other}; choose another one, or {way_out}"
                );
                found.fault(location, &key, problem);
            }
            bound.push((address, location.clone()));
        }
    }
}

/// The addresses that are written for this key, else its default. What is not an address has been told already.
fn listens(found: &Findings, key: [&str; 2]) -> Vec<Listen> {
    let texts: Vec<&str> = match found.value_of(&key) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(one) => one.as_str().into_iter().collect(),
        None => keys::find(&key).map_or(Vec::new(), |key| key.value.split('"').collect()),
    };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Whether it can't be told what a key is, because of a fault of its own, or of one that may hide it.
pub(super) fn in_doubt(found: &Findings, path: &[&str]) -> bool {
    let own = path.join(".");
    let is_written = found.written(path).is_some();
    found.faults.iter().any(|fault| {
        let rest = own.strip_prefix(&*fault.key);
        let names_it = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        names_it || !is_written && hides(&fault.key)
    })
}

/// The text of a key that is not in doubt: what is written, or else the default, if it has one.
pub(super) fn text<'a>(found: &'a Findings, path: &[&str]) -> Option<&'a str> {
    match found.value_of(path) {
        Some(written) => written.as_str(),
        None => keys::find(path).and_then(Key::default_text),
    }
}

/// Whether a fault of this key may hide another key: the text is no TOML, or a file was not read.
fn hides(key: &str) -> bool {
    key.is_empty() || key == "include"
}

/// Whoever can reach the admin listener can order faults, so only this machine may; and can change everything, which is worth
/// a look.
fn open_admin(found: &mut Findings) {
    const ENABLED: [&str; 2] = ["chaos", "enabled"];
    let admin = listens(found, ADMIN);
    let open = admin.iter().find(|listen| !listen.is_local());
    if let Some(address) = open {
        let problem = format!(
            "everybody who can reach {address} can read and change all records, and stop parts of the daemon, without a password; write an address of this machine only, such as 127.0.0.1:3001, or unix:PATH"
        );
        found.warn_of(&ADMIN, problem);
    }
    if let (Some(Value::Bool(true)), Some(address)) = (found.value_of(&ENABLED), open) {
        let problem = format!(
            "would let everybody who can reach {address} make parts of the daemon panic; set server.admin to an address of this machine only, such as 127.0.0.1:3001, or take it out"
        );
        found.fault_of(&ENABLED, problem);
    }
}

/// All that is written about backups must have an effect.
fn backup(found: &mut Findings) {
    let Some(to) = found.value_of(&["backup", "to"]) else {
        let below = |path: &&Vec<String>| path.first().is_some_and(|first| first == "backup");
        let first = found.written.keys().find(below).cloned();
        if let Some(first) = first {
            let path: Vec<&str> = first.iter().map(String::as_str).collect();
            let problem = "has no effect without backup.to, since no backups are made; name a folder or a bucket there";
            found.warn_of(&path, problem);
        }
        return;
    };
    let to = to.as_str().and_then(|to| to.parse::<BackupTo>().ok());
    if let Some(BackupTo::Folder(_)) = to {
        for name in ["endpoint", "region", "credentials_file"] {
            let problem = "is for s3:// alone, and backup.to is a folder; take it out";
            found.fault_of(&["backup", name], problem);
        }
    }
}

/// With id = "sequence" a PUT creates no record.
fn upsert(found: &mut Findings, name: &str) {
    let upsert = ["resource", name, "upsert"];
    let id = found.value_of(&["resource", name, "id"]);
    if found.value_of(&upsert) == Some(&Value::Bool(true)) && id.is_some_and(|id| id == "sequence")
    {
        let problem = "can't be with id = \"sequence\", where a PUT creates no record; take one of the two out";
        found.fault_of(&upsert, problem);
    }
}

/// Each resource with its path. A wrong name or path has been told, and what follows from it is not the operator's fault.
pub(super) fn resource_paths(found: &Findings) -> Vec<(String, String, Location)> {
    let all = found.named("resource").into_iter();
    let paths = all.filter_map(|(name, location)| {
        let path = match found.value_of(&["resource", &name, "path"]) {
            Some(written) => written.as_str().unwrap_or_default().to_owned(),
            None => format!("/{name}"),
        };
        let fine = !name.is_empty() && url_path_fault(&path).is_none();
        fine.then_some((name, path, location))
    });
    paths.collect()
}

/// Each resource has a path of its own, outside the records of the others. A route at the address of a record is not
/// reached there.
fn paths(found: &mut Findings) {
    let routes = found.named("route");
    // Routes first: of a route and a resource with one path, the resource is told to move.
    let mut taken: BTreeMap<_, _> = routes
        .iter()
        .map(|(prefix, _)| (prefix.clone(), format!("route.{prefix:?}")))
        .collect();
    let mut resources = BTreeMap::new();
    for (name, path, location) in resource_paths(found) {
        let key = ["resource", &name];
        if path == "/" {
            let problem = "a resource can't be served at /; write path = \"/NAME\"";
            found.fault(location.clone(), &key, problem);
        }
        if let Some(other) = taken.insert(path.clone(), format!("resource.{name}")) {
            let problem = format!("{path:?} is the path of {other} already; choose another one");
            found.fault(location.clone(), &key, problem);
        }
        resources.insert(path, (name, location));
    }
    // The path above, and the resource there.
    let above = |path: &str| {
        let (above, _) = path.rsplit_once('/')?;
        Some((above.to_owned(), &resources.get(above)?.0))
    };
    for (path, (name, location)) in &resources {
        if let Some((above, other)) = above(path) {
            let problem = format!(
                "{path:?} is the address of a record of resource.{other}; choose a path outside {above:?}"
            );
            found.fault(location.clone(), &["resource", name], problem);
        }
    }
    for (prefix, location) in routes {
        if let Some((above, other)) = above(&prefix) {
            let problem = format!(
                "{prefix:?} itself is the address of a record of resource.{other}, which answers there; only what is below it leads to this route; choose a path outside {above:?}"
            );
            found.warn(location, &["route", &prefix], problem);
        }
    }
}
