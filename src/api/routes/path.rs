//! The path of a request as routes compare it: decoded and without detours (RFC 3986 section 6.2.2). Pure.
//!
//! A route has one name and many spellings: `/%61pp` is `/app`. So segments are compared decoded. They are split before
//! they are decoded, so that `%2f` makes no segment; and a segment that can't be decoded to a name is equal to none.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::percent;

/// A path as routes compare it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spelling<'a> {
    /// The decoded path. It has as many segments as the path that was sent.
    Direct(Cow<'a, str>),
    /// The path has empty or dot segments. This is a relative reference to where it leads without them.
    Detour(String),
}

/// Stands for a segment that can't be decoded to a name. No route has it in its path.
const NO_NAME: &str = "\0";

/// Decodes a path as it was sent.
pub(super) fn spelling(path: &str) -> Spelling<'_> {
    let Some(below) = path.strip_prefix('/').filter(|_| !is_plain(path)) else {
        return Spelling::Direct(Cow::Borrowed(path));
    };
    let segments: Vec<_> = below.split('/').map(|sent| (sent, decoded(sent))).collect();
    let last = segments.len().saturating_sub(1);
    let empty = segments.iter().take(last).any(|(sent, _)| sent.is_empty());
    if empty || segments.iter().any(|(_, name)| is_dots(name)) {
        return Spelling::Detour(without_detours(&segments));
    }
    let names = segments.iter().map(|(_, name)| ["/", name.as_ref()]);
    Spelling::Direct(Cow::Owned(names.flatten().collect()))
}

/// Whether a path is its own decoded form for sure. Most are.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let fine = byte != b'%' && !(before == b'/' && matches!(byte, b'/' | b'.'));
        before = byte;
        fine
    })
}

fn decoded(sent: &str) -> Cow<'_, str> {
    let name = percent::decoded(sent).filter(|name| !name.contains(['/', '\0']));
    name.unwrap_or(Cow::Borrowed(NO_NAME))
}

fn is_dots(name: &str) -> bool {
    name == "." || name == ".."
}

/// Removes empty segments, and dot segments by RFC 3986 section 5.2.4. What is left stays as it was sent. The reference is
/// relative, since a proxy may have taken a prefix off.
fn without_detours(segments: &[(&str, Cow<'_, str>)]) -> String {
    let mut kept = Vec::new();
    for (sent, name) in segments {
        match name.as_ref() {
            ".." => drop(kept.pop()),
            "." | "" => {}
            _ => kept.push(*sent),
        }
    }
    let mut reference = "../".repeat(segments.len().saturating_sub(1));
    if reference.is_empty() {
        reference.push_str("./");
    }
    reference.push_str(&kept.join("/"));
    let folder = segments
        .last()
        .is_some_and(|(_, name)| name.is_empty() || is_dots(name));
    if folder && !kept.is_empty() {
        reference.push('/');
    }
    reference
}

/// A decoded path, encoded for a URL.
pub(crate) fn encoded(path: &str) -> String {
    const REST: AsciiSet = NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b'/');
    utf8_percent_encode(path, &REST).to_string()
}

/// The position in the path, as it was sent, after so many segments.
pub(super) fn after_segments(path: &str, segments: usize) -> usize {
    let mut slashes = path.match_indices('/').skip(segments);
    slashes.next().map_or(path.len(), |(at, _)| at)
}

/// One segment, decoded, if it is a name.
pub(crate) fn segment(sent: &str) -> Option<Cow<'_, str>> {
    Some(decoded(sent)).filter(|name| name != NO_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_a_name_is_decoded_once() {
        for (sent, expected) in [
            ("/", "/"),
            ("*", "*"),
            ("/app/x", "/app/x"),
            ("/%61pp/x", "/app/x"),
            ("/%41pp/", "/App/"),
            ("/caf%C3%A9", "/caf\u{e9}"),
            ("/caf%c3%a9", "/caf\u{e9}"),
            ("/a%20b", "/a b"),
            ("/a/.well-known", "/a/.well-known"),
            ("/%2561pp", "/%61pp"),
            ("/app%2Fx", "/\0"),
            ("/app/%2f/x", "/app/\0/x"),
            ("/app/%zz/x", "/app/\0/x"),
            ("/app/%", "/app/\0"),
            ("/app/%ff", "/app/\0"),
            ("/app/%00", "/app/\0"),
            ("/..%2f..%2fetc", "/\0"),
        ] {
            let expected = Spelling::Direct(Cow::Borrowed(expected));
            assert_eq!(spelling(sent), expected, "{sent}");
        }
    }

    #[test]
    fn a_detour_is_told_where_it_leads() {
        for (sent, reference) in [
            ("//x", "../x"),
            ("/./x", "../x"),
            ("/x/../y", "../../y"),
            ("/x/%2e%2E/y", "../../y"),
            ("/x/.%2e/y/", "../../../y/"),
            ("/../../x", "../../x"),
            ("//", "../"),
            ("/.", "./"),
            ("/..", "./"),
            ("/a/.", "../a/"),
            ("/a/b/..", "../../a/"),
            ("//evil.example/x", "../../evil.example/x"),
            ("///evil.example", "../../evil.example"),
            ("/a//b%20c//", "../../../../a/b%20c/"),
        ] {
            let reference = Spelling::Detour(reference.to_owned());
            assert_eq!(spelling(sent), reference, "{sent}");
        }
    }

    proptest! {
        #[test]
        fn a_detour_leads_to_a_direct_path_on_this_site(sent in "/(%2[eEfF]|[/.a:%]){0,12}") {
            if let Spelling::Detour(reference) = spelling(&sent) {
                prop_assert!(reference.starts_with('.'), "{}", reference);
                let end = format!("/{}", reference.trim_start_matches("../").trim_start_matches("./"));
                prop_assert!(matches!(spelling(&end), Spelling::Direct(_)), "{}", end);
            }
        }

        #[test]
        fn a_direct_path_keeps_its_segments(sent in "/(%[26][1fF]|[/a%]){0,12}") {
            if let Spelling::Direct(decoded) = spelling(&sent) {
                prop_assert_eq!(decoded.matches('/').count(), sent.matches('/').count());
            }
        }
    }
}
