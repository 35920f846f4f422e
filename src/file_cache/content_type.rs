//! Content types, by the ending of a file's name.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

/// The content type of a file whose name has no known ending.
const UNKNOWN: &str = "application/octet-stream";

/// Content types that replace those of `mime-db`: for endings that it does not know, or knows in a meaning that no web site uses.
const OVERRIDES: &[(&str, &str)] = &[
    // RFC 9239; mime-db has the obsolete name.
    ("js", "text/javascript"),
    ("cjs", "text/javascript"),
    ("jsx", "text/javascript"),
    // RFC 9512.
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    // The first of several types in mime-db is not the one that browsers play or show.
    ("mp4", "video/mp4"),
    ("mp3", "audio/mpeg"),
    ("flac", "audio/flac"),
    ("ico", "image/x-icon"),
    ("xml", "text/xml"),
    ("xsl", "text/xml"),
    ("mts", "video/mp2t"),
    ("obj", "model/obj"),
    ("stl", "model/stl"),
    ("rs", "text/x-rust"),
    // Not in mime-db.
    ("tgz", "application/gzip"),
    ("txz", "application/x-xz"),
    ("zst", "application/zstd"),
    ("py", "text/plain"),
    ("jsonl", "application/jsonl"),
    ("ndjson", "application/x-ndjson"),
    ("topojson", "application/json"),
    ("glsl", "text/plain"),
    ("graphql", "application/graphql"),
];

/// Names without an ending that have a type all the same.
const NAMES: &[(&str, &str)] = &[("apple-app-site-association", "application/json")];

/// Types that are text although they do not begin with `text/`.
const TEXT: [&str; 10] = [
    "application/json",
    "application/jsonl",
    "application/x-ndjson",
    "application/ld+json",
    "application/manifest+json",
    "application/toml",
    "application/xhtml+xml",
    "application/xml",
    "application/yaml",
    "image/svg+xml",
];

/// Types that become smaller when they are compressed, beside texts and what is made of them.
const COMPRESSIBLE: [&[u8]; 13] = [
    b"application/graphql",
    b"application/javascript",
    b"application/rtf",
    b"application/vnd.apple.mpegurl",
    b"application/vnd.ms-fontobject",
    b"application/wasm",
    b"font/collection",
    b"font/otf",
    b"font/ttf",
    b"image/bmp",
    b"image/x-icon",
    b"model/obj",
    b"model/stl",
];

/// Whether files of this content type become smaller when they are compressed. One that an operator wrote may have any spelling.
pub(super) fn is_compressible(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next();
    let essence = essence
        .unwrap_or_default()
        .trim_ascii()
        .to_ascii_lowercase();
    let named = |types: &[&str]| types.iter().any(|known| known.as_bytes() == essence);
    essence.starts_with(b"text/")
        || [&b"+json"[..], b"+xml", b"+text"]
            .iter()
            .any(|end| essence.ends_with(end))
        || named(&TEXT)
        || COMPRESSIBLE.contains(&&*essence)
}

/// The types that an operator wrote for a route (`types = { ".foo" = "..." }`), by ending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContentTypes(BTreeMap<String, Bytes>);

impl ContentTypes {
    /// The types as they were written: the ending with its dot, in lower case, and the value of `Content-Type`.
    pub(crate) fn new(types: &BTreeMap<String, String>) -> Self {
        let types = types.iter().map(|(ending, value)| {
            let value = Bytes::copy_from_slice(value.as_bytes());
            (ending.to_ascii_lowercase(), value)
        });
        Self(types.collect())
    }

    /// `Content-Type` and `Content-Encoding` of the file at `path`.
    ///
    /// What the operator wrote is taken as it stands, and the longest ending wins. Else text is UTF-8, and says so. A
    /// file whose ending means "this, compressed" (`.svgz`) is sent as what it is inside.
    pub(crate) fn headers(&self, path: &Path) -> (Bytes, Option<Bytes>) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_lowercase();
        let compressed = path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("svgz"));
        let content_type = self.written(&name);
        (
            content_type.unwrap_or_else(|| built_in(&name, compressed)),
            compressed.then(|| Bytes::from_static(b"gzip")),
        )
    }

    /// Whether a file with this name has an ending that is known.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        self.written(&name).is_some()
            || ending.is_some_and(|ending| {
                OVERRIDES.iter().any(|(known, _)| *known == ending)
                    || mime_db::lookup(ending).is_some()
            })
    }

    fn written(&self, name: &str) -> Option<Bytes> {
        let mut endings = name.match_indices('.').map(|(at, _)| name.split_at(at).1);
        endings.find_map(|ending| self.0.get(ending).cloned())
    }
}

