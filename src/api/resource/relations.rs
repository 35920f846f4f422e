//! Relations of records: `_embed=reviews` adds the records that refer to each one, `_expand=book` the record that each one
//! refers to. Both follow the references that the settings declare.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use serde_json::Value;

use super::super::routes::{ResourceTarget, Target};
use super::super::site::Site;
use crate::record::{
    Handling, JsonObject, ListQuery, Record, RecordId, RecordOwner, RecordShape, Reference, nearest,
};
use crate::settings::{Permission, ResourceSettings};
use crate::storage::CollectionId;
use crate::wire::{Code, Incoming, Problem, count};

/// The most records that are added to one answer.
const ADDED_MAX: usize = 1000;
/// The most bytes that they have together.
const ADDED_BYTES_MAX: usize = 8 << 20;
/// The end of the name of a field that refers to a record, in the dialect of json-server.
const ID_SUFFIX: &str = "Id";

/// One of the relations that a request asks for.
enum Relation<'a> {
    /// The records of `from` whose `field` refers to the record become its member `name`.
    Embedded {
        name: &'a str,
        from: CollectionId,
        owner: Option<RecordOwner>,
        field: &'a str,
        settings: &'a ResourceSettings,
    },
    /// The record of `to` that `field` refers to becomes the member `name`.
    Expanded {
        name: &'a str,
        field: &'a str,
        reference: &'a Reference,
        to: CollectionId,
        owner: Option<RecordOwner>,
    },
}

/// The names of the relations of a resource: those for `_embed`, and those for `_expand`.
pub(crate) fn relation_names(
    resources: &BTreeMap<String, ResourceSettings>,
    own: &str,
) -> (Vec<String>, Vec<String>) {
    let mut embedded = Vec::new();
    for (name, settings) in resources {
        let to_own = settings.schema.references();
        let fields: Vec<_> = to_own.filter(|(_, of)| of.to == own).collect();
        match fields.as_slice() {
            [_] => embedded.push(name.clone()),
            fields => embedded.extend(fields.iter().map(|(field, _)| format!("{name}.{field}"))),
        }
    }
    let references = resources.get(own).map(|own| own.schema.references());
    let expanded = references.into_iter().flatten();
    let expanded = expanded.map(|(field, _)| field.strip_suffix(ID_SUFFIX).unwrap_or(field));
    (embedded, expanded.map(str::to_owned).collect())
}

/// The records that are added to one answer.
pub(super) struct Relations<'a> {
    site: &'a Site,
    all: Vec<Relation<'a>>,
    /// The records that were referred to so far.
    found: BTreeMap<(CollectionId, RecordId), Option<(Value, usize)>>,
    count: usize,
    bytes: usize,
}

impl<'a> Relations<'a> {
    /// The relations that are asked for, or the refusal of one that is not declared.
    pub(super) async fn of(
        site: &'a Site,
        target: &'a ResourceTarget,
        shape: &'a RecordShape,
        request: &Incoming,
    ) -> Result<Self, Problem> {
        let resources = &site.settings.resources;
        let mut own = resources.iter();
        let own = own.find(|(_, settings)| settings.path == target.settings.path);
        let own = own.map_or("", |(name, _)| name.as_str());
        let mut all = Vec::new();
        for name in shape.embedded() {
            all.push(Self::embedded(site, own, name, request).await?);
        }
        for name in shape.expanded() {
            all.push(Self::expanded(site, target, name, request).await?);
        }
        Ok(Self {
            site,
            all,
            found: BTreeMap::new(),
            count: 0,
            bytes: 0,
        })
    }

