//! The kinds of values that are texts with rules of their own, alone, in lists, and in tables.

use std::net::Ipv6Addr;

use globset::{Glob, GlobBuilder};

use super::auth::{AllowedClient, PasswordHash, Scope, SecretHash, after_day};
use super::backup::BackupTo;
use super::kind::Kind;
use super::listen::{AdminListen, Listen};
use super::proxies::TrustedProxy;
use super::redirect::RedirectTo;

const fn text(right: &'static str, fault: fn(&str) -> Option<String>) -> Kind {
    Kind::Text { right, fault }
}

const fn list(right: &'static str, items: &'static Kind) -> Kind {
    Kind::List {
        right,
        items,
        may_be_empty: true,
    }
}

const fn table(right: &'static str, fault: fn(&str, &str) -> Option<String>) -> Kind {
    Kind::Table {
        right,
        fault,
        word: None,
    }
}

/// Says no more than that a text is not right.
fn unless(fits: bool) -> Option<String> {
    (!fits).then(String::new)
}

pub(super) const PATH: Kind = text("a path; write it in quotes", |text| {
    unless(!text.is_empty() && !text.contains('\0'))
});
const FILE_NAME: Kind = text(
    "the name of a file; write one such as \"index.html\"",
    |text| unless(!matches!(text, "" | "." | "..") && !text.contains(['/', '\0'])),
);
pub(super) const FILE_NAMES: Kind = Kind::OneOrMore(&FILE_NAME);
/// A page below a folder.
pub(super) const PAGE: Kind = text(PAGE_EXAMPLE, |text| unless(is_page(text)));
const PAGE_EXAMPLE: &str = "a page; write a path below the route's folder such as \"/index.html\"";
pub(super) const PATTERNS: Kind = list(
    "a list of patterns; write [\"/files/**\", \"*.zip\"]",
    &text(
        "a pattern; write one such as \"/files/**\" or \"*.zip\"",
        |text| unless(glob(text).is_some()),
    ),
);
pub(super) const ADDRESS: Kind = text(
    "an address; write IP:PORT, such as \"127.0.0.1:3001\", or unix:PATH",
    |text| Some(format!("{text:?} {}", text.parse::<AdminListen>().err()?)),
);
pub(super) const BACKUP_TO: Kind = text(
    "a place for backups; write a folder such as \"/backup/perennial\", or \"s3://bucket/prefix\"",
    |text| unless(text.parse::<BackupTo>().is_ok()),
);
pub(super) const ENDPOINT: Kind = text(
    "an address; write one such as \"https://s3.example.org\"",
    |text| {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_graphic() && !"?#@\\".contains(c);
        unless(host.is_some_and(|host| !host.is_empty() && host.chars().all(plain)))
    },
);
pub(super) const REGION: Kind = text("a region; write one such as \"eu-central-1\"", |text| {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    unless(!text.is_empty() && text.chars().all(plain))
});
/// A level, or a filter of targets and levels.
pub(super) const FILTER: Kind = text(LEVEL, filter_fault);
const LEVEL: &str = "a level; write one of off, error, warn, info, debug, trace";
/// A path of a URL, as it reads when it is decoded: begins with `/`, does not end with one.
pub(super) const URL_PATH: Kind = text(
    "a path; write one that begins with / such as \"/books\"",
    url_path_fault,
);
pub(super) const LISTENS: Kind = Kind::List {
    right: "a list of addresses; write [\"127.0.0.1:3000\"]",
    items: &text(
        "an address; write IP:PORT, such as \"127.0.0.1:3000\"",
        |text| Some(format!("{text:?} {}", text.parse::<Listen>().err()?)),
    ),
    may_be_empty: false,
};
pub(super) const INCLUDE: Kind = text("a file; write one such as \"conf.d/*.toml\"", include_fault);
pub(super) const INCLUDES: Kind = list("a list of files; write [\"conf.d/*.toml\"]", &INCLUDE);
pub(super) const HOSTS: Kind = list(
    "a list of host names; write [\"example.org\"]",
    &text(
        "a host name; write one such as \"example.org\", without a port",
        |text| unless(is_host(text)),
    ),
);
pub(super) const REDIRECT: Kind = text(
    "an address to send clients to; write a path such as \"/new{path}\", or an address such as \"https://example.org{path}\"",
    |text| unless(text.parse::<RedirectTo>().is_ok()),
);
pub(super) const PROXIES: Kind = list(
    "a list of addresses and networks; write [\"10.0.0.0/8\"]",
    &text(
        "an address or a network; write one such as \"10.0.0.0/8\", \"2001:db8::1\" or \"unix\"",
        |text| unless(text.parse::<TrustedProxy>().is_ok()),
    ),
);
pub(super) const MEDIA_TYPES: Kind = list(
    "a list of media types; write [\"text/plain\"]",
    &text("a media type; write one such as \"text/plain\"", |text| {
        unless(is_media_type(text))
    }),
);
pub(super) const CODINGS: Kind = list(
    "a list of codings; write [\"br\", \"zstd\", \"gzip\"]",
    &Kind::Choice(&["br", "zstd", "gzip"]),
);
pub(super) const HEADERS: Kind = Kind::Table {
    right: "a table of headers, or \"secure\"; write { X-Frame-Options = \"DENY\" }",
    fault: header_fault,
    word: Some(SECURE),
};
/// The member of a table of headers that names a preset, and the one that there is.
pub(super) const PRESET: &str = "preset";
pub(super) const SECURE: &str = "secure";
/// The headers of it: what keeps browsers from guessing types, from showing the page within other sites, from telling other
/// sites which page was left, and other sites from a hold on its window. An ordinary site works with them as without.
pub(super) const SECURE_HEADERS: [(&str, &str); 6] = [
    (
        "Content-Security-Policy",
        "base-uri 'self'; frame-ancestors 'self'",
    ),
    ("Cross-Origin-Opener-Policy", "same-origin-allow-popups"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Permitted-Cross-Domain-Policies", "none"),
];
pub(super) const METHODS: Kind = Kind::List {
    right: "a list of methods; write [\"GET\"]",
    items: &Kind::Choice(&["GET", "POST", "PUT", "PATCH", "DELETE"]),
    may_be_empty: false,
};
/// A text that a server answers with.
pub(super) const BODY: Kind = text("a text of at most 64 KiB", |text| {
    unless(text.len() <= 64 << 10)
});
pub(super) const CONTENT_TYPE: Kind = text(
    "a content type; write one such as \"application/json\"",
    |text| unless(header_value_fault(text).is_none() && text.contains('/')),
);
pub(super) const ORIGINS: Kind = list(
    "a list of origins; write [\"https://app.example.org\"]",
    &text(
        "an origin; write one such as \"https://app.example.org\" or \"http://localhost:5173\", without a path, or \"*\"",
        |text| unless(text == "*" || is_origin(text)),
    ),
);
// A secret in the place of its hash is not shown.
pub(super) const SECRET_HASH: Kind = text("a hash", |text| {
    const WRONG: &str = "is not a hash; perennial key new NAME makes a secret and its hash";
    text.parse::<SecretHash>()
        .is_err()
        .then(|| WRONG.to_owned())
});
pub(super) const PASSWORD_HASH: Kind = text("a hash", |text| {
    const WRONG: &str = "is not an Argon2id hash of at most 256 MiB, 32 passes and 16 lanes; perennial user new NAME makes one";
    text.parse::<PasswordHash>()
        .is_err()
        .then(|| WRONG.to_owned())
});
pub(super) const ALGORITHMS: Kind = Kind::List {
    right: "a list of algorithms; write [\"EdDSA\"]",
    items: &Kind::Choice(&["EdDSA", "ES256", "RS256", "HS256"]),
    may_be_empty: false,
};
pub(super) const CLAIM: Kind = text("a text; write at least one character", |text| {
    unless(!text.is_empty())
});
/// The name of a member of a record.
pub(super) const MEMBER: Kind = text("the name of a field; write one such as \"owner\"", |text| {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    unless(!text.is_empty() && text.chars().all(plain) && !text.starts_with('_') && text != "id")
});
pub(super) const CLIENTS: Kind = list(
    "a list of clients; write [\"key:admin\"]",
    &text(
        "a client; write one such as \"key:admin\", \"basic:ann\" or \"jwt:admin\"",
        |text| unless(text.parse::<AllowedClient>().is_ok()),
    ),
);
pub(super) const SCOPES: Kind = list(
    "a list of permissions; write [\"books:write\"]",
    &text(
        "a permission; write one such as \"books:write\", \"/files:read\" or \"*:read\"",
        |text| unless(text.parse::<Scope>().is_ok()),
    ),
);
pub(super) const DAY: Kind = text("a day; write one such as \"2027-12-31\"", |text| {
    unless(after_day(text).is_some())
});
pub(super) const HSTS: Kind = text(
    "a value of that header; write one such as \"max-age=31536000; includeSubDomains\"",
    |text| unless(text.starts_with("max-age=") && header_value_fault(text).is_none()),
);
pub(super) const CACHE_RULES: Kind = table(
    "a table of patterns; write { \"/assets/**\" = \"public, max-age=60\" }",
    |pattern, value| match glob(pattern) {
        Some(_) => header_value_fault(value),
        None => Some(format!(
            "{pattern:?} is not a pattern; write one such as \"/assets/**\", \"*.css\" or \"**\""
        )),
    },
);
pub(super) const ERROR_PAGES: Kind = table(
    "a table of pages; write { 404 = \"/404.html\" }",
    error_page_fault,
);
pub(super) const CONTENT_TYPES: Kind = table(
    "a table of content types; write { \".geojson\" = \"application/geo+json\" }",
    content_type_fault,
);

/// Headers that the daemon itself writes.
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

fn header_fault(name: &str, value: &str) -> Option<String> {
    if name == PRESET {
        return (value != SECURE)
            .then(|| format!("{value:?} is no preset; write preset = \"secure\""));
    }
    // The parser of `http` would take a quotation mark too.
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Some(format!("{name:?} is not the name of a header"));
    }
    if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Some(format!(
            "{name:?} is written by the server itself; take it out"
        ));
    }
    header_value_fault(value)
}

