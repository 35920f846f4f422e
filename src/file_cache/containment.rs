//! The rules that a request path must pass before a file is looked for, in their order, each with its reason.
//!
//! A path comes as the client sent it, percent-encoded, after the route's prefix has been taken off: empty, or beginning
//! with `/`. It leaves as a [`SafePath`], from which nothing outside of the folder can be named, whatever the folder is.
//!
//! 1. **Length first**: everything below costs time in proportion to it.
//! 2. **Form**: empty or beginning with one `/`. Whatever else it is (`C:/x`, `http://x`), it is no path below a prefix.
//! 3. **Split at `/` before decoding**, so that `%2f` can't make a segment out of nothing; a decoded segment which
//!    contains `/` is refused in rule 6.
//! 4. **Decode exactly once.** `%252e` is the file name `%2e`; decoding again is how `..` got past many a server. A bad
//!    sequence is refused, not passed through, since two readers of it might disagree.
//! 5. **UTF-8**: file names are shown, logged and compared as text; overlong forms of `/` and `.` are refused here.
//! 6. **Bytes that no name needs**: NUL ends a path for the kernel, control characters forge log lines, `\` is a separator
//!    elsewhere and a proxy in front may take it for one, `/` see rule 3.
//! 7. **Empty segments** (`//`): one file would have endless names, and a redirect to `//host` leaves the site.
//! 8. **`.` and `..`**: refused and not resolved; an honest client has resolved them before sending.
//! 9. **Hidden names** (a leading dot: `.git`, `.env`): never meant for the world. The one exception is `.well-known` as
//!    the first segment (RFC 8615).
//! 10. **Length of a name, number of segments**: what the file system would refuse anyway, refused without asking it.
//! 11. **One plain component**: the platform's own parser has to agree that a segment is one normal name. The last check:
//!     `PathBuf::push` of anything absolute would replace the root.
//!
//! What rules on names can't see is links. They are resolved when a file is opened (`folder`): what leads out of the
//! root is refused there.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::percent;

/// Bytes of a path as sent; Linux's own limit for a path.
pub(crate) const PATH_BYTES_MAX: usize = 4096;
/// Bytes of one decoded name; the limit of all common file systems.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Segments of a path: deeper than any site, shallow enough that nothing recurses far.
pub(crate) const SEGMENTS_MAX: usize = 64;
/// The one hidden name that is meant for the world (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// The rule that a refused path breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathRefusal {
    /// Longer than [`PATH_BYTES_MAX`], or a name longer than [`NAME_BYTES_MAX`].
    #[error(
        "the path is too long: keep it below {PATH_BYTES_MAX} bytes and each name below {NAME_BYTES_MAX}"
    )]
    TooLong,
    /// More than [`SEGMENTS_MAX`] segments.
    #[error("the path is too deep: keep it below {SEGMENTS_MAX} segments")]
    TooDeep,
    /// Neither empty nor beginning with `/`, or not one plain name a segment.
    #[error("the path can not be the name of a file")]
    Form,
    /// `%` without two hexadecimal digits.
    #[error("the path has a percent sign without two hexadecimal digits")]
    Encoding,
    /// Decoded, it is no UTF-8.
    #[error("the decoded path is not UTF-8")]
    NotText,
    /// NUL, a control character, a backslash, or an encoded slash.
    #[error("the path has a character that is not allowed in file names")]
    Character,
    /// Two slashes in a row.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`, encoded or not.
    #[error("the path has a dot segment: resolve it before sending")]
    DotSegment,
    /// A name that begins with a dot.
    #[error("the path names a hidden file")]
    Hidden,
}

/// A path that has passed every rule: decoded, empty or beginning with `/`, and a trailing `/` if it asks for a folder.
///
/// It is the key of the cache. A path as sent that has no `%` *is* its own safe form, if it has one at all; so the hot
/// way looks it up as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SafePath(Arc<str>);

