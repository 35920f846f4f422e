//! What the head of an answer says about a file; formatted once, when the file is read.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::containment::SafePath;
use super::root::SiteRoot;

/// The last second that an HTTP date can name: the end of the year 9999.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// The header fields of a file.
///
/// They are [`Bytes`] of visible ASCII, so that a header value is made of them without a copy.
#[derive(Debug, Clone)]
pub(crate) struct Representation {
    /// `Content-Type`, such as `text/html; charset=utf-8`.
    pub content_type: Bytes,
    /// `Content-Encoding`, for a file that is stored compressed and is meant to be shown uncompressed.
    pub content_encoding: Option<Bytes>,
    /// `ETag`, quotes included.
    pub etag: Bytes,
    /// `Last-Modified`: [`modified`](Self::modified) as an HTTP date.
    pub last_modified: Bytes,
    /// `Cache-Control`.
    pub cache_control: Option<Bytes>,
    /// When the file was modified, in whole seconds, never later than the moment it was read.
    pub modified: SystemTime,
}

impl Representation {
    /// The header fields of `file`, which was found at `path` below `root`, modified at `modified` and read at `now`.
    pub(crate) fn new(
        root: &SiteRoot,
        path: &SafePath,
        file: &Path,
        etag: String,
        modified: SystemTime,
        now: SystemTime,
    ) -> Self {
        let (content_type, content_encoding) = root.types.headers(file);
        let modified = whole_seconds(modified, now);
        Self {
            cache_control: root.cache.of(path, &root.index, &content_type),
            content_type,
            content_encoding,
            etag: Bytes::from(etag),
            last_modified: Bytes::from(httpdate::fmt_http_date(modified)),
            modified,
        }
    }
}

/// A time as an HTTP date can say it: in whole seconds (so that what a client sends back compares equal), not before 1970,
/// not after 9999, and not in the future (RFC 9110, 8.8.2.1).
fn whole_seconds(time: SystemTime, now: SystemTime) -> SystemTime {
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

    #[test]
    fn the_date_is_the_one_that_a_client_sends_back() {
        let (root, path, file) = (
            SiteRoot::plain(Path::new("/")),
            SafePath::top(),
            Path::new("index.html"),
        );
        let modified = at(784_111_777) + Duration::from_millis(700);
        let etag = "\"1\"".to_owned();
        let about = Representation::new(&root, &path, file, etag, modified, at(900_000_000));
        assert_eq!(about.last_modified, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(about.modified, at(784_111_777));
        assert_eq!(
            httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap(),
            about.modified
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
}
