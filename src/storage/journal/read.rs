//! Reads the journal and checks it: each frame's check sums, and that none is missing between two.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::change::JournalChange;
use super::frame::{Chain, FrameFault, FrameInfo, HEAD_BYTES};
use super::segment::{self, SEGMENT_HEAD_BYTES, SegmentHead};
use super::{JournalError, StoreId, at};
use crate::num::as_u64;
use crate::plain_file;

/// The most readings of files that a daemon removes meanwhile.
const READINGS_MAX: u32 = 5;

/// The place after the last frame that counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JournalEnd {
    /// The number of the last segment; 0 if there is none.
    pub(crate) number: u64,
    /// The position in it.
    pub(crate) at: u64,
    /// The last change; that before the first one if there is none.
    pub(crate) last: u64,
    pub(crate) chain: Chain,
    /// Whether nothing was written behind it. Otherwise there are bytes that are no frame: a tear, or damage.
    pub(crate) clean: bool,
}

/// The place where a reading ended.
#[derive(Debug)]
pub(crate) enum Reach {
    /// To the end.
    End(JournalEnd),
    /// To damage that is not at the end: all changes up to `last` were read.
    Damage { last: u64, error: JournalError },
}

/// The segments of a journal.
#[derive(Debug)]
pub(crate) struct JournalFiles {
    pub(super) folder: PathBuf,
    segments: Vec<(u64, Result<SegmentHead, FrameFault>)>,
    /// Counts the bytes that are read.
    counter: Option<Arc<AtomicU64>>,
    /// Whether what a newer release wrote counts as damage. Otherwise it is an error.
    newer_is_damage: bool,
}

impl JournalFiles {
    /// The result of `read`, which finds the files and reads them. It is begun again a few times if the daemon that uses them
    /// made a snapshot meanwhile and removed older files, which `is_outdated` tells from the result.
    pub(crate) fn beside_daemon<T>(
        mut read: impl FnMut() -> T,
        is_outdated: impl Fn(&T) -> bool,
    ) -> T {
        for _ in 1..READINGS_MAX {
            let result = read();
            if !is_outdated(&result) {
                return result;
            }
        }
        read()
    }

    /// Whether there are segments in a folder.
    pub(crate) fn any(folder: &Path) -> Result<bool, JournalError> {
        Ok(!segment::numbers(folder)?.is_empty())
    }

    /// Makes the next reading come from the disk: after a failed sync, the kernel has pages that were never written, and takes
    /// them for written.
    pub(crate) fn forget_cached(folder: &Path) -> Result<(), JournalError> {
        if let Some(number) = segment::numbers(folder)?.last() {
            let path = segment::path_of(folder, *number);
            let forgotten = plain_file::open(&path).and_then(|file| {
                let advice = rustix::fs::Advice::DontNeed;
                Ok(rustix::fs::fadvise(&file, 0, None, advice)?)
            });
            forgotten.map_err(at(&path))?;
        }
        Ok(())
    }

    /// Looks which segments there are. Those of another store count as damaged.
    pub(crate) fn find(folder: &Path, store: StoreId) -> Result<Self, JournalError> {
        let mut segments = Vec::new();
        for number in segment::numbers(folder)? {
            let path = segment::path_of(folder, number);
            let head = head_of(&path)?.and_then(|head| {
                if head.store == store && head.number == number {
                    Ok(head)
                } else {
                    Err(FrameFault::Foreign)
                }
            });
            let head = match head {
                Err(FrameFault::FileHead) => {
                    head_from_frame(&path, store, number)?.ok_or(FrameFault::FileHead)
                }
                head => head,
            };
            segments.push((number, head));
        }
        Ok(Self {
            folder: folder.to_owned(),
            segments,
            counter: None,
            newer_is_damage: false,
        })
    }

    /// The same, with a counter of the bytes of segments that are read.
    pub(crate) fn counted(self, counter: &Arc<AtomicU64>) -> Self {
        let counter = Some(Arc::clone(counter));
        Self { counter, ..self }
    }

    /// The same, of which what was written before a newer release is read.
    pub(crate) fn before_newer(self) -> Self {
        Self {
            newer_is_damage: true,
            ..self
        }
    }

