//! The text of a kept answer: the request, and the results with their records.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{CommandError, NamedRequest, Record, RecordId, Revision};
use crate::storage::Written;

/// An answer as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredAnswer {
    pub(super) request: NamedRequest,
    results: Vec<StoredResult>,
}

/// The result of one command, with the records that it has.
#[derive(Serialize, Deserialize)]
struct StoredResult(String, Vec<StoredText>);

/// The bytes of a command's result in an answer, without its records.
pub(super) const RESULT_BYTES: usize = 32;
/// The bytes of a record there, without its id and text: three numbers, quotes and commas.
const RECORD_BYTES: usize = 72;

/// The bytes that a record with this text has in an answer at most. In a text of JSON no character becomes longer than two.
pub(super) fn record_bytes(id: &RecordId, json: &[u8]) -> usize {
    let longer = |byte: &&u8| matches!(**byte, b'"' | b'\\' | 0..0x20);
    let escaped = json.iter().filter(longer).count();
    RECORD_BYTES + id.to_string().len() + json.len() + escaped
}

/// A record in an answer: id, revision, times of creation and change, text.
#[derive(Serialize, Deserialize)]
struct StoredText(Value, u64, u64, u64, String);

impl StoredResult {
    fn of(written: &Written) -> Self {
        let (kind, records) = written.parts();
        let text = |record: &Record| {
            let id = match &record.id {
                RecordId::Number(number) => Value::from(*number),
                RecordId::Text(text) => Value::from(&**text),
            };
            let json = String::from_utf8_lossy(&record.json).into_owned();
            let (created, changed) = (record.created_ms, record.changed_ms);
            StoredText(id, record.revision.0, created, changed, json)
        };
        Self(kind.to_owned(), records.iter().map(text).collect())
    }

    fn written(self) -> Option<Written> {
        let record = |StoredText(id, revision, created_ms, changed_ms, json)| {
            let id = match id.as_u64() {
                Some(number) => RecordId::Number(number),
                None => RecordId::parse(id.as_str()?).ok()?,
            };
            Some(Record {
                id,
                revision: Revision(revision),
                created_ms,
                changed_ms,
                json: Bytes::from(json),
            })
        };
        let records: Option<Vec<_>> = self.1.into_iter().map(record).collect();
        Written::of_parts(&self.0, records?)
    }
}

impl StoredAnswer {
    /// The answer to a request of which all commands were carried out.
    pub(super) fn new(request: NamedRequest, results: &[Result<Written, CommandError>]) -> Self {
        let results = results.iter().flatten().map(StoredResult::of).collect();
        Self { request, results }
    }

    /// The bytes that the answer has at most, apart from its commands.
    pub(super) fn head_bytes(request: NamedRequest) -> usize {
        let head = Self::new(request, &[]).encode();
        head.map_or(usize::MAX, |head| head.len())
    }

    pub(super) fn encode(&self) -> Option<Bytes> {
        serde_json::to_vec(self).ok().map(Bytes::from)
    }

    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The results; `None` if one of them can't be read.
    pub(super) fn into_results(self) -> Option<Vec<Result<Written, CommandError>>> {
        let results = self.results.into_iter().map(StoredResult::written);
        results.map(|result| result.map(Ok)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RequestKey;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let record = |id, json: &str| Record {
            id,
            revision: Revision(u64::MAX),
            created_ms: 5,
            changed_ms: 6,
            json: Bytes::from(json.to_owned()),
        };
        let one = record(RecordId::Number(7), r#"{"id":7,"n":1.50,"t":"\n\u00e4"}"#);
        let two = record(RecordId::parse("a-b").unwrap(), r#"{"id":"a-b"}"#);
        let results = [
            Written::Created(one.clone()),
            Written::Replaced(two.clone()),
            Written::Deleted(one.clone()),
            Written::DeletedMatching(vec![]),
            Written::PatchedMatching(vec![one, two]),
        ];
        let results: Vec<_> = results.into_iter().map(Ok).collect();
        let request = RequestKey::read(b"k", &[b"POST"]).unwrap().named(3);
        let stored = StoredAnswer::new(request.clone(), &results).encode();
        let records = results.iter().flatten().flat_map(Written::records);
        let records: usize = records.map(|it| record_bytes(&it.id, &it.json)).sum();
        let head = StoredAnswer::head_bytes(request.clone());
        let most = head + results.len() * RESULT_BYTES + records;
        let bytes = stored.as_ref().unwrap().len();
        assert!((bytes..bytes + 700).contains(&most), "{bytes} {most}");
        let read = StoredAnswer::decode(&stored.unwrap()).unwrap();
        assert_eq!(read.request, request);
        assert_eq!(read.into_results(), Some(results));
        assert!(StoredAnswer::decode(b"{}").is_none());
    }
}
