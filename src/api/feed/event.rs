//! The events of a feed and their texts. Pure.

use bytes::Bytes;
use serde_json::Value;

use crate::record::{FeedQuery, JsonObject, RecordId, moment_text};
use crate::storage::{FeedChange, FeedKind};

/// A change as a feed tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FeedEvent {
    pub(super) kind: FeedKind,
    pub(super) id: RecordId,
    pub(super) seq: u64,
    pub(super) at_ms: u64,
    /// The record after it, if it is told.
    pub(super) record: Option<Bytes>,
}

/// The name of an event.
pub(super) fn name(kind: FeedKind) -> &'static str {
    match kind {
        FeedKind::Create => "create",
        FeedKind::Update => "update",
        FeedKind::Delete => "delete",
    }
}

/// The change as a feed with this query tells it; `None` if it does not.
pub(super) fn told(change: &FeedChange, query: &FeedQuery) -> Option<FeedEvent> {
    let record = change.record();
    let matches = || {
        let members = JsonObject::parse(&record.as_ref()?.json).ok()?;
        Some(query.filter.matches(members.members()))
    };
    let matches = query.filter.selects_all() || matches().unwrap_or(false);
    let kind = kind(change.kind()?, matches)?;
    let record = record.filter(|_| kind != FeedKind::Delete);
    Some(FeedEvent {
        kind,
        id: change.id()?,
        seq: change.seq(),
        at_ms: change.at_ms(),
        record: record.map(|record| query.shape.text(&record)),
    })
}

/// The text of a change for the feeds that tell whole records. Only the first of them has it made by `tell`.
pub(super) fn shared_text(
    change: &FeedChange,
    mark: &str,
    tell: impl Fn() -> Option<FeedEvent>,
) -> Option<Bytes> {
    let text = change.text(|| tell().map(|told| told.text(mark)).unwrap_or_default());
    Some(text).filter(|text| !text.is_empty())
}

/// The kind that is told of a change after which the record matches the filter, or does not.
///
/// Whether it matched before is not known. So one that does not match after an update is told as deleted, since it may have
/// been in the filtered list; a new record was not.
fn kind(kind: FeedKind, matches: bool) -> Option<FeedKind> {
    match (kind, matches) {
        (FeedKind::Create, false) => None,
        (FeedKind::Update, false) => Some(FeedKind::Delete),
        (kind, _) => Some(kind),
    }
}

impl FeedEvent {
    /// Its text in a stream of events.
    pub(super) fn text(&self, mark: &str) -> Bytes {
        let data = self.json("");
        let head = format!("id: {}-{mark}\nevent: {}\n", self.seq, name(self.kind));
        let mut out = head.into_bytes();
        lines(&mut out, &data);
        out.into()
    }

    /// Its members as an object, behind those in `before`.
    pub(super) fn json(&self, before: &str) -> Vec<u8> {
        let id = match &self.id {
            RecordId::Number(number) => number.to_string(),
            RecordId::Text(text) => Value::from(&**text).to_string(),
        };
        let revision = self.seq;
        let head = format!("{{{before}\"id\":{id},\"revision\":{revision},\"record\":");
        let record = self.record.as_deref().unwrap_or(b"null");
        [head.as_bytes(), record, b"}"].concat()
    }

    /// Its entry in an answer that is no stream.
    pub(super) fn entry(&self) -> Vec<u8> {
        let (event, at) = (name(self.kind), moment_text(self.at_ms));
        self.json(&format!("\"event\":\"{event}\",\"at\":\"{at}\","))
    }
}

/// Appends data, and the end of its event. Between the tokens of a JSON text, a line may end anywhere.
fn lines(out: &mut Vec<u8>, data: &[u8]) {
    for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// A position between events, by which the client goes on from there. It is no event.
pub(super) fn position(seq: u64, mark: &str) -> String {
    format!("id: {seq}-{mark}\n\n")
}

/// The event after which a client reads the list again. What changes after `seq` follows it.
pub(super) fn reset(seq: u64, mark: &str) -> String {
    format!(
        "id: {seq}-{mark}\nevent: reset\ndata: {{\"detail\":\"changes are missing before this position; read the list again\"}}\n\n"
    )
}

/// A comment, which keeps the connection in use.
pub(super) const COMMENT: &str = ":\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::ChangesPage;

    #[test]
    fn a_record_that_does_not_match_any_more_is_told_as_deleted() {
        use FeedKind::{Create, Delete, Update};
        for (change, matches, told) in [
            (Create, true, Some(Create)),
            (Create, false, None),
            (Update, true, Some(Update)),
            (Update, false, Some(Delete)),
            (Delete, true, Some(Delete)),
            (Delete, false, Some(Delete)),
        ] {
            assert_eq!(kind(change, matches), told, "{change:?} {matches}");
        }
    }

    #[test]
    fn the_text_of_a_whole_record_is_made_once_for_all_feeds() {
        let page = ChangesPage::of_books(&[(7, "{\"n\":1}")]);
        let change = page.after(6).next().unwrap();
        let told = std::cell::Cell::new(0);
        let tell = || {
            told.set(told.get() + 1);
            Some(FeedEvent {
                kind: FeedKind::Create,
                id: RecordId::Number(7),
                seq: 7,
                at_ms: 0,
                record: None,
            })
        };
        let first = shared_text(change, "m", tell).unwrap();
        let second = shared_text(change, "m", tell).unwrap();
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(told.get(), 1);
    }

    #[test]
    fn an_event_has_a_position_a_name_and_its_data_line_by_line() {
        let mut told = FeedEvent {
            kind: FeedKind::Create,
            id: RecordId::Text("a\"b".into()),
            seq: 7,
            at_ms: 0,
            record: Some(Bytes::from_static(b"{\"id\":\"a\\\"b\",\r\n\"n\":1}")),
        };
        assert_eq!(
            told.text("k3x9q2"),
            "id: 7-k3x9q2\nevent: create\ndata: {\"id\":\"a\\\"b\",\"revision\":7,\"record\":{\"id\":\"a\\\"b\",\ndata: \ndata: \"n\":1}}\n\n"
        );
        told.kind = FeedKind::Delete;
        told.id = RecordId::Number(3);
        told.record = None;
        assert_eq!(
            told.text("m"),
            "id: 7-m\nevent: delete\ndata: {\"id\":3,\"revision\":7,\"record\":null}\n\n"
        );
        assert_eq!(
            told.entry(),
            b"{\"event\":\"delete\",\"at\":\"1970-01-01T00:00:00.000Z\",\"id\":3,\"revision\":7,\"record\":null}"
        );
    }
}