impl SafePath {
    /// Checks `raw` against every rule.
    pub(crate) fn new(raw: &str) -> Result<Self, PathRefusal> {
        if raw.len() > PATH_BYTES_MAX {
            return Err(PathRefusal::TooLong);
        }
        if raw.is_empty() || raw == "/" {
            return Ok(Self(Arc::from(raw)));
        }
        let rest = raw.strip_prefix('/').ok_or(PathRefusal::Form)?;
        let mut safe = String::with_capacity(raw.len());
        // A trailing slash asks for a folder; it is no empty segment.
        let (names, folder) = rest
            .strip_suffix('/')
            .map_or((rest, false), |names| (names, true));
        for (index, encoded) in names.split('/').enumerate() {
            if index >= SEGMENTS_MAX {
                return Err(PathRefusal::TooDeep);
            }
            safe.push('/');
            safe.push_str(&name(encoded, index == 0)?);
        }
        if folder {
            safe.push('/');
        }
        Ok(Self(Arc::from(safe)))
    }

    /// The path of the root's own page.
    pub(crate) fn top() -> Self {
        Self(Arc::from("/"))
    }

    /// The text: the cache's key.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The key, shared.
    pub(crate) fn key(&self) -> &Arc<str> {
        &self.0
    }

    /// Whether it asks for a folder, and so for the folder's index file.
    pub(crate) fn is_folder(&self) -> bool {
        self.0.ends_with('/')
    }

    /// Whether a file of this name, in the folder that it asks for, has a path that is let through.
    pub(crate) fn may_have(&self, name: &str) -> bool {
        let encoded = name.replace('%', "%25");
        let inside = format!("{}{encoded}", self.0.replace('%', "%25"));
        !name.is_empty() && !name.contains('/') && Self::new(&inside).is_ok()
    }

    /// The path below `root`; a folder's path leads to its `index`.
    pub(crate) fn under(&self, root: &Path, index: &str) -> PathBuf {
        let mut path = root.to_owned();
        path.extend(self.0.split('/').filter(|name| !name.is_empty()));
        if self.is_folder() {
            path.push(index);
        }
        path
    }
}

/// Decodes one segment and checks it.
fn name(encoded: &str, first: bool) -> Result<Cow<'_, str>, PathRefusal> {
    let name = decode(encoded)?;
    if name
        .chars()
        .any(|c| c.is_control() || c == '\\' || c == '/')
    {
        return Err(PathRefusal::Character);
    }
    if name.is_empty() {
        return Err(PathRefusal::EmptySegment);
    }
    if name == "." || name == ".." {
        return Err(PathRefusal::DotSegment);
    }
    if name.starts_with('.') && !(first && name == WELL_KNOWN) {
        return Err(PathRefusal::Hidden);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(PathRefusal::TooLong);
    }
    let mut components = Path::new(&*name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == &*name => Ok(name),
        _ => Err(PathRefusal::Form),
    }
}

