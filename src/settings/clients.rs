//! The rules about the clients that `access` names: each of them is there, and each scope is about something that is there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::auth::{AccessSettings, AllowedClient, Scope};
use super::fault::node_name;
use super::findings::Findings;
use super::rules::{in_doubt, may_lack};
use crate::record::{FieldSource, FieldType, Schema};

/// Adds what breaks the rules to the faults.
pub(super) fn check(found: &mut Findings) {
    for (kind, needed, order) in [
        (
            "keys",
            "hash",
            "perennial key new NAME makes a secret and its hash",
        ),
        (
            "users",
            "password",
            "perennial user new NAME makes the hash of a password",
        ),
    ] {
        for (name, location) in found.located_in(&["auth", kind]) {
            let path = ["auth", kind, &name];
            let is_there = found.value_of(&["auth", kind, &name, needed]).is_some();
            if !is_there && !found.is_faulty_below(&path) {
                let order = order.replace("NAME", &name);
                found.fault(location, &path, format!("has no {needed}; {order}"));
            }
        }
    }
    let named = named(found);
    let is_named =
        |client: AllowedClient, any: AllowedClient| named.contains(&client) || named.contains(&any);
    let any = || AllowedClient::ANY.to_owned();
    for (name, location) in found.located_in(&["auth", "keys"]) {
        if !is_named(AllowedClient::Key(name.clone()), AllowedClient::Key(any())) {
            let problem = "opens nothing, since no access names it";
            found.warn(location, &["auth", "keys", &name], problem);
        }
        scopes(found, &name);
    }
    for (name, location) in found.located_in(&["auth", "users"]) {
        if !is_named(
            AllowedClient::User(name.clone()),
            AllowedClient::User(any()),
        ) {
            let problem = "opens nothing, since no access names it";
            found.warn(location, &["auth", "users", &name], problem);
        }
    }
}

/// All clients that are named. Those that are not there are faults.
fn named(found: &mut Findings) -> BTreeSet<AllowedClient> {
    let mut named = BTreeSet::new();
    for kind in ["route", "resource"] {
        for (name, _) in found.located(kind) {
            let key = [kind, &name, "access"];
            let written = found.value_of(&key).map(AccessSettings::read);
            let Some(Ok(access)) = written else {
                continue;
            };
            for wanted in access.clients().collect::<BTreeSet<_>>() {
                must_be_there(found, &key, wanted);
                named.insert(wanted.clone());
            }
        }
    }
    named
}

/// Refuses the name of a client that is not there.
fn must_be_there(found: &mut Findings, key: &[&str], wanted: &AllowedClient) {
    if let Some(needed) = missing(found, wanted) {
        let problem =
            format!("names {wanted}, which is not there; write [{needed}], or another name");
        found.fault_of(key, problem);
    }
}

/// The rules about the owners of the records of a resource: each client that writes shows who it is, and the server can write
/// its name.
pub(super) fn owner(found: &mut Findings, resource: &str) {
    let [owner, except, access] =
        ["owner", "owner_except", "access"].map(|name| ["resource", resource, name]);
    let excepted = found.value_of(&except).and_then(Value::as_array).cloned();
    for client in excepted.into_iter().flatten() {
        if let Ok(client) = client.as_str().unwrap_or_default().parse() {
            must_be_there(found, &except, &client);
        }
    }
    let Some(field) = found
        .value_of(&owner)
        .and_then(Value::as_str)
        .map(str::to_owned)
    else {
        if found.value_of(&except).is_some() && !in_doubt(found, &owner) {
            let problem = "has no effect without owner; write owner = \"FIELD\", or take it out";
            found.warn_of(&except, problem);
        }
        return;
    };
    let written = found.value_of(&access).map(AccessSettings::read);
    let is_public = match &written {
        Some(Ok(access)) => access.write.only().is_empty(),
        // What is wrong with it has been told.
        Some(Err(_)) => false,
        None => true,
    };
    if is_public {
        let problem = "needs access that says who may write, so that the server knows whose a record is; write access = [\"jwt:*\"], or access = { read = \"public\", write = [\"jwt:*\"] }";
        found.fault_of(&owner, problem);
    }
    let Some(Schema::Fields(fields)) = found.schemas.get(resource) else {
        return;
    };
    let declared = fields.list.iter().find(|declared| declared.name == field);
    let fits = declared.is_some_and(|field| {
        matches!(field.kind, FieldType::String { .. })
            && !field.required
            && field.default.is_none()
            && field.source == FieldSource::Client
    });
    let is_additional = declared.is_none() && fields.additional;
    if !fits && !is_additional {
        let problem = format!(
            "must be a field that the server can write; declare fields.{field} = {{ type = \"string\" }}, without required and default"
        );
        found.fault_of(&owner, problem);
    }
}

/// The table that a client needs and that is not there.
fn missing(found: &Findings, wanted: &AllowedClient) -> Option<String> {
    let (kind, name) = match wanted {
        AllowedClient::Key(name) => ("keys", name),
        AllowedClient::User(name) => ("users", name),
        AllowedClient::Role(_) => {
            let tables = found.located_in(&["auth"]);
            let is_there = tables.iter().any(|(name, _)| name == "jwt");
            let lacks = !is_there && !may_lack(found, &["auth", "jwt"]);
            return lacks.then(|| "auth.jwt".to_owned());
        }
    };
    let tables = found.located_in(&["auth", kind]);
    let is_there = tables
        .iter()
        .any(|(known, _)| known == name || name == AllowedClient::ANY);
    let lacks = !is_there && !may_lack(found, &["auth", kind, name]);
    lacks.then(|| format!("auth.{kind}.{name}").replace(AllowedClient::ANY, "NAME"))
}

/// Each scope of a key is about something that is there.
fn scopes(found: &mut Findings, key: &str) {
    let scope = ["auth", "keys", key, "scope"];
    let items = found.value_of(&scope).and_then(Value::as_array).cloned();
    for item in items.into_iter().flatten() {
        let Ok(Scope { of, .. }) = item.as_str().unwrap_or_default().parse() else {
            continue;
        };
        let kind = if of.contains('/') {
            "route"
        } else {
            "resource"
        };
        let is_there = of == "*" || found.named(kind).contains(&of);
        if !is_there && !may_lack(found, &[kind, &of]) {
            let problem = format!("has {item}, but there is no [{}]", node_name(kind, &of));
            found.fault_of(&scope, problem);
        }
    }
}