fn built_in(name: &str, compressed: bool) -> Bytes {
    let look = |table: &[(&str, &'static str)], name: &str| {
        let found = table.iter().find(|(known, _)| *known == name);
        found.map(|(_, essence)| *essence)
    };
    let essence = match name.rsplit_once('.') {
        None => look(NAMES, name),
        Some((_, ending)) => look(OVERRIDES, ending).or_else(|| mime_db::lookup(ending)),
    };
    let essence = essence.unwrap_or(UNKNOWN);
    if (essence.starts_with("text/") || TEXT.contains(&essence)) && !compressed {
        Bytes::from(format!("{essence}; charset=utf-8"))
    } else {
        Bytes::from_static(essence.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(types: &ContentTypes, name: &str) -> Bytes {
        types.headers(Path::new(name)).0
    }

    #[test]
    fn names_give_types_and_text_is_utf_8() {
        let none = ContentTypes::default();
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/STYLE.CSS", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("app.cjs", "text/javascript; charset=utf-8"),
            ("a.json", "application/json; charset=utf-8"),
            ("a.js.map", "application/json; charset=utf-8"),
            ("a.jsonld", "application/ld+json; charset=utf-8"),
            ("a.geojson", "application/geo+json"),
            ("a.webmanifest", "application/manifest+json; charset=utf-8"),
            ("a.yaml", "application/yaml; charset=utf-8"),
            ("a.yml", "application/yaml; charset=utf-8"),
            ("a.md", "text/markdown; charset=utf-8"),
            ("a.svg", "image/svg+xml; charset=utf-8"),
            ("a.svgz", "image/svg+xml"),
            ("a.png", "image/png"),
            ("a.avif", "image/avif"),
            ("a.jxl", "image/jxl"),
            ("favicon.ico", "image/x-icon"),
            ("a.wasm", "application/wasm"),
            ("a.woff", "font/woff"),
            ("a.woff2", "font/woff2"),
            ("a.otf", "font/otf"),
            ("a.ttf", "font/ttf"),
            ("live.ts", "video/mp2t"),
            ("live.m3u8", "application/vnd.apple.mpegurl"),
            ("live.m4s", "video/iso.segment"),
            ("live.mpd", "application/dash+xml"),
            ("a.mp4", "video/mp4"),
            ("a.mp3", "audio/mpeg"),
            ("a.vtt", "text/vtt; charset=utf-8"),
            ("archive.tar.gz", "application/gzip"),
            ("archive.tgz", "application/gzip"),
            ("archive.tar.zst", "application/zstd"),
            (
                ".well-known/apple-app-site-association",
                "application/json; charset=utf-8",
            ),
            ("README", "application/octet-stream"),
            ("json", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            ("a.unheardof", "application/octet-stream"),
        ] {
            assert_eq!(of(&none, name), expected, "{name}");
        }
    }

    #[test]
    fn texts_and_the_like_become_smaller_and_pictures_do_not() {
        for (name, becomes) in [
            ("a.html", true),
            ("a.css", true),
            ("a.js", true),
            ("a.json", true),
            ("a.geojson", true),
            ("a.svg", true),
            ("a.wasm", true),
            ("a.ttf", true),
            ("a.ico", true),
            ("a.rss", true),
            ("a.m3u8", true),
            ("a.woff2", false),
            ("a.png", false),
            ("a.jpg", false),
            ("a.mp4", false),
            ("a.zip", false),
            ("a.gz", false),
            ("a.pdf", false),
            ("a.unheardof", false),
        ] {
            let content_type = of(&ContentTypes::default(), name);
            assert_eq!(is_compressible(&content_type), becomes, "{name}");
        }
        assert!(is_compressible(b"Text/X-Foo ; a=b"));
        assert!(!is_compressible(b""));
    }

    #[test]
    fn an_ending_is_known_if_it_has_a_type() {
        let written = BTreeMap::from([(".foo".to_owned(), "a/b".to_owned())]);
        let types = ContentTypes::new(&written);
        for (name, known) in [
            ("app.js", true),
            ("A.PNG", true),
            ("a.b.foo", true),
            ("page.html", true),
            ("a.tgz", true),
            ("about", false),
            ("", false),
            ("v1.2", false),
            ("john.doe", false),
            ("js", false),
        ] {
            assert_eq!(types.knows(name), known, "{name}");
        }
    }

    #[test]
    fn what_is_compressed_by_its_ending_says_so() {
        let encoding = |name: &str| ContentTypes::default().headers(Path::new(name)).1;
        assert_eq!(encoding("a.SVGZ").unwrap(), "gzip");
        assert_eq!(encoding("a.svg"), None);
        assert_eq!(encoding("a.tgz"), None, "a tgz is kept as it is");
    }

    #[test]
    fn what_the_operator_wrote_wins_and_is_taken_as_it_stands() {
        let written = [
            (".ts", "text/x.typescript"),
            (".d.ts", "text/plain"),
            (".foo", "a/b"),
        ];
        let written = written.map(|(ending, value)| (ending.to_owned(), value.to_owned()));
        let types = ContentTypes::new(&BTreeMap::from(written));
        assert_eq!(of(&types, "a.TS"), "text/x.typescript");
        assert_eq!(
            of(&types, "a.d.ts"),
            "text/plain",
            "the longest ending wins"
        );
        assert_eq!(of(&types, "a.b.foo"), "a/b");
        assert_eq!(of(&types, "a.css"), "text/css; charset=utf-8");
    }
}