/// Decodes the percent-encoding, once.
fn decode(encoded: &str) -> Result<Cow<'_, str>, PathRefusal> {
    if !percent::is_whole(encoded) {
        return Err(PathRefusal::Encoding);
    }
    percent::decoded(encoded).ok_or(PathRefusal::NotText)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn safe(raw: &str) -> Result<String, PathRefusal> {
        SafePath::new(raw).map(|path| path.as_str().to_owned())
    }

    #[test]
    fn plain_paths_are_their_own_safe_form() {
        for raw in [
            "",
            "/",
            "/index.html",
            "/a/b/c.css",
            "/a/",
            "/a..b",
            "/a.b.",
            "/~x",
            "/C:x",
            "/a+b",
            "/a b",
        ] {
            assert_eq!(safe(raw), Ok(raw.to_owned()), "{raw}");
        }
        assert_eq!(
            safe("/.well-known/security.txt"),
            Ok("/.well-known/security.txt".to_owned())
        );
    }

    #[test]
    fn encoded_paths_are_decoded_once() {
        assert_eq!(safe("/a%20b/%41.html"), Ok("/a b/A.html".to_owned()));
        assert_eq!(safe("/caf%C3%A9"), Ok("/caf\u{e9}".to_owned()));
        assert_eq!(safe("/%252e%252e/x"), Ok("/%2e%2e/x".to_owned()));
        assert_eq!(safe("/100%25"), Ok("/100%".to_owned()));
    }

    #[test]
    fn every_rule_refuses_with_its_own_reason() {
        let (long_path, long_name) = ("/a".repeat(2049), format!("/{}", "n".repeat(256)));
        let deep = "/a".repeat(65);
        let cases: &[(&str, PathRefusal)] = &[
            (&long_path, PathRefusal::TooLong),
            (&long_name, PathRefusal::TooLong),
            (&deep, PathRefusal::TooDeep),
            ("a", PathRefusal::Form),
            ("..", PathRefusal::Form),
            ("http://host/a", PathRefusal::Form),
            ("/%", PathRefusal::Encoding),
            ("/%4", PathRefusal::Encoding),
            ("/%zz", PathRefusal::Encoding),
            ("/%u002e", PathRefusal::Encoding),
            ("/%+1", PathRefusal::Encoding),
            ("/%ff", PathRefusal::NotText),
            ("/%c0%ae%c0%ae/x", PathRefusal::NotText),
            ("/%e0%80%af", PathRefusal::NotText),
            ("/a%00.html", PathRefusal::Character),
            ("/a\0", PathRefusal::Character),
            ("/a%0d%0aSet-Cookie:x", PathRefusal::Character),
            ("/a%7f", PathRefusal::Character),
            ("/%C2%85", PathRefusal::Character),
            ("/..\\x", PathRefusal::Character),
            ("/%5c..%5cx", PathRefusal::Character),
            ("/a%2fb", PathRefusal::Character),
            ("/..%2f..%2fx", PathRefusal::Character),
            ("//", PathRefusal::EmptySegment),
            ("//host/x", PathRefusal::EmptySegment),
            ("/a//b", PathRefusal::EmptySegment),
            ("/a//", PathRefusal::EmptySegment),
            ("/.", PathRefusal::DotSegment),
            ("/..", PathRefusal::DotSegment),
            ("/a/../b", PathRefusal::DotSegment),
            ("/a/./b", PathRefusal::DotSegment),
            ("/%2e%2E/x", PathRefusal::DotSegment),
            ("/.%2e/", PathRefusal::DotSegment),
            ("/.git/config", PathRefusal::Hidden),
            ("/a/.env", PathRefusal::Hidden),
            ("/%2eenv", PathRefusal::Hidden),
            ("/...", PathRefusal::Hidden),
            ("/a/.well-known/x", PathRefusal::Hidden),
            ("/.well-known2", PathRefusal::Hidden),
        ];
        for (raw, refusal) in cases {
            assert_eq!(safe(raw), Err(*refusal), "{raw:?}");
        }
    }

    #[test]
    fn the_limits_themselves_are_let_through() {
        assert!(safe(&format!("/{}", "n".repeat(255))).is_ok());
        assert!(safe(&"/a".repeat(64)).is_ok());
    }

    #[test]
    fn a_folder_may_have_files_that_can_be_asked_for() {
        let top = SafePath::top();
        for (name, may) in [
            ("a.txt", true),
            ("50%.txt", true),
            ("a b", true),
            (".well-known", true),
            (".git", false),
            ("a\\b", false),
            ("a\nb", false),
            ("a/b", false),
            ("", false),
        ] {
            assert_eq!(top.may_have(name), may, "{name:?}");
        }
        let folder = SafePath::new("/50%25/").unwrap();
        assert!(folder.may_have("a.txt") && !folder.may_have(".well-known"));
    }

    #[test]
    fn folders_lead_to_their_index() {
        let under = |raw: &str| {
            SafePath::new(raw)
                .unwrap()
                .under(Path::new("/srv"), "index.html")
        };
        assert_eq!(under("/"), Path::new("/srv/index.html"));
        assert_eq!(under("/a/"), Path::new("/srv/a/index.html"));
        assert_eq!(under("/a"), Path::new("/srv/a"));
        assert_eq!(under(""), Path::new("/srv"));
    }

    proptest! {
        #[test]
        fn whatever_is_let_through_stays_below_the_root(raw in "(/|%2e|%2f|\\.|%|\\\\|a|%00|%c3|%a9|%5c|C:|~){0,12}") {
            if let Ok(path) = SafePath::new(&raw) {
                let full = path.under(Path::new("/srv/root"), "i");
                prop_assert!(full.starts_with("/srv/root"));
                prop_assert!(full.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_))));
                prop_assert!(raw.contains('%') || path.as_str() == raw);
                // The safe form, encoded again, is let through as itself.
                let again = path.as_str().replace('%', "%25");
                prop_assert_eq!(SafePath::new(&again), Ok(path));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(raw in ".{0,200}") {
            drop(SafePath::new(&raw));
        }
    }
}