    /// The bytes that are read for the changes after `after`.
    pub(crate) fn bytes_to_read(&self, after: u64) -> u64 {
        let segments = self.segments.iter().skip(self.begin(after));
        let paths = segments.map(|(number, _)| segment::path_of(&self.folder, *number));
        paths
            .map(|path| fs::metadata(path).map_or(0, |file| file.len()))
            .sum()
    }

    /// The store whose journal is in a folder, by the first segment that can be read.
    pub(crate) fn store_of(folder: &Path) -> Result<Option<StoreId>, JournalError> {
        for number in segment::numbers(folder)? {
            if let Ok(head) = head_of(&segment::path_of(folder, number))? {
                return Ok(Some(head.store));
            }
        }
        Ok(None)
    }

    /// The damaged heads of segments that are read all the same, since their first frame is whole.
    pub(crate) fn damaged_heads(&self) -> Result<Vec<JournalError>, JournalError> {
        let mut damaged = Vec::new();
        self.each_damaged_head(|error, _| {
            damaged.push(error);
            Ok(())
        })?;
        Ok(damaged)
    }

    /// Shows each of these to `visit`, with the head that it should be.
    fn each_damaged_head(
        &self,
        mut visit: impl FnMut(JournalError, &SegmentHead) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        for (number, head) in &self.segments {
            let path = segment::path_of(&self.folder, *number);
            if let Ok(head) = head
                && let Err(fault) = head_of(&path)?
            {
                visit(JournalError::Damaged { path, at: 0, fault }, head)?;
            }
        }
        Ok(())
    }

    /// Writes the damaged heads again of segments whose first frame is whole: that has all that is in a head. Returns what was
    /// damaged. Only for a journal that can be read to its end: then its segments are those of its store.
    pub(crate) fn mend_heads(&self) -> Result<Vec<JournalError>, JournalError> {
        let mut mended = Vec::new();
        self.each_damaged_head(|error, head| {
            let path = segment::path_of(&self.folder, head.number);
            let file = plain_file::open_by(fs::OpenOptions::new().write(true), &path);
            let written = file.and_then(|file| {
                file.write_all_at(&head.encode(), 0)?;
                file.sync_data()
            });
            written.map_err(at(&path))?;
            mended.push(error);
            Ok(())
        })?;
        Ok(mended)
    }

    /// The file of a segment.
    pub(crate) fn path_of(&self, number: u64) -> PathBuf {
        segment::path_of(&self.folder, number)
    }

    /// The error of a reading that was to go up to `wanted`, if it met damage before that, or ended before `needed`, which is on
    /// the disk.
    pub(crate) fn shortfall(&self, reach: Reach, wanted: u64, needed: u64) -> Option<JournalError> {
        match reach {
            Reach::Damage { last, error } => (last < wanted).then_some(error),
            Reach::End(end) => (end.last < needed).then(|| JournalError::Damaged {
                path: self.path_of(end.number.max(1)),
                at: end.at,
                fault: FrameFault::NoFrame,
            }),
        }
    }

    /// The number of the last segment; 0 if there is none.
    pub(crate) fn last_number(&self) -> u64 {
        self.segments.last().map_or(0, |(number, _)| *number)
    }

    /// The first change of the first segment, if that can be read.
    pub(crate) fn first(&self) -> Option<u64> {
        let (_, head) = self.segments.first()?;
        head.as_ref().ok().map(|head| head.first)
    }

