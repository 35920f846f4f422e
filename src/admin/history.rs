//! `/history/RESOURCE/ID`: what a record was (GET), and the way back to it (POST with `?to=CHANGE`), for `perennial history`
//! and `perennial revert`.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{self, EntityTag, HeaderMap, HeaderName, from_comma_delimited};
use serde_json::{Value, json};

use super::{Answered, answer, decoded, json_answer};
use crate::record::{
    Absent, Conditions, HistoryQuery, JsonObject, NewValues, RecordId, Revision, Schema, Tags,
    WriteCommand,
};
use crate::settings::ResourceSettings;
use crate::storage::{CollectionId, Store, Write, Written, unix_ms};
use crate::wire::{Code, Incoming, Problem};

/// Refuses a change whose conditions don't hold.
fn check_conditions(headers: &HeaderMap, etag: Option<&str>) -> Result<(), Problem> {
    if conditions_hold(headers, etag) {
        return Ok(());
    }
    let told = match etag {
        Some(etag) => format!("the current ETag is {etag}"),
        None => "there is no record with this id".to_owned(),
    };
    Err(Problem::new(Code::PreconditionFailed).detail(told))
}

/// Whether `If-Match` and `If-None-Match`, as far as they are sent, allow the change of a record with this `ETag`; of none if
/// there is no record.
fn conditions_hold(headers: &HeaderMap, etag: Option<&str>) -> bool {
    let own = etag.and_then(|etag| etag.parse::<EntityTag>().ok());
    let lists = |name: HeaderName, equal: fn(&EntityTag, &EntityTag) -> bool| {
        if headers.get(&name)?.as_bytes().trim_ascii() == b"*" {
            return Some(own.is_some());
        }
        // A list that can't be read has no tag.
        let sent = from_comma_delimited::<_, EntityTag>(headers.get_all(&name));
        let sent = sent.unwrap_or_default();
        let is_own = |own: &EntityTag| sent.iter().any(|tag| equal(tag, own));
        Some(own.as_ref().is_some_and(is_own))
    };
    lists(header::IF_MATCH, EntityTag::strong_eq) != Some(false)
        && lists(header::IF_NONE_MATCH, EntityTag::weak_eq) != Some(true)
}

/// The records of all resources, for whoever asks what they were.
pub(crate) struct Histories {
    store: Arc<dyn Store>,
}

impl Histories {
    pub(crate) fn new(store: &Arc<dyn Store>) -> Self {
        Self {
            store: Arc::clone(store),
        }
    }

    /// Answers a request for the record `name`, which is `RESOURCE/ID`.
    pub(super) async fn answer(&self, name: &str, request: &Incoming) -> Answered {
        let (resource, id) = name.split_once('/').unwrap_or((name, ""));
        let resource = decoded(resource);
        let collection = self.store.collection(&resource);
        let settings = self.store.resources().remove(&*resource);
        let Some((collection, settings)) = collection.zip(settings) else {
            let detail = format!("there is no resource named {resource}");
            return Err(Problem::new(Code::NotFound).detail(detail));
        };
        let id = settings.ids.parse(&decoded(id))?;
        match *request.method() {
            Method::GET | Method::HEAD => {
                let query = HistoryQuery::parse(request.query())?;
                let history = self.store.history(collection, &id, query).await?;
                let text = String::from_utf8(history.json()).unwrap_or_default();
                Ok(answer("application/json", text))
            }
            Method::POST => {
                let to = request.query().strip_prefix("to=");
                let to = to.and_then(|to| to.parse().ok()).ok_or_else(|| {
                    let detail = "write ?to= and the number of a change of the record";
                    Problem::new(Code::InvalidParameter).detail(detail)
                })?;
                self.revert(collection, &settings, id, to, request.headers())
                    .await
            }
            _ => Err(Problem::not_allowed("GET, HEAD, POST")),
        }
    }

    /// Gives a record the text again that it had after the change `to`, if nobody changes it meanwhile.
    async fn revert(
        &self,
        collection: CollectionId,
        settings: &ResourceSettings,
        id: RecordId,
        to: u64,
        headers: &HeaderMap,
    ) -> Answered {
        let current = self.store.get(collection, &id).await?;
        let mark = self.store.mark().await?;
        let etag = current.as_ref().map(|record| record.revision.etag(mark));
        check_conditions(headers, etag.as_deref())?;
        let past = self.store.history(collection, &id, HistoryQuery::of(to));
        let past = past.await?;
        let change = past.changes.first().filter(|change| change.seq == to);
        let refused = |why: String| Err(Problem::new(Code::NotFound).detail(why));
        let Some(change) = change else {
            let cut_off = past.cut_off().map(|cut_off| format!("; {cut_off}"));
            return refused(format!(
                "change {to} of this record is not known{}",
                cut_off.unwrap_or_default()
            ));
        };
        let Some(text) = &change.json else {
            return refused(format!(
                "change {to} deleted the record: name the one before it, or DELETE the record"
            ));
        };
        let mut object = JsonObject::parse(text)?;
        object.remove_id();
        if let Some(record) = &current {
            settings.schema.fill_created(&mut object, record.created_ms);
        }
        let schema = Schema::of_operator(&settings.schema);
        schema.check(&mut object, &NewValues::at(unix_ms()))?;
        let json = object.text(&id);
        let conditions = match current.map(|record| record.revision) {
            Some(revision) => Conditions {
                if_match: Some(Tags::OneOf(vec![revision])),
                ..Conditions::default()
            },
            None => Conditions {
                if_none_match: Some(Tags::Any),
                ..Conditions::default()
            },
        };
        let bytes = json.len();
        let absent = Absent::Create;
        let written = self.store.write(Write {
            collection,
            schema,
            command: WriteCommand::Replace { id, json, absent },
            conditions,
            bytes,
        });
        let (Revision(change), record) = match written.await? {
            Written::Created(record) | Written::Replaced(record) => (record.revision, record.json),
            Written::Deleted(_) | Written::DeletedMatching(_) | Written::PatchedMatching(_) => {
                return Err(Problem::new(Code::Internal));
            }
        };
        let record: Value = serde_json::from_slice(&record).unwrap_or_default();
        Ok(json_answer(&json!({ "change": change, "record": record })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_those_of_any_other_change() {
        for (name, sent, etag, holds) in [
            ("accept", "*/*", Some("\"6-a\""), true),
            ("if-match", "\"6-a\"", Some("\"6-a\""), true),
            ("if-match", "\"5-a\", \"6-a\"", Some("\"6-a\""), true),
            ("if-match", "\"5-a\"", Some("\"6-a\""), false),
            ("if-match", "W/\"6-a\"", Some("\"6-a\""), false),
            ("if-match", "6-a", Some("\"6-a\""), false),
            ("if-match", "*", Some("\"6-a\""), true),
            ("if-match", "*", None, false),
            ("if-match", "\"6-a\"", None, false),
            ("if-none-match", "*", None, true),
            ("if-none-match", "*", Some("\"6-a\""), false),
            ("if-none-match", "W/\"6-a\"", Some("\"6-a\""), false),
            ("if-none-match", "\"5-a\"", Some("\"6-a\""), true),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(name.parse().unwrap(), sent.parse().unwrap());
            let found = conditions_hold(&headers, etag);
            assert_eq!(found, holds, "{name}: {sent}, {etag:?}");
        }
    }
}