fn header_value_fault(value: &str) -> Option<String> {
    let plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let good = !value.is_empty() && value.bytes().all(plain) && value.trim() == value;
    (!good).then(|| format!("{value:?} can't be the value of a header; write visible ASCII"))
}

fn error_page_fault(status: &str, page: &str) -> Option<String> {
    if error_status(status).is_none() {
        return Some(format!(
            "{status:?} is not the status of an error; write one from 400 to 599"
        ));
    }
    (!is_page(page)).then(|| {
        format!(
            "{page:?} is not a page; write a path below the route's folder such as \"/404.html\""
        )
    })
}

fn is_page(text: &str) -> bool {
    text.starts_with('/') && !text.ends_with('/')
}

fn content_type_fault(ending: &str, content_type: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_graphic() && c != '/' && !c.is_ascii_uppercase();
    if ending.len() < 2 || !ending.starts_with('.') || !ending.chars().all(plain) {
        return Some(format!(
            "{ending:?} is not the ending of a file name; write one in lower case that begins with a dot, such as \".geojson\""
        ));
    }
    let essence = content_type.split(';').next().unwrap_or_default();
    if is_media_type(essence.trim_end()) {
        return header_value_fault(content_type);
    }
    Some(format!(
        "{content_type:?} is not a content type; write one such as \"application/geo+json\""
    ))
}