    /// Whether the first change of the store may be in them: without segments, if there are no snapshots either.
    pub(crate) fn has_first(&self, no_snapshots: bool) -> bool {
        match self.segments.first() {
            Some((_, Ok(head))) => head.first <= 1,
            Some((_, Err(_))) => true,
            None => no_snapshots,
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The length of the segments that were begun after `seq`.
    pub(crate) fn bytes_after(&self, seq: u64) -> u64 {
        let begun = |(number, head): &(u64, Result<SegmentHead, FrameFault>)| {
            let path = segment::path_of(&self.folder, *number);
            let after = head.as_ref().is_ok_and(|head| head.first > seq);
            after.then(|| fs::metadata(path).map_or(0, |file| file.len()))
        };
        self.segments.iter().filter_map(begun).sum()
    }

    /// Removes the segments whose changes are all at or before `seq`. The last segment stays.
    pub(crate) fn remove_before(&self, seq: u64) -> Result<(), JournalError> {
        for (number, _) in self.segments.iter().take(self.begin(seq)) {
            let path = segment::path_of(&self.folder, *number);
            plain_file::remove(&path).map_err(at(&path))?;
        }
        Ok(())
    }

    /// Has `take` take away the segments whose changes are all at or before `seq`, and tells it whether one is damaged. The
    /// last segment stays.
    pub(crate) fn take_before(
        &self,
        seq: u64,
        take: impl Fn(&Path, bool) -> io::Result<()>,
    ) -> Result<(), JournalError> {
        let first = self.begin(seq);
        for (index, (number, _)) in self.segments.iter().enumerate().take(first) {
            let path = segment::path_of(&self.folder, *number);
            let damaged = !self.is_whole(index)?;
            take(&path, damaged).map_err(at(&path))?;
        }
        Ok(())
    }

    /// The index of the segment that has the change after `after`, if one has; 0 if not.
    fn begin(&self, after: u64) -> usize {
        let begins = |(_, head): &(u64, Result<SegmentHead, FrameFault>)| {
            let head = head.as_ref();
            head.is_ok_and(|head| head.first <= after.saturating_add(1))
        };
        self.segments.iter().rposition(begins).unwrap_or(0)
    }

    /// Whether all changes of a segment can be read.
    fn is_whole(&self, index: usize) -> Result<bool, JournalError> {
        let Some((number, Ok(head))) = self.segments.get(index) else {
            return Ok(false);
        };
        let path = segment::path_of(&self.folder, *number);
        let content = plain_file::read(&path).map_err(at(&path))?;
        let mut place = Place::begin(&content, head);
        let next = self.segments.get(index + 1);
        let until = next.and_then(|(_, next)| Some(next.as_ref().ok()?.first));
        let unread = |_: &[u8]| Ok::<_, JournalError>(false);
        let fault = place.read(until, u64::MAX, &mut { unread }, &mut |_| Ok(()))?;
        Ok(fault.is_none() && until.is_none_or(|until| place.last + 1 == until))
    }

    /// Shows the changes after `after` to `visit`, frame by frame, in order. The changes right after it must be there: if
    /// they are not, that is damage.
    ///
    /// Errors are those of the file system, and those of `visit`.
    pub(crate) fn read<E: From<JournalError>>(
        &self,
        after: u64,
        visit: impl FnMut(Vec<JournalChange>) -> Result<(), E>,
    ) -> Result<Reach, E> {
        self.read_wanted(after, |_| Ok(true), visit)
    }

    /// The same without the frames whose body is not `wanted`: they are checked, but not taken apart.
    pub(crate) fn read_wanted<E: From<JournalError>>(
        &self,
        after: u64,
        mut wanted: impl FnMut(&[u8]) -> Result<bool, E>,
        mut visit: impl FnMut(Vec<JournalChange>) -> Result<(), E>,
    ) -> Result<Reach, E> {
        let mut end = JournalEnd {
            last: after,
            clean: true,
            ..JournalEnd::default()
        };
        let mut known = None;
        let begin = self.begin(after);
        for (index, (number, head)) in self.segments.iter().enumerate().skip(begin) {
            let path = segment::path_of(&self.folder, *number);
            let head = match head {
                Ok(head) => head,
                Err(fault) => return Ok(damage(end.last, path, 0, fault.clone())),
            };
            if known.is_some_and(|chain| chain != head.chain) || head.first > end.last + 1 {
                let (first, last) = (end.last + 1, head.first.saturating_sub(1));
                let error = JournalError::Missing { path, first, last };
                let last = end.last;
                return Ok(Reach::Damage { last, error });
            }
            // Frames from here on don't count; without a segment behind this one, all do.
            let next = self.segments.get(index + 1).map(|(_, next)| next.as_ref());
            let until = match next {
                Some(Ok(next)) => Some(next.first),
                // The damage of the next one is told when it is its turn.
                Some(Err(_)) | None => None,
            };
            let content = plain_file::read(&path).map_err(at(&path))?;
            let mut place = Place::begin(&content, head);
            let fault = place.read(until, after, &mut wanted, &mut visit)?;
            if let Some(counter) = &self.counter {
                counter.fetch_add(as_u64(content.len()), Ordering::Relaxed);
            }
            if let Some(fault @ FrameFault::Version(_)) = fault {
                let at = as_u64(place.at);
                if self.newer_is_damage {
                    return Ok(damage(place.last, path, at, fault));
                }
                return Err(JournalError::Damaged { path, at, fault }.into());
            }
            let at = as_u64(place.at);
            end = JournalEnd {
                number: *number,
                at,
                last: place.last,
                chain: place.chain,
                clean: fault.is_none(),
            };
            known = Some(place.chain);
            match (until, next, fault) {
                (Some(until), _, fault) if place.last + 1 < until => {
                    let fault = fault.unwrap_or(FrameFault::NoFrame);
                    return Ok(damage(place.last, path, at, fault));
                }
                (None, Some(_), Some(fault)) => return Ok(damage(place.last, path, at, fault)),
                _ => {}
            }
        }
        Ok(Reach::End(end))
    }
}

/// The head of the segment at a path. Errors are those of the file system.
fn head_of(path: &Path) -> Result<Result<SegmentHead, FrameFault>, JournalError> {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    match read_from(path, 0, &mut head) {
        Err(JournalError::Damaged { fault, .. }) => Ok(Err(fault)),
        read => read.map(|()| SegmentHead::decode(&head)),
    }
}

/// The same without the head, from the first frame.
fn head_from_frame(
    path: &Path,
    store: StoreId,
    number: u64,
) -> Result<Option<SegmentHead>, JournalError> {
    let mut frame = [0; HEAD_BYTES];
    read_from(path, as_u64(SEGMENT_HEAD_BYTES), &mut frame)?;
    let info = FrameInfo::decode(&frame).ok().flatten();
    Ok(info.map(|info| SegmentHead {
        store,
        number,
        first: info.first,
        chain: info.before,
    }))
}

/// Fills `bytes` from a place in a file; what the file does not have stays as it is.
fn read_from(path: &Path, place: u64, bytes: &mut [u8]) -> Result<(), JournalError> {
    let file = plain_file::open(path).map_err(at(path))?;
    match file.read_exact_at(bytes, place) {
        // A file that was cut is damaged; the disk did not fail.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        read => read.map_err(at(path)),
    }
}

fn damage(last: u64, path: PathBuf, at: u64, fault: FrameFault) -> Reach {
    let error = JournalError::Damaged { path, at, fault };
    Reach::Damage { last, error }
}

/// A place in a segment.
struct Place<'a> {
    content: &'a [u8],
    at: usize,
    last: u64,
    chain: Chain,
}

impl<'a> Place<'a> {
    fn begin(content: &'a [u8], head: &SegmentHead) -> Self {
        Self {
            content,
            at: SEGMENT_HEAD_BYTES,
            last: head.first.saturating_sub(1),
            chain: head.chain,
        }
    }

