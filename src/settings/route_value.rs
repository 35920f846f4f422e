//! The tables of a route: its headers, its cache rules, its error pages, and what can be wrong with them.

use globset::{Glob, GlobBuilder};

use super::value::{Plain, is_media_type};

/// Headers that are the daemon's to say.
const OWN_HEADERS: [&str; 13] = [
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "etag",
    "keep-alive",
    "last-modified",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// What is wrong with `headers`.
pub(super) fn headers_fault(value: &Plain) -> Option<String> {
    let right = "a table of headers; write { X-Frame-Options = \"DENY\" }";
    each(value, right, |name, value| {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Some(format!("{name:?} is no name of a header"));
        }
        if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Some(format!(
                "{name:?} is said by the server itself; take it out"
            ));
        }
        header_value_fault(value)
    })
}

/// What is wrong with `cache`.
pub(super) fn cache_fault(value: &Plain) -> Option<String> {
    let right = "a table of patterns; write { \"/assets/**\" = \"public, max-age=60\" }";
    each(value, right, |pattern, value| match glob(pattern) {
        Some(_) => header_value_fault(value),
        None => Some(format!(
            "{pattern:?} is no pattern; write one such as \"/assets/**\", \"*.css\" or \"**\""
        )),
    })
}

/// What is wrong with `errors`.
pub(super) fn errors_fault(value: &Plain) -> Option<String> {
    let right = "a table of pages; write { 404 = \"/404.html\" }";
    each(value, right, |status, page| {
        if error_status(status).is_none() {
            return Some(format!(
                "{status:?} is no status of an error; write one from 400 to 599"
            ));
        }
        let named = page.starts_with('/') && !page.ends_with('/');
        (!named).then(|| {
            format!(
                "{page:?} is no page; write a path below the route's folder such as \"/404.html\""
            )
        })
    })
}

/// What is wrong with `types`.
pub(super) fn types_fault(value: &Plain) -> Option<String> {
    let right = "a table of content types; write { \".geojson\" = \"application/geo+json\" }";
    each(value, right, |ending, content_type| {
        let plain = |c: char| c.is_ascii_graphic() && c != '/' && !c.is_ascii_uppercase();
        if ending.len() < 2 || !ending.starts_with('.') || !ending.chars().all(plain) {
            return Some(format!(
                "{ending:?} is no ending of a file name; write one in lower case that begins with a dot, such as \".geojson\""
            ));
        }
        let essence = content_type.split(';').next().unwrap_or_default();
        if is_media_type(essence.trim_end()) {
            return header_value_fault(content_type);
        }
        Some(format!(
            "{content_type:?} is no content type; write one such as \"application/geo+json\""
        ))
    })
}

/// A pattern as it is written: `*` and `?` stay within one name, `**` does not. One without a `/` is about names anywhere.
pub(super) fn glob(pattern: &str) -> Option<Glob> {
    let anywhere = match pattern.strip_prefix('/') {
        _ if pattern.is_empty() => return None,
        Some(below) => below.to_owned(),
        None if pattern.contains('/') => return None,
        None => format!("**/{pattern}"),
    };
    GlobBuilder::new(&anywhere)
        .literal_separator(true)
        .build()
        .ok()
}

/// The status of an error page, as its key is written.
pub(super) fn error_status(text: &str) -> Option<u16> {
    text.parse()
        .ok()
        .filter(|status| (400..=599).contains(status))
}

fn each(
    value: &Plain,
    right: &str,
    fault: impl Fn(&str, &str) -> Option<String>,
) -> Option<String> {
    let Plain::Table(members) = value else {
        return Some(format!("must be {right}"));
    };
    let faults: Vec<_> = members
        .iter()
        .filter_map(|(name, value)| match value {
            Plain::Text(text) => fault(name, text),
            Plain::Bool(_)
            | Plain::Integer(_)
            | Plain::Float(_)
            | Plain::Array(_)
            | Plain::Table(_)
            | Plain::Other(_) => Some(format!("{name:?} must be a text")),
        })
        .collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

fn header_value_fault(value: &str) -> Option<String> {
    let plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let good = !value.is_empty() && value.bytes().all(plain) && value.trim() == value;
    (!good).then(|| format!("{value:?} can't be said in a header; write visible ASCII"))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        glob(pattern)
            .unwrap()
            .compile_matcher()
            .is_match(path.trim_start_matches('/'))
    }

    #[test]
    fn patterns_are_about_paths_below_the_route_or_about_names_anywhere() {
        for (pattern, path, expected) in [
            ("**", "/", true),
            ("**", "/a/b.css", true),
            ("/assets/**", "/assets/a/b.css", true),
            ("/assets/**", "/other/assets/b.css", false),
            ("/assets/*", "/assets/a/b.css", false),
            ("*.css", "/a/b.css", true),
            ("*.css", "/b.css", true),
            ("*.css", "/b.css.map", false),
            ("/*.html", "/index.html", true),
            ("/*.html", "/a/index.html", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        for wrong in ["", "a/*", "/[", "/{a"] {
            assert_eq!(glob(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_error_page_is_for_an_error() {
        for (text, status) in [
            ("404", Some(404)),
            ("599", Some(599)),
            ("200", None),
            ("600", None),
            ("x", None),
        ] {
            assert_eq!(error_status(text), status, "{text}");
        }
    }
}