    async fn embedded(
        site: &'a Site,
        own: &str,
        name: &'a str,
        request: &Incoming,
    ) -> Result<Relation<'a>, Problem> {
        let (from, wanted) = match name.split_once('.') {
            Some((from, field)) => (from, Some(field)),
            None => (name, None),
        };
        let resources = site.settings.resources.iter();
        let mut known = Vec::new();
        let mut found = Vec::new();
        for (resource, settings) in resources {
            for (field, reference) in settings.schema.references() {
                if reference.to != own {
                    continue;
                }
                known.push(resource.as_str());
                if resource == from && wanted.is_none_or(|wanted| wanted == field) {
                    found.push((field, settings));
                }
            }
        }
        known.dedup();
        let found = match found.as_slice() {
            [one] => *one,
            [] => return Err(unknown("_embed", name, &known)),
            [(first, _), ..] => {
                let detail = format!(
                    "{from} refers to this resource by several fields; name one, such as _embed={from}.{first}"
                );
                return Err(Problem::new(Code::InvalidParameter).detail(detail));
            }
        };
        let (field, settings) = found;
        let (from, owner) = collection(site, from, request).await?;
        Ok(Relation::Embedded {
            name: name.split('.').next().unwrap_or(name),
            from,
            owner,
            field,
            settings,
        })
    }

    async fn expanded(
        site: &'a Site,
        target: &'a ResourceTarget,
        name: &'a str,
        request: &Incoming,
    ) -> Result<Relation<'a>, Problem> {
        let with_id = format!("{name}{ID_SUFFIX}");
        let references = || target.settings.schema.references();
        let found = references().find(|(field, _)| *field == name || *field == with_id);
        let Some((field, reference)) = found else {
            let known: Vec<_> = references()
                .map(|(field, _)| field.strip_suffix(ID_SUFFIX).unwrap_or(field))
                .collect();
            return Err(unknown("_expand", name, &known));
        };
        let (to, owner) = collection(site, &reference.to, request).await?;
        Ok(Relation::Expanded {
            name,
            field,
            reference,
            to,
            owner,
        })
    }

    /// Adds the relations of a record to its text, which may be shorter than the record.
    pub(super) async fn add(
        &mut self,
        record: &Record,
        text: &[u8],
    ) -> Result<bytes::Bytes, Problem> {
        let parse = |text: &[u8]| JsonObject::parse(text).unwrap_or_default();
        let (members, mut shown) = (parse(&record.json), parse(text));
        for at in 0..self.all.len() {
            let Some(relation) = self.all.get(at) else {
                break;
            };
            match relation {
                Relation::Embedded {
                    name,
                    from,
                    owner,
                    field,
                    settings,
                } => {
                    let query = self.query_of(field, settings, &record.id)?;
                    let query = match owner {
                        Some(owner) => owner.limit(query),
                        None => query,
                    };
                    let (name, from) = (*name, *from);
                    let records = self.referring(from, &query).await?;
                    shown.set(name, Value::Array(records));
                }
                Relation::Expanded {
                    name,
                    field,
                    reference,
                    to,
                    owner,
                } => {
                    let id = members.members().get(*field);
                    let (name, to, owner) = (*name, *to, owner.clone());
                    if let Some(id) = id.and_then(|id| reference.id(id))
                        && let Some(found) = self.referred(to, id, owner.as_ref()).await?
                    {
                        shown.set(name, found);
                    }
                }
            }
        }
        Ok(shown.text(&record.id))
    }

    /// The query for the records that refer to the one of this id.
    fn query_of(
        &self,
        field: &str,
        settings: &ResourceSettings,
        id: &RecordId,
    ) -> Result<ListQuery, Problem> {
        let left = ADDED_MAX - self.count;
        let field =
            percent_encoding::utf8_percent_encode(field, percent_encoding::NON_ALPHANUMERIC);
        let query = format!("{field}={id}&_limit={}", left + 1);
        let query = ListQuery::parse(&query, &settings.schema, Handling::Strict)?;
        Ok(query.at_most(left + 1).within(self.site.counters.room()))
    }

    async fn referring(
        &mut self,
        from: CollectionId,
        query: &ListQuery,
    ) -> Result<Vec<Value>, Problem> {
        let page = self.site.store.query(from, query).await?;
        let mut values = Vec::with_capacity(page.records.len());
        for record in &page.records {
            values.push(self.counted(record)?);
        }
        Ok(values)
    }

    /// The record of this id, if there is one.
    async fn referred(
        &mut self,
        to: CollectionId,
        id: RecordId,
        owner: Option<&RecordOwner>,
    ) -> Result<Option<Value>, Problem> {
        let key = (to, id);
        if let Some(found) = self.found.get(&key).cloned() {
            let Some((value, bytes)) = found else {
                return Ok(None);
            };
            self.count_bytes(bytes)?;
            return Ok(Some(value));
        }
        let record = self.site.store.get(to, &key.1).await?;
        let record = record.filter(|record| owner.is_none_or(|owner| owner.owns(record)));
        let bytes = record.as_ref().map_or(0, |record| record.json.len());
        let value = record.map(|record| self.counted(&record)).transpose()?;
        let found = value.clone().map(|value| (value, bytes));
        self.found.insert(key, found);
        Ok(value)
    }

    /// The value of a record that is added, if the answer has room for it.
    fn counted(&mut self, record: &Record) -> Result<Value, Problem> {
        self.count += 1;
        self.count_bytes(record.json.len())?;
        Ok(serde_json::from_slice(&record.json).unwrap_or_default())
    }

    fn count_bytes(&mut self, bytes: usize) -> Result<(), Problem> {
        self.bytes += bytes;
        if self.count > ADDED_MAX || self.bytes > ADDED_BYTES_MAX {
            count(&self.site.counters.relations_full);
            let detail = format!(
                "_embed and _expand would add more than {ADDED_MAX} records or {} MiB; ask for fewer records at a time with _limit, or for the others by a filter",
                ADDED_BYTES_MAX >> 20
            );
            return Err(Problem::new(Code::InvalidParameter).detail(detail));
        }
        Ok(())
    }
}

/// The records of the resource that a relation adds, if the client may read them, and the client, if it may read its own alone.
async fn collection(
    site: &Site,
    name: &str,
    request: &Incoming,
) -> Result<(CollectionId, Option<RecordOwner>), Problem> {
    let mut owner = None;
    let resource = site.settings.resources.get(name);
    let route = resource.and_then(|resource| site.routes.resource(&resource.path));
    if let Some(route) = route {
        // What is left of the rate of this request's own route is told.
        let own = request.rate();
        let admitted = route.rules.admit_part(request, Permission::Read).await;
        if let Some(own) = own {
            request.note_rate(own);
        }
        admitted?;
        if let Target::Resource(target) = &route.target {
            owner = target.owner(&route.rules, request, Permission::Read);
        }
    }
    let found = site.store.collection(name);
    let found = found.ok_or_else(|| Problem::new(Code::Unavailable))?;
    Ok((found, owner))
}

fn unknown(parameter: &str, name: &str, known: &[&str]) -> Problem {
    let hint = match (nearest(name, known.iter().copied()), known) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, []) => "no reference is declared for it".to_owned(),
        (None, known) => format!("known are {}", known.join(", ")),
    };
    let detail = format!("{parameter}={name} is no relation of this resource; {hint}");
    Problem::new(Code::InvalidParameter).detail(detail)
}

/// The entity tag of an answer that depends on several records.
pub(crate) fn tag_of(body: &[u8]) -> String {
    let mut hash = fnv::FnvHasher::default();
    hash.write(body);
    format!("W/\"{:016x}-{:x}\"", hash.finish(), body.len())
}
