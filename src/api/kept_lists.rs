//! Answers to lists that are kept in memory: whoever asks for the same list again gets the same answer, as long as no record of
//! the resource has changed.

// Decision: The answers of lists are kept until their resource changes.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, OnceLock};

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::accepted::{AcceptedCodings, Choice};
use super::answer::{Answered, set};
use super::conditional;
use super::resource::json;
use crate::file_cache::{CodingState, compress_quickly};
use crate::settings::ContentCoding;
use crate::wire::{ConnectionCounters, count};

/// The bytes that a kept answer counts for beside its texts.
const ANSWER_OVERHEAD_BYTES: usize = 512;
/// A shorter list is sent as it is: it fits into one packet either way.
const BODY_BYTES_MIN: usize = 1024;
/// An answer that takes more than the room divided by this is not kept.
const ANSWER_SHARE: usize = 16;

/// The answer to a list, before the conditions of a request are looked at.
#[derive(Debug)]
pub(super) struct ListAnswer {
    /// The number of the last change of the resource.
    pub(super) seq: u64,
    pub(super) etag: Bytes,
    pub(super) body: Bytes,
    /// The other header fields.
    pub(super) fields: Vec<(HeaderName, Bytes)>,
    /// Whether it has fewer records than were asked for, although there are more.
    pub(super) is_cut: bool,
    /// The compressed body in each coding that the resource allows, once a client has asked for it; `None` in it if the body would
    /// not be much shorter.
    pub(super) encoded: Vec<(ContentCoding, OnceLock<Option<Bytes>>)>,
}

impl ListAnswer {
    /// The coding that a client with these header fields likes best, if it has to be made.
    pub(super) fn unmade(&self, headers: &HeaderMap) -> Option<ContentCoding> {
        match self.choose(headers) {
            Choice::Make(coding) => Some(coding),
            Choice::Plain | Choice::Encoded(_) | Choice::Refused => None,
        }
    }

    /// Makes a coding.
    pub(super) fn make(&self, coding: ContentCoding) {
        if let Some(place) = self.encoded(coding) {
            place.get_or_init(|| compress_quickly(coding, &self.body));
        }
    }

    fn encoded(&self, coding: ContentCoding) -> Option<&OnceLock<Option<Bytes>>> {
        let mut all = self.encoded.iter();
        all.find(|(of, _)| *of == coding).map(|(_, place)| place)
    }

    fn choose(&self, headers: &HeaderMap) -> Choice {
        if self.encoded.is_empty() || self.body.len() < BODY_BYTES_MIN {
            return Choice::Plain;
        }
        let state = |coding| match self.encoded(coding).map(OnceLock::get) {
            Some(None) => CodingState::Unmade,
            Some(Some(Some(_))) => CodingState::Ready,
            Some(Some(None)) | None => CodingState::Absent,
        };
        AcceptedCodings::of(headers).choose(state, true)
    }

    /// The answer to a request with these header fields.
    pub(super) fn response(&self, headers: &HeaderMap) -> Answered {
        let encoded = match self.choose(headers) {
            Choice::Encoded(coding) => {
                let made = self.encoded(coding).and_then(OnceLock::get);
                made.cloned().flatten().map(|body| (coding, body))
            }
            // Who takes no coding that there is gets it as it is.
            Choice::Plain | Choice::Make(_) | Choice::Refused => None,
        };
        let whole = || match &encoded {
            Some((coding, body)) => {
                let mut response = json(StatusCode::OK, body.clone());
                set(&mut response, header::CONTENT_ENCODING, coding.name());
                response
            }
            None => json(StatusCode::OK, self.body.clone()),
        };
        let mut response = conditional::answer(headers, self.etag.clone(), None, whole)?;
        for (name, value) in &self.fields {
            set(&mut response, name.clone(), value.clone());
        }
        Ok(response)
    }

    fn bytes(&self) -> usize {
        let fields = self.fields.iter().map(|(_, value)| value.len());
        // What is compressed later counts from the beginning.
        let bodies = self.body.len() * (1 + self.encoded.len());
        ANSWER_OVERHEAD_BYTES + bodies + self.etag.len() + fields.sum::<usize>()
    }
}

/// The answers that are kept for one edition of the settings. Each is found by a text that tells the list from all others.
///
/// They are in two parts. New answers go into the young part, and an answer of the old part that is asked for again moves there.
/// When the young part has half of the room, it becomes the old part, and the answers that were in the old part are dropped.
#[derive(Debug)]
pub(crate) struct KeptLists {
    /// The most bytes of keys and answers.
    room: usize,
    /// Locked for a look at a table, and never while a list is read or an answer is made.
    parts: Mutex<KeptParts>,
}

#[derive(Debug, Default)]
struct KeptParts {
    young: HashMap<String, Arc<ListAnswer>>,
    old: HashMap<String, Arc<ListAnswer>>,
    young_bytes: usize,
}