/// A misspelt level would be taken for the name of a target, and hide all events.
fn filter_fault(text: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    text.split(',').find_map(|directive| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, l)| l);
        let known = LEVELS.iter().any(|l| l.eq_ignore_ascii_case(level.trim()));
        (!known).then(|| format!("{level:?} is not {LEVEL}"))
    })
}

/// An origin as a browser writes it (RFC 6454 section 6.2): in lower case, and without the port that its scheme has anyway. One
/// that is spelt otherwise would never be equal to that of a page.
fn is_origin(text: &str) -> bool {
    let (authority, default_port) =
        match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(authority), _) => (authority, "443"),
            (None, Some(authority)) => (authority, "80"),
            (None, None) => return false,
        };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    let right = |port: &str| {
        let number: Option<u16> = port.parse().ok();
        number.is_some_and(|number| number.to_string() == port) && port != default_port
    };
    is_host(host) && port.is_none_or(right) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// A name of RFC 1123, an IPv4 address, or an IPv6 address in brackets: what a Host field can name.
pub(super) fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let hyphens = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !hyphens
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// `type/subtype` of RFC 9110 section 8.3.1, without parameters.
fn is_media_type(text: &str) -> bool {
    let token = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        !part.is_empty() && part.bytes().all(plain)
    };
    text.split_once('/')
        .is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// A pattern that would be taken for a name would find nothing, and nobody would be told.
fn include_fault(text: &str) -> Option<String> {
    if text.is_empty() {
        return unless(false);
    }
    let (folder, name) = text.rsplit_once('/').unwrap_or(("", text));
    let strange = text.contains(['?', '[', '{', '\0']);
    let known = !strange && !folder.contains('*') && name.matches('*').count() <= 1;
    (!known).then(|| {
        format!("{text:?} is not a pattern that is known; write one * in the last part, such as \"conf.d/*.toml\"")
    })
}

/// The fault of the prefix of a route or the path of a resource.
pub(super) fn url_path_fault(text: &str) -> Option<String> {
    let plain = |c: char| !c.is_control() && !"%?#\\".contains(c);
    // RFC 8615 gives `.well-known` to the site.
    let reserved =
        |part: &str| part.starts_with('_') || part.starts_with('.') && part != ".well-known";
    let fault = if !text.starts_with('/') {
        "must begin with /"
    } else if text.len() > 1 && text.ends_with('/') {
        "must not end with /"
    } else if text.contains("//") {
        "must not contain //"
    } else if !text.chars().all(plain) {
        "must not contain %, ?, #, \\ or control characters; write each part as it reads, not percent-encoded"
    } else if text.split('/').any(reserved) {
        "must not have a part that begins with _ or ., which is reserved"
    } else {
        return None;
    };
    Some(format!("{text:?} {fault}"))
}

/// The fault of the name of a resource.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase());
    let good = first && name.len() <= 64 && name.chars().all(plain);
    (!good).then(|| {
        format!(
            "{name:?} is not a name; use up to 64 of a-z, 0-9, - and _, beginning with a letter"
        )
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
