//! The part of the child that makes encoded contents, each once: by compressing, or by reading a file that its owner compressed.

// Decision: A file is compressed when the first client asks for it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::budget::cost;
use super::cache::{FileKey, Looks, Waiting, known, settle, take_used};
use super::containment::SafePath;
use super::encodings::{CodingState, Encoded, EncodingSource, Encodings};
use super::entry::Entry;
use super::file_error::FileError;
use super::fingerprint;
use super::message::{FileMessage, Loaded};
use super::published::Published;
use super::root_io::RootIo;
use super::waiting::Joined;
use crate::num::as_u64;
use crate::settings::ContentCoding;
use crate::supervision::{ChildContext, Delivery};

/// The time for which clients wait for an encoded content. It is made all the same after that, and they get the file as it is.
pub(crate) const MAKING_PATIENCE: Duration = Duration::from_millis(250);
/// The most contents that are being made, or wait for it, at a time. Each holds its file in memory.
pub(crate) const MAKINGS_MAX: usize = 64;

/// A content that is to be made.
struct Making {
    key: FileKey,
    path: SafePath,
    entry: Arc<Entry>,
    coding: ContentCoding,
}

/// One of at most [`MAKINGS_MAX`].
struct MakingPlace(Rc<Cell<usize>>);

impl MakingPlace {
    fn take(taken: &Rc<Cell<usize>>) -> Option<Self> {
        (taken.get() < MAKINGS_MAX).then(|| {
            taken.set(taken.get() + 1);
            Self(Rc::clone(taken))
        })
    }
}

impl Drop for MakingPlace {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Looks {
    /// Has a file in memory encoded for the sender of `message`, who gets the file in any case, and looks itself whether it has
    /// the coding.
    pub(super) fn encode(
        self: &Rc<Self>,
        message: Delivery<FileMessage>,
        coding: ContentCoding,
        cx: &mut ChildContext,
    ) {
        let (root, path) = (Arc::clone(&message.root), message.path.clone());
        let Some(entry) = known(&root, &path) else {
            // It is not kept; whoever asks has it already.
            return settle(&message, Err(FileError::Absent));
        };
        let full = &self.published.counters.encoding_full;
        if entry.coding(coding) != CodingState::Unmade {
            return settle(&message, Ok(Loaded::Entry(entry)));
        }
        let joined = self.with_makings(&root, coding, |makings| makings.join(path.key(), message));
        match joined {
            Joined::Later => {}
            Joined::Full(message) => {
                full.inc();
                settle(&message, Ok(Loaded::Entry(entry)));
            }
            Joined::First => {
                let key = (root, Arc::clone(path.key()));
                let making = Making {
                    key,
                    path,
                    entry,
                    coding,
                };
                if let Some(place) = MakingPlace::take(&self.making) {
                    cx.spawn(Rc::clone(self).make(making, place));
                } else {
                    full.inc();
                    self.answer_all(&making, &making.entry);
                }
            }
        }
    }

    /// Makes one content for all who wait for it.
    async fn make(self: Rc<Self>, making: Making, place: MakingPlace) {
        let Some(encodings) = &making.entry.encodings else {
            return;
        };
        let mut made = Box::pin(self.made(&making, encodings));
        let made = if let Ok(made) = timeout(MAKING_PATIENCE, &mut made).await {
            made
        } else {
            let _late = encodings.late(making.coding);
            self.published.counters.encoding_late.inc();
            self.answer_all(&making, &making.entry);
            made.await
        };
        let kept = self.keep_encoded(&making, made);
        self.answer_all(&making, &kept);
        drop(place);
    }

    /// Answers all who wait for this content with the file: the content is there, or they get the file as it is.
    fn answer_all(&self, making: &Making, entry: &Arc<Entry>) {
        let (root, path) = &making.key;
        let waiting = self.with_makings(root, making.coding, |makings| makings.take(path));
        for message in waiting {
            settle(&message, Ok(Loaded::Entry(Arc::clone(entry))));
        }
    }

    /// Makes the content. `None` if there is none to be had.
    async fn made(&self, making: &Making, encodings: &Encodings) -> Option<Encoded> {
        let coding = making.coding;
        match encodings.source(coding)? {
            EncodingSource::Content => {
                let (published, entry) = (Arc::clone(&self.published), Arc::clone(&making.entry));
                let content = entry.content.clone();
                let keep = move |bytes| encoded(&published, &entry, coding, bytes);
                let compressed = self.published.compressor.compress(coding, content, keep);
                let compressed = compressed.await;
                self.published.counters.compressed.inc();
                compressed
            }
            EncodingSource::Sibling(expected) => {
                let root = &making.key.0;
                let original = making.entry.stamp?;
                let (path, entry) = (making.path.clone(), Arc::clone(&making.entry));
                let turn = root.turn().await;
                let mut call = self.begin(root, &making.path, turn, move |loader, published| {
                    let read = loader.read_sibling(&path, &original, coding, &expected);
                    read.map(|read| read.map(|bytes| encoded(published, &entry, coding, bytes)))
                });
                let read = match call.in_time().await {
                    Some(read) => read,
                    None => call.late().await?,
                };
                read.ok().flatten()
            }
        }
    }

    /// Keeps what was made with its file in memory, if there is room for it in the budget. The file may have been read again
    /// meanwhile. The result is the entry that is in memory now.
    fn keep_encoded(&self, making: &Making, made: Option<Encoded>) -> Arc<Entry> {
        let Making {
            key,
            path,
            entry,
            coding,
        } = making;
        let known = known(&key.0, path).filter(|known| known.has_content_of(entry, *coding));
        let kept = known.clone().unwrap_or_else(|| Arc::clone(entry));
        if let Some(encodings) = &kept.encodings
            && self.fence.holds()
        {
            let made = made.map(|made| made.described_as(&kept.about, *coding));
            // An entry that has left memory is held by those who wait, and by nobody after them.
            let made = made.filter(|made| known.is_none() || self.make_room(key, &kept, made));
            encodings.set(*coding, made);
            self.count();
        }
        kept
    }

    /// Makes room in the budget for an encoded content beside its entry. False if both are larger than the whole budget.
    fn make_room(&self, key: &FileKey, entry: &Arc<Entry>, made: &Encoded) -> bool {
        let larger = entry.cost().saturating_add(cost(made.content.length()));
        let mut budget = self.budget.borrow_mut();
        budget.remove(key);
        let admitted = budget.admit(key.clone(), larger, take_used);
        drop(budget);
        if let Some(evicted) = admitted {
            self.drop_evicted(&evicted);
            return true;
        }
        self.published.counters.encoding_full.inc();
        if !self.admit(key, entry) {
            self.publish(key, None);
        }
        false
    }

    fn with_makings<T>(
        &self,
        root: &RootIo,
        coding: ContentCoding,
        change: impl FnOnce(&mut Waiting) -> T,
    ) -> T {
        let mut all = self.makings.borrow_mut();
        let waiting = all.entry((root.id, coding)).or_default();
        let result = change(waiting);
        if waiting.is_empty() {
            all.remove(&(root.id, coding));
        }
        result
    }
}

/// The encoded content of an entry, kept like the content itself.
fn encoded(
    published: &Published,
    entry: &Entry,
    coding: ContentCoding,
    bytes: bytes::Bytes,
) -> Encoded {
    let about = entry.about.encoded(coding, fingerprint::of_content(&bytes));
    published.counters.encoded_bytes.inc_by(as_u64(bytes.len()));
    let content = published.memory_files.keep(bytes);
    Encoded { content, about }
}