    /// The next frame with its checked body; `None` if nothing was written here.
    fn next(&self) -> Result<Option<(FrameInfo, &'a [u8])>, FrameFault> {
        let rest = self.content.get(self.at..).unwrap_or_default();
        let Some(info) = FrameInfo::decode(rest)? else {
            return Ok(None);
        };
        if !info.follows(self.chain) || info.first != self.last + 1 || info.last < info.first {
            return Err(FrameFault::Order);
        }
        let body = info.body(rest)?;
        Ok(Some((info, body)))
    }

    /// Passes all frames up to change `until`, or up to a fault, and shows the changes after `after` to `visit`.
    fn read<E>(
        &mut self,
        until: Option<u64>,
        after: u64,
        wanted: &mut impl FnMut(&[u8]) -> Result<bool, E>,
        visit: &mut impl FnMut(Vec<JournalChange>) -> Result<(), E>,
    ) -> Result<Option<FrameFault>, E> {
        while until != Some(self.last + 1) {
            let (info, body) = match self.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(fault) => return Ok(Some(fault)),
            };
            if info.last > after && (info.is_compressed() || wanted(body)?) {
                match info.changes(body) {
                    Ok(changes) => visit(changes)?,
                    Err(fault) => return Ok(Some(fault)),
                }
            }
            self.pass(&info);
        }
        Ok(None)
    }

    fn pass(&mut self, info: &FrameInfo) {
        self.at += info.bytes();
        self.last = info.last;
        self.chain = info.chain;
    }
}
