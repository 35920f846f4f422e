//! One file in memory, with everything that is said about it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::content_type::content_type;
use super::fingerprint;
use super::stamp::Stamp;

/// The last second a date of HTTP can name: the end of the year 9999.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// A file in memory. Its content never changes; a changed file is a new entry.
///
/// The values that go into a head are formatted once and kept as [`Bytes`], so that the edge makes header values of them
/// without a copy. All of them are visible ASCII.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The content.
    pub bytes: Bytes,
    /// Such as `text/html; charset=utf-8`.
    pub content_type: Bytes,
    /// A strong entity tag of the content, quotes included.
    pub etag: Bytes,
    /// [`modified`](Self::modified) as a date of HTTP.
    pub last_modified: Bytes,
    /// What `Cache-Control` says, if anything.
    pub cache_control: Option<Bytes>,
    /// When the file was modified, in whole seconds, never in the future of the moment it was read.
    pub modified: SystemTime,
    /// The state of the file that was read; `None` for what is compiled in.
    pub(crate) stamp: Option<Stamp>,
    /// Whether a later change is sure to have another stamp.
    pub(crate) settled: bool,
    /// When the file was last compared with it, in milliseconds of the cache's own clock.
    checked_at: AtomicU64,
    /// Whether somebody has asked for it to be compared again.
    asked: AtomicBool,
    /// Whether it was served since the budget's hand last passed.
    used: AtomicBool,
}

impl Entry {
    /// The entry for `bytes`, read at `now` from the file at `path` while it had `stamp`.
    pub(crate) fn new(
        path: &Path,
        bytes: Bytes,
        stamp: Option<Stamp>,
        modified: SystemTime,
        now: SystemTime,
        now_ms: u64,
    ) -> Self {
        let modified = whole_seconds(modified, now);
        Self {
            content_type: content_type(path),
            etag: Bytes::from(fingerprint::etag(&bytes)),
            last_modified: Bytes::from(httpdate::fmt_http_date(modified)),
            cache_control: None,
            modified,
            settled: stamp.is_none_or(|stamp| stamp.settled(now)),
            stamp,
            bytes,
            checked_at: AtomicU64::new(now_ms),
            asked: AtomicBool::new(false),
            used: AtomicBool::new(false),
        }
    }

    /// With this `Cache-Control`.
    pub(crate) fn kept_as(mut self, cache_control: Option<Bytes>) -> Self {
        self.cache_control = cache_control;
        self
    }

    /// How long ago it was compared with its file.
    pub(crate) fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.checked_at.load(Ordering::Relaxed))
    }

    /// It was compared with its file, beginning at `now_ms`, and is still true.
    pub(crate) fn checked(&self, now_ms: u64) {
        self.checked_at.fetch_max(now_ms, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// Whether the caller is the one to have it compared: true once, until it has been.
    pub(crate) fn ask(&self) -> bool {
        !self.asked.load(Ordering::Relaxed) && !self.asked.swap(true, Ordering::Relaxed)
    }

    /// The question did not reach anybody: the next one may ask.
    pub(crate) fn unask(&self) {
        self.asked.store(false, Ordering::Relaxed);
    }

    /// It was served. Written only when that is news, so that threads don't fight over the cache line.
    pub(crate) fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was served since this was last asked.
    pub(crate) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

/// A time as HTTP can say it: whole seconds (so that what a client sends back compares equal), not before 1970 nor after
/// 9999 (there is no such date), and not in the future (RFC 9110, 8.8.2.1).
pub(crate) fn whole_seconds(time: SystemTime, now: SystemTime) -> SystemTime {
    let since_epoch = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
    };
    let time = since_epoch(time).min(since_epoch(now)).min(LAST_DATE);
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn entry() -> Entry {
        let bytes = Bytes::from_static(b"<p>");
        let modified = at(784_111_777) + Duration::from_millis(700);
        Entry::new(
            Path::new("/a.html"),
            bytes,
            None,
            modified,
            at(900_000_000),
            40,
        )
    }

    #[test]
    fn what_goes_into_a_head_is_formatted_once() {
        let entry = entry();
        assert_eq!(entry.content_type, "text/html; charset=utf-8");
        assert_eq!(entry.last_modified, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(entry.modified, at(784_111_777));
        assert_eq!(
            httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap(),
            entry.modified
        );
    }

    #[test]
    fn a_time_that_http_can_not_say_is_brought_into_range() {
        let now = at(1_000);
        assert_eq!(
            whole_seconds(SystemTime::UNIX_EPOCH - Duration::from_secs(9), now),
            at(0)
        );
        assert_eq!(whole_seconds(at(2_000), now), at(1_000));
        let far = at(300_000_000_000);
        assert_eq!(
            httpdate::fmt_http_date(whole_seconds(far, far)),
            "Fri, 31 Dec 9999 23:59:59 GMT"
        );
    }

    #[test]
    fn it_is_asked_about_once_until_it_has_been_looked_at() {
        let entry = entry();
        assert!(entry.ask());
        assert!(!entry.ask());
        entry.checked(100);
        assert_eq!(entry.age_ms(130), 30);
        entry.checked(90);
        assert_eq!(
            entry.age_ms(130),
            30,
            "a look that began earlier makes it no older"
        );
        assert!(entry.ask());
        entry.unask();
        assert!(entry.ask());
        assert_eq!(entry.age_ms(0), 0);
    }

    #[test]
    fn use_is_remembered_until_the_hand_passes() {
        let entry = entry();
        assert!(!entry.take_used());
        entry.touch();
        entry.touch();
        assert!(entry.take_used());
        assert!(!entry.take_used());
    }
}