impl KeptLists {
    /// Keeps answers in so many bytes; none if that is 0.
    pub(crate) fn new(room: usize) -> Self {
        Self {
            room,
            parts: Mutex::default(),
        }
    }

    /// Whether answers are kept at all.
    pub(super) fn is_on(&self) -> bool {
        self.room > 0
    }

    /// The answer with this key, if it was made after the resource's change `seq` and before the next one.
    pub(super) fn get(
        &self,
        key: &str,
        seq: u64,
        counters: &ConnectionCounters,
    ) -> Option<Arc<ListAnswer>> {
        let mut parts = self.parts.lock();
        let young = parts.young.get(key).map(Arc::clone);
        if let Some(found) = young {
            return (found.seq == seq).then_some(found);
        }
        let (key, found) = parts.old.remove_entry(key)?;
        if found.seq != seq {
            return None;
        }
        self.add(parts, key, Arc::clone(&found), counters);
        Some(found)
    }

    /// Keeps an answer, unless it is too long.
    pub(super) fn keep(&self, key: String, answer: Arc<ListAnswer>, counters: &ConnectionCounters) {
        if key.len() + answer.bytes() <= self.room / ANSWER_SHARE {
            self.add(self.parts.lock(), key, answer, counters);
        }
    }

    fn add(
        &self,
        mut parts: MutexGuard<'_, KeptParts>,
        key: String,
        answer: Arc<ListAnswer>,
        counters: &ConnectionCounters,
    ) {
        let bytes = key.len() + answer.bytes();
        let mut dropped = HashMap::new();
        if parts.young_bytes + bytes > self.room / 2 {
            let young = mem::take(&mut parts.young);
            dropped = mem::replace(&mut parts.old, young);
            parts.young_bytes = 0;
        }
        parts.young_bytes += bytes;
        let key_bytes = key.len();
        if let Some(before) = parts.young.insert(key, answer) {
            parts.young_bytes -= key_bytes + before.bytes();
        }
        drop(parts);
        for _ in dropped {
            count(&counters.lists_dropped);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    fn answer(seq: u64, bytes: usize) -> Arc<ListAnswer> {
        Arc::new(ListAnswer {
            seq,
            etag: Bytes::new(),
            body: vec![b' '; bytes - ANSWER_OVERHEAD_BYTES - 2].into(),
            fields: Vec::new(),
            is_cut: false,
            encoded: Vec::new(),
        })
    }

    fn key(n: usize) -> String {
        format!("{n:02}")
    }

    /// Room for 32 answers of 1,000 bytes, keys included.
    fn lists() -> (KeptLists, ConnectionCounters) {
        (KeptLists::new(32_000), ConnectionCounters::new(1))
    }

    #[test]
    fn an_answer_is_kept_until_its_resource_changes() {
        let (lists, counters) = lists();
        lists.keep(key(1), answer(7, 1_000), &counters);
        assert!(lists.get("01", 7, &counters).is_some());
        assert!(lists.get("02", 7, &counters).is_none());
        assert!(lists.get("01", 8, &counters).is_none());
        lists.keep(key(1), answer(8, 1_000), &counters);
        assert_eq!(
            lists.get("01", 8, &counters).map(|found| found.seq),
            Some(8)
        );
        assert_eq!(lists.parts.lock().young_bytes, 1_000);
    }

    #[test]
    fn those_that_are_asked_for_stay_and_no_more_bytes_are_kept_than_there_is_room_for() {
        let (lists, counters) = lists();
        for n in 0..99 {
            lists.keep(key(n), answer(1, 1_000), &counters);
            assert!(lists.get("00", 1, &counters).is_some(), "after {n}");
            let parts = lists.parts.lock();
            assert!(parts.young_bytes <= 16_000);
            let kept = parts.young.len() + parts.old.len();
            assert!(kept <= 32 && kept >= 16.min(n + 1), "{kept} after {n}");
        }
        assert!(lists.get("98", 1, &counters).is_some());
        assert!(lists.get("01", 1, &counters).is_none());
        let dropped = counters.lists_dropped.load(Ordering::Relaxed);
        assert!((64..99).contains(&dropped), "{dropped} were dropped");
    }

    #[test]
    fn an_answer_that_would_take_the_room_of_many_is_not_kept() {
        let (lists, counters) = lists();
        lists.keep(key(1), answer(1, 2_001), &counters);
        assert!(lists.get("01", 1, &counters).is_none());
        lists.keep(key(1), answer(1, 2_000), &counters);
        assert!(lists.get("01", 1, &counters).is_some());
        let none = KeptLists::new(0);
        none.keep(key(1), answer(1, 1_000), &counters);
        assert!(none.get("01", 1, &counters).is_none() && !none.is_on());
    }
}
