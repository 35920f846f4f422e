//! The header fields that describe a file, formatted once, when the file is read.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::content_type::is_compressible;
use super::root::SiteRoot;
use super::stamp::Stamp;
use crate::settings::ContentCoding;

/// The last second that an HTTP date can name: the end of the year 9999.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// The header fields of a file.
///
/// They are [`Bytes`] of visible ASCII, so that a header value is made of them without a copy.
#[derive(Debug, Clone)]
pub(crate) struct Representation {
    /// The name of the file below its folder.
    pub name: Arc<str>,
    /// Whether a browser stores it and does not show it.
    pub download: bool,
    /// `Content-Type`, such as `text/html; charset=utf-8`.
    pub content_type: Bytes,
    /// `Content-Encoding`, for a content in a coding, and for a file that is stored compressed and is meant to be shown uncompressed.
    pub content_encoding: Option<Bytes>,
    /// `ETag`, quotes included.
    pub etag: Bytes,
    /// `Last-Modified`: [`modified`](Self::modified) as an HTTP date.
    pub last_modified: Bytes,
    /// `Cache-Control`.
    pub cache_control: Option<Bytes>,
    /// The time when the file was modified, in whole seconds, never later than the moment it was read.
    pub modified: SystemTime,
    /// Whether the answer may depend on `Accept-Encoding`.
    pub varies: bool,
    /// Whether a later change of the file is sure to have another stamp, so that its times can be trusted.
    pub settled: bool,
}

impl Representation {
    /// The header fields of `file`, which was found by this name below `root` and read at `now`. It has no stamp if it is compiled in.
    pub(crate) fn new(
        root: &SiteRoot,
        name: &str,
        file: &Path,
        etag: String,
        stamp: Option<&Stamp>,
        now: SystemTime,
    ) -> Self {
        let (content_type, content_encoding) = root.types.headers(file);
        let modified = stamp.map_or(now, Stamp::modified);
        let modified = whole_seconds(modified, now);
        let may_be_encoded = !root.precompressed.is_empty()
            || !root.compress.is_empty() && is_compressible(&content_type);
        Self {
            name: Arc::from(name.trim_start_matches('/')),
            download: root.downloads.match_file(name),
            varies: may_be_encoded && content_encoding.is_none(),
            cache_control: root.cache.of(name, &content_type),
            content_type,
            content_encoding,
            etag: Bytes::from(etag),
            last_modified: Bytes::from(httpdate::fmt_http_date(modified)),
            modified,
            settled: stamp.is_none_or(|stamp| stamp.settled(now)),
        }
    }

    /// The header fields of the same file in a coding.
    pub(crate) fn encoded(&self, coding: ContentCoding, etag: String) -> Self {
        Self {
            content_encoding: Some(Bytes::from_static(coding.name().as_bytes())),
            etag: Bytes::from(etag),
            ..self.clone()
        }
    }
}

/// A time as an HTTP date can say it: in whole seconds (so that what a client sends back compares equal), not before 1970,
/// not after 9999, and not in the future (RFC 9110, 8.8.2.1).
pub(super) fn whole_seconds(time: SystemTime, now: SystemTime) -> SystemTime {
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
        let (root, file) = (SiteRoot::plain(Path::new("/")), Path::new("index.html"));
        let stamp = Stamp::modified_at(784_111_777);
        let etag = "\"1\"".to_owned();
        let about = Representation::new(
            &root,
            "/index.html",
            file,
            etag,
            Some(&stamp),
            at(900_000_000),
        );
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
