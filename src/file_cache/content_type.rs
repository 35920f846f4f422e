//! What a file is called on the wire, by its name.

use std::path::Path;

use bytes::Bytes;

/// What nobody knows anything about.
const UNKNOWN: &str = "application/octet-stream";
/// Types that are text without saying so.
const TEXT: [&str; 5] = [
    "application/json",
    "application/manifest+json",
    "application/xhtml+xml",
    "application/xml",
    "image/svg+xml",
];

/// The content type for the file name of `path`. Text is UTF-8, and says so.
pub(crate) fn content_type(path: &Path) -> Bytes {
    let essence = match mime_guess::from_path(path).first_raw() {
        // Obsolete since RFC 9239.
        Some("application/javascript") => "text/javascript",
        Some(essence) => essence,
        None => UNKNOWN,
    };
    if essence.starts_with("text/") || TEXT.contains(&essence) {
        Bytes::from(format!("{essence}; charset=utf-8"))
    } else {
        Bytes::from_static(essence.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_types_and_text_is_utf_8() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/STYLE.CSS", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("a.json", "application/json; charset=utf-8"),
            ("a.svg", "image/svg+xml; charset=utf-8"),
            ("a.png", "image/png"),
            ("a.wasm", "application/wasm"),
            ("a.woff2", "font/woff2"),
            ("archive.tar.gz", "application/gzip"),
            ("README", "application/octet-stream"),
            ("a.unheardof", "application/octet-stream"),
        ] {
            assert_eq!(content_type(Path::new(name)), expected, "{name}");
        }
    }
}
