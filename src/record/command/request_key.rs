//! The name that a client gives a request, so that it is carried out once however often it is sent (`Idempotency-Key`). Pure.

use std::hash::Hasher as _;

use fnv::FnvHasher;

use super::super::id::RecordId;

/// The length of the longest name, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// A name of a request, and what the request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestKey {
    name: String,
    request: String,
}

/// The reason why a text is no name of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Idempotency-Key must be 1 to {NAME_BYTES_MAX} visible characters of ASCII, with or without quotes around them"
)]
pub(crate) struct KeyFault;

/// A request that was carried out, as it was named.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct NamedRequest {
    name: String,
    request: String,
    /// The time at which it was carried out, in milliseconds since 1970.
    at_ms: u64,
}

/// The treatment of a request whose name may be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyVerdict {
    /// It is carried out: its name is not known, or not any more.
    New,
    /// It was carried out: its answer is given again.
    Same,
    /// Another request had this name.
    Other,
}

impl RequestKey {
    /// Reads the value of the header. `request` is all that tells it from others: method, target and body.
    pub(crate) fn read(value: &[u8], request: &[&[u8]]) -> Result<Self, KeyFault> {
        let inside = value.strip_prefix(b"\"");
        let inside = inside.and_then(|value| value.strip_suffix(b"\""));
        let name = inside.unwrap_or(value);
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
        if !fits || !name.iter().all(u8::is_ascii_graphic) || name.contains(&b'"') {
            return Err(KeyFault);
        }
        Ok(Self {
            name: String::from_utf8_lossy(name).into_owned(),
            request: digest(request),
        })
    }

    /// The key of a part of the request, which is carried out by itself.
    pub(crate) fn part(&self, index: usize) -> Self {
        Self {
            // No name that a client sends has a space.
            name: format!("{} {index}", self.name),
            request: self.request.clone(),
        }
    }

    /// The id under which the answer is kept.
    pub(crate) fn id(&self) -> Option<RecordId> {
        RecordId::parse(&digest(&[self.name.as_bytes()])).ok()
    }

    /// The request, carried out at this time.
    pub(crate) fn named(&self, at_ms: u64) -> NamedRequest {
        NamedRequest {
            name: self.name.clone(),
            request: self.request.clone(),
            at_ms,
        }
    }

    /// Decides on a request, given the `known` one with the same id. A name is remembered for `keep_ms`.
    pub(crate) fn judge(
        &self,
        known: Option<&NamedRequest>,
        now_ms: u64,
        keep_ms: u64,
    ) -> KeyVerdict {
        match known {
            Some(known) if now_ms.saturating_sub(known.at_ms) <= keep_ms => {
                if (&known.name, &known.request) == (&self.name, &self.request) {
                    KeyVerdict::Same
                } else {
                    KeyVerdict::Other
                }
            }
            Some(_) | None => KeyVerdict::New,
        }
    }
}

/// A short text for these bytes, by two hashes. It tells mistakes; whoever looks for two texts with the same one finds them, and
/// gets an answer of their own requests.
fn digest(parts: &[&[u8]]) -> String {
    let (mut hash, mut sum) = (FnvHasher::default(), 0);
    for part in parts {
        let length = part.len().to_be_bytes();
        for bytes in [&length[..], part] {
            hash.write(bytes);
            sum = crc32c::crc32c_append(sum, bytes);
        }
    }
    format!("{:016x}{sum:08x}", hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, request: &[&str]) -> RequestKey {
        let request: Vec<_> = request.iter().map(|part| part.as_bytes()).collect();
        RequestKey::read(name.as_bytes(), &request).unwrap()
    }

    #[test]
    fn a_name_is_read_with_and_without_quotes() {
        assert_eq!(key("\"a-1\"", &["x"]), key("a-1", &["x"]));
        let long = "k".repeat(NAME_BYTES_MAX + 1);
        for wrong in ["", "\"\"", "a b", "\"a\"b\"", "caf\u{e9}", "\"", &long] {
            let read = RequestKey::read(wrong.as_bytes(), &[]);
            assert_eq!(read, Err(KeyFault), "{wrong}");
        }
    }

    #[test]
    fn a_request_is_known_by_its_name_and_told_from_others_by_what_it_asks_for() {
        let first = key("a", &["POST", "/books", "{}"]);
        let known = first.named(1_000);
        for (other, now, verdict) in [
            (first.clone(), 1_000, KeyVerdict::Same),
            (first.clone(), 6_000, KeyVerdict::Same),
            (first.clone(), 6_001, KeyVerdict::New),
            // The clock was set back.
            (first.clone(), 10, KeyVerdict::Same),
            (
                key("a", &["POST", "/books", "{ }"]),
                1_000,
                KeyVerdict::Other,
            ),
            (
                key("a", &["POST", "/book", "s{}"]),
                1_000,
                KeyVerdict::Other,
            ),
            (
                key("b", &["POST", "/books", "{}"]),
                1_000,
                KeyVerdict::Other,
            ),
        ] {
            assert_eq!(other.judge(Some(&known), now, 5_000), verdict, "{other:?}");
        }
        assert_eq!(first.judge(None, 0, 5_000), KeyVerdict::New);
        let ids = [
            first.id(),
            first.part(0).id(),
            first.part(1).id(),
            key("b", &[]).id(),
        ];
        for (n, id) in ids.iter().enumerate() {
            assert!(id.is_some() && !ids[..n].contains(id), "{ids:?}");
        }
    }
}
