//! The rules that span several keys: no address is bound and no path is served twice, every route leads somewhere, and
//! nothing is open to others by accident.
//!
//! They look at what was walked, not at what was merged, so that a wrong value elsewhere hides none of their faults.

use std::collections::BTreeMap;

use serde_json::Value;

use super::backup::BackupTo;
use super::clients;
use super::fault::{Location, node_name, shown};
use super::findings::Findings;
use super::indexes;
use super::key_path::KeyPath;
use super::keys::{self, Key};
use super::listen::Listen;
use super::references;
use super::texts::url_path_fault;
use super::tls;
use super::token_keys;
use crate::record::Schema;

const LISTEN: [&str; 2] = ["server", "listen"];
pub(super) const TLS_LISTEN: [&str; 2] = ["tls", "listen"];
pub(super) const ADMIN: [&str; 2] = ["server", "admin"];

/// Adds what breaks the rules to the faults of the walk.
pub(super) fn check(found: &mut Findings) {
    // What stands behind a fault of the syntax may belong to another key than it seems.
    if found.faults.iter().all(|fault| !fault.key.is_empty()) {
        addresses(found);
    }
    open_admin(found);
    tls::check(found);
    backup(found);
    for (prefix, location) in found.located("route") {
        target(found, &prefix, location);
    }
    for kind in ["route", "resource"] {
        for (name, _) in found.located(kind) {
            cors(found, [kind, &name]);
            rate(found, [kind, &name]);
        }
    }
    clients::check(found);
    token_keys::check(found);
    paths(found);
    references::check(found);
    let mut public = listens(found, LISTEN);
    public.extend(listens(found, TLS_LISTEN));
    let open = public.iter().find(|listen| !listen.is_local());
    for (name, location) in found.located("resource") {
        upsert(found, &name);
        additional(found, &name);
        clients::owner(found, &name);
        indexes::check(found, &name);
        if let (None, Some(address)) = (found.value_of(&["resource", &name, "access"]), open) {
            let problem = format!(
                "open to everybody who can reach {address}; if that is meant, write access = \"public\", else name the keys that may use it, such as access = [\"key:ci\"], or listen on 127.0.0.1 only"
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

/// One address that is to be listened on.
struct BoundAddress {
    address: Listen,
    key: [&'static str; 2],
    /// The location of the key; `None` if it has its default.
    location: Option<Location>,
}

/// No two sockets can have one address. Found here it is a fault with a line; found by the system it would look as if
/// another program were there.
fn addresses(found: &mut Findings) {
    let ipv6_only = found.value_of(&["server", "ipv6_only"]) == Some(&Value::Bool(true));
    let mut bound: Vec<BoundAddress> = Vec::new();
    for key in [LISTEN, TLS_LISTEN, ADMIN] {
        let location = found.written(&key).map(|(_, location)| location.clone());
        for address in listens(found, key) {
            let new = BoundAddress {
                address,
                key,
                location: location.clone(),
            };
            let mut others = bound.iter();
            let other = others.find(|other| other.address.collides(&new.address, ipv6_only));
            if let Some(other) = other {
                // The fault is of a key that was written. Where both have their defaults there is none.
                let (told, beside) = match new.location {
                    Some(_) => (&new, other),
                    None => (other, &new),
                };
                if let Some(location) = told.location.clone() {
                    found.fault(location, &told.key, told.collision(beside));
                }
            }
            bound.push(new);
        }
    }
}

impl BoundAddress {
    /// The fault of an address that can't be listened on beside another one.
    fn collision(&self, other: &Self) -> String {
        let BoundAddress { address, .. } = self;
        let of = match &other.location {
            _ if other.key == self.key => String::new(),
            Some(location) => format!(", which is {} at {location}", other.key.join(".")),
            None => format!(", which {} is by default", other.key.join(".")),
        };
        let way_out = if !other.address.collides(address, true) {
            ", or set server.ipv6_only = true"
        } else if other.key == self.key {
            ", or keep one of the two"
        } else {
            ""
        };
        format!(
            "{address} can't be listened on beside {}{of}; choose another one{way_out}",
            other.address
        )
    }
}

/// The addresses that are written for this key, else its default. What is not an address has been told already.
fn listens(found: &Findings, key: [&str; 2]) -> Vec<Listen> {
    let texts: Vec<&str> = match found.value_of(&key) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(one) => one.as_str().into_iter().collect(),
        None => {
            let default = keys::find(&key).filter(|key| key.has_default);
            default.map_or(Vec::new(), |key| key.value.split('"').collect())
        }
    };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Whether it can't be told what a key is, because of a fault of its own, or of one that may hide it.
pub(super) fn in_doubt(found: &Findings, path: &[&str]) -> bool {
    let own = path.join(".");
    let is_written = found.written(path).is_some();
    found
        .faults
        .iter()
        .any(|fault| is_within(&own, &fault.key) || !is_written && hides(&fault.key))
}

/// Whether it can't be told what the keys of a part are, because one of them has a fault, or another one that may hide them.
pub(super) fn part_in_doubt(found: &Findings, part: &[&str]) -> bool {
    let own = part.join(".");
    let mut faults = found.faults.iter().map(|fault| &*fault.key);
    faults.any(|key| hides(key) || is_within(key, &own) || is_within(&own, key))
}

/// Whether something may be written in this part of the settings that could not be read, so that what looks for it there finds
/// nothing. That is told once, where it was written.
pub(super) fn may_lack(found: &Findings, part: &[&str]) -> bool {
    let own = shown(part);
    let mut faults = found.faults.iter().map(|fault| &*fault.key);
    faults.any(|key| hides(key) || is_within(key, &own))
}

/// Whether a key is this part of the settings or stands in it.
fn is_within(key: &str, part: &str) -> bool {
    let rest = key.strip_prefix(part);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
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
        let backup = KeyPath::of(&["backup"]);
        let below = |path: &&KeyPath| path.begins_with(&backup);
        let first = found.written.keys().find(below).cloned();
        if let Some(path) = first {
            let path = path.parts();
            let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
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

/// The targets of routes that have no files: the key that makes a route one, the table, and what it is.
const WITHOUT_FILES: [(&str, &str, &str); 2] = [
    ("to", "redirect", "sends clients elsewhere"),
    ("status", "respond", "has an answer of its own"),
];

/// Each route has one target, and nothing that is about another one.
fn target(found: &mut Findings, route: &str, location: Location) {
    let is_written = |of: [&str; 2]| found.value_of(&["route", route, of[0], of[1]]).is_some();
    let root = is_written(["files", "root"]);
    let others = WITHOUT_FILES
        .into_iter()
        .filter(|(key, table, _)| is_written([table, key]));
    let others: Vec<_> = others.collect();
    let Some((_, name, what)) = others.first() else {
        // If something was meant to be its target, that has been told already.
        if !root && !found.is_faulty_below(&["route", route]) {
            let problem = "leads nowhere; write files = { root = \"FOLDER\" }, redirect = { to = \"/NEW{path}\" }, or respond = { status = 410 }";
            found.fault(location, &["route", route], problem);
        }
        return;
    };
    for (table, location) in found.located_in(&["route", route]) {
        let is_other = others.iter().skip(1).any(|(_, other, _)| *other == table);
        if is_other || ["files", "cache", "types", "errors"].contains(&&*table) {
            let problem = format!("can't be with {name}, which {what}; take one of the two out");
            found.fault(location, &["route", route, &table], problem);
        }
    }
    for key in ["cache", "types", "errors"] {
        let key = ["route", route, key];
        if found.value_of(&key).is_some() {
            let problem = format!("is about files, and the route is a {name}; take it out");
            found.fault_of(&key, problem);
        }
    }
    respond(found, route);
}

/// Some answers have no body (RFC 9110 section 6.4.1).
fn respond(found: &mut Findings, route: &str) {
    let [status, body, kind] =
        ["status", "body", "content_type"].map(|name| ["route", route, "respond", name]);
    let status = found.value_of(&status).and_then(Value::as_u64);
    let has_body = found.value_of(&body).is_some();
    if has_body && matches!(status, Some(204 | 205 | 304)) {
        let problem = "can't be with a status that has no body; take one of the two out";
        found.fault_of(&body, problem);
    }
    if !has_body && !in_doubt(found, &body) {
        let problem = "has no effect without a body; write one, or take it out";
        found.warn_of(&kind, problem);
    }
}

/// A rate has a number of requests.
fn rate(found: &mut Findings, of: [&str; 2]) {
    let tables = found.located_in(&of);
    let Some((_, location)) = tables.into_iter().find(|(name, _)| name == "rate") else {
        return;
    };
    let rate = [of[0], of[1], "rate"];
    let requests = [of[0], of[1], "rate", "requests"];
    if found.value_of(&requests).is_none() && !found.is_faulty_below(&rate) {
        let problem = "has no requests; write the number that a client may send within a window, such as rate = { requests = 100 }";
        found.fault(location, &rate, problem);
    }
}

/// A browser sends no credentials where every origin is allowed (Fetch standard, section 3.3.5), and none are asked for without
/// an origin.
fn cors(found: &mut Findings, of: [&str; 2]) {
    let [origins, credentials] =
        ["origins", "credentials"].map(|name| [of[0], of[1], "cors", name]);
    let written = found.value_of(&origins).and_then(Value::as_array);
    if found.value_of(&credentials) != Some(&Value::Bool(true)) {
        return;
    }
    match written {
        Some(origins) if origins.iter().any(|origin| origin == "*") => {
            let problem = "can't be with \"*\" among the origins; name the origins whose pages may send credentials";
            found.fault_of(&credentials, problem);
        }
        None if !in_doubt(found, &origins) => {
            let problem = "has no effect without origins; write cors = { origins = [\"https://app.example.org\"], credentials = true }";
            found.warn_of(&credentials, problem);
        }
        Some(_) | None => {}
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
    let all = found.located("resource").into_iter();
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
    let routes = found.located("route");
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
        if let Some(other) = taken.insert(path.clone(), node_name("resource", &name)) {
            let problem = format!("{path:?} is the path of {other} already; choose another one");
            found.fault(location.clone(), &key, problem);
        }
        resources.insert(path, (name, location));
    }
    // The path above, and the resource there, as TOML writes it.
    let above = |path: &str| {
        let (above, _) = path.rsplit_once('/')?;
        let (other, _) = resources.get(above)?;
        Some((above.to_owned(), node_name("resource", other)))
    };
    for (path, (name, location)) in &resources {
        if let Some((above, other)) = above(path) {
            let problem = format!(
                "{path:?} is the address of a record of {other}; choose a path outside {above:?}"
            );
            found.fault(location.clone(), &["resource", name], problem);
        }
    }
    for (prefix, location) in routes {
        if let Some((above, other)) = above(&prefix) {
            let problem = format!(
                "{prefix:?} itself is the address of a record of {other}, which answers there; only what is below it leads to this route; choose a path outside {above:?}"
            );
            found.warn(location, &["route", &prefix], problem);
        }
    }
}
