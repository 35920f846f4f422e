//! A value as written, and whether it may be what it is.

use std::net::SocketAddr;
use std::time::Duration;

use toml::de::DeValue;

use super::kind::Kind;
use super::listen::Listen;
use super::route_value::{cache_fault, errors_fault, headers_fault, types_fault};

/// A value without its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plain {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Array(Vec<Plain>),
    Table(Vec<(String, Plain)>),
    Other(&'static str),
}

impl Plain {
    pub(super) fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(digits) => {
                match i64::from_str_radix(digits.as_str(), digits.radix()) {
                    Ok(number) => Self::Integer(number),
                    Err(_) => Self::Other("an integer that is too large"),
                }
            }
            DeValue::Float(digits) => match digits.as_str().parse() {
                Ok(number) => Self::Float(number),
                Err(_) => Self::Other("a number"),
            },
            DeValue::Boolean(yes) => Self::Bool(*yes),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Array(items) => {
                Self::Array(items.iter().map(|item| Self::of(item.get_ref())).collect())
            }
            DeValue::Table(members) => Self::Table(
                members
                    .iter()
                    .map(|(name, value)| (name.get_ref().to_string(), Self::of(value.get_ref())))
                    .collect(),
            ),
        }
    }

    /// The value of an environment variable for a key of this kind.
    pub(super) fn of_variable(text: &str, kind: Kind) -> Self {
        let number = |text: &str| {
            text.parse()
                .map_or(Self::Text(text.to_owned()), Self::Integer)
        };
        match kind {
            Kind::Bool => text.parse().map_or(Self::Text(text.to_owned()), Self::Bool),
            Kind::Integer(..) | Kind::AutoOr(..) => number(text),
            Kind::Number(..) => text
                .parse()
                .map_or(Self::Text(text.to_owned()), Self::Float),
            Kind::Listens | Kind::Includes | Kind::MediaTypes | Kind::Hosts => Self::Array(
                text.split(',')
                    .map(|item| Self::Text(item.trim().to_owned()))
                    .collect(),
            ),
            Kind::Filter
            | Kind::Path
            | Kind::FileName
            | Kind::Duration(..)
            | Kind::Size(..)
            | Kind::AutoOrSize(..)
            | Kind::Choice(..)
            | Kind::Address
            | Kind::Listen
            | Kind::Include
            | Kind::UrlPath
            | Kind::Headers
            | Kind::CacheRules
            | Kind::ErrorPages
            | Kind::Access
            | Kind::Fields
            | Kind::MediaType
            | Kind::ContentTypes
            | Kind::Host
            | Kind::Anything => Self::Text(text.to_owned()),
        }
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Bool(yes) => yes.to_string(),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::Array(items) if items.is_empty() => "an empty list".to_owned(),
            Self::Array(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Other(what) => (*what).to_owned(),
        }
    }

    /// What is wrong with it as a value of this kind, and what would be right.
    pub(super) fn fault(&self, kind: Kind) -> Option<String> {
        let wrong = |right: String| Some(format!("{} is not {right}", self.shown()));
        match (kind, self) {
            (Kind::Anything, _) | (Kind::Bool, Self::Bool(_)) => None,
            (Kind::Filter, Self::Text(text)) => filter_fault(text),
            (Kind::Path, Self::Text(text)) if !text.is_empty() && !text.contains('\0') => None,
            (Kind::FileName, Self::Text(text)) if is_file_name(text) => None,
            (Kind::Integer(low, high), Self::Integer(n)) if (low..=high).contains(n) => None,
            (Kind::AutoOr(low, high), Self::Integer(n)) if (low..=high).contains(n) => None,
            (Kind::AutoOr(..), Self::Text(text)) if text == "auto" => None,
            (Kind::Number(low, high), Self::Float(n)) if (low..=high).contains(n) => None,
            (Kind::Duration(low, high), Self::Text(text)) => match duration(text) {
                Some(is) if (low..=high).contains(&is.as_secs_f64()) => None,
                Some(_) => wrong(format!("within {} and {}", seconds(low), seconds(high))),
                None => wrong("a duration; write \"500ms\", \"5s\", \"2m\" or \"1h\"".to_owned()),
            },
            (Kind::AutoOrSize(..), Self::Text(text)) if text == "auto" => None,
            (Kind::Size(low, high) | Kind::AutoOrSize(low, high), Self::Text(text)) => {
                match size(text) {
                    Some(is) if (low..=high).contains(&is) => None,
                    Some(_) => wrong(format!("within {} and {}", bytes(low), bytes(high))),
                    None => wrong(right(kind)),
                }
            }
            (Kind::Choice(now, _), Self::Text(text)) if now.contains(&text.as_str()) => None,
            (Kind::Choice(now, later), Self::Text(text)) if later.contains(&text.as_str()) => {
                Some(format!("{text:?} is not available yet; {}", choices(now)))
            }
            (Kind::Address, Self::Text(text)) if text.parse::<SocketAddr>().is_ok() => None,
            (Kind::Listen, Self::Text(text)) => listen_fault(text),
            (Kind::Include, Self::Text(text)) if !text.is_empty() => include_fault(text),
            (Kind::Listens, Self::Array(items)) if items.is_empty() => wrong(right(kind)),
            (
                Kind::Listens | Kind::Includes | Kind::MediaTypes | Kind::Hosts,
                Self::Array(items),
            ) => {
                let kind = kind.items()?;
                items.iter().find_map(|item| item.fault(kind))
            }
            (Kind::UrlPath, Self::Text(text)) => url_path_fault(text),
            (Kind::Headers, value) => headers_fault(value),
            (Kind::CacheRules, value) => cache_fault(value),
            (Kind::ErrorPages, value) => errors_fault(value),
            (Kind::ContentTypes, value) => types_fault(value),
            (Kind::Host, Self::Text(text)) if is_host(text) => None,
            (Kind::Access, value) => access_fault(value),
            (Kind::Fields, Self::Text(text)) if text == "any" => None,
            (Kind::MediaType, Self::Text(text)) if is_media_type(text) => None,
            _ => wrong(right(kind)),
        }
    }
}

fn right(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Filter => format!("a level; write one of {}", LEVELS.join(", ")),
        Kind::Path => "a path; write it in quotes".to_owned(),
        Kind::FileName => "the name of a file; write one such as \"index.html\"".to_owned(),
        Kind::Integer(low, high) => format!("an integer from {low} to {high}"),
        Kind::AutoOr(low, high) => format!("\"auto\" or an integer from {low} to {high}"),
        Kind::Number(low, high) => format!("a number from {low:?} to {high:?}, written with a dot"),
        Kind::Duration(..) => "a duration; write \"500ms\", \"5s\", \"2m\" or \"1h\"".to_owned(),
        Kind::Size(..) => "a size; write \"16 KiB\", \"4 MiB\" or \"1 GiB\"".to_owned(),
        Kind::AutoOrSize(..) => {
            "\"auto\" or a size; write \"16 KiB\", \"4 MiB\" or \"1 GiB\"".to_owned()
        }
        Kind::Choice(now, _) => format!("allowed; {}", choices(now)),
        Kind::Address => "an address; write IP:PORT, such as \"127.0.0.1:3001\"".to_owned(),
        Kind::Listen => "an address; write IP:PORT, such as \"127.0.0.1:3000\"".to_owned(),
        Kind::Listens => "a list of addresses; write [\"127.0.0.1:3000\"]".to_owned(),
        Kind::Include => "a file; write one such as \"conf.d/*.toml\"".to_owned(),
        Kind::Includes => "a list of files; write [\"conf.d/*.toml\"]".to_owned(),
        Kind::UrlPath => "a path; write one that begins with / such as \"/books\"".to_owned(),
        Kind::Fields => "allowed; write \"any\", or a table of fields".to_owned(),
        Kind::MediaType => "a media type; write one such as \"text/plain\"".to_owned(),
        Kind::MediaTypes => "a list of media types; write [\"text/plain\"]".to_owned(),
        Kind::Host => "a host name; write one such as \"example.org\", without a port".to_owned(),
        Kind::Hosts => "a list of host names; write [\"example.org\"]".to_owned(),
        Kind::Headers
        | Kind::CacheRules
        | Kind::ErrorPages
        | Kind::ContentTypes
        | Kind::Access
        | Kind::Anything => "allowed here".to_owned(),
    }
}

fn choices(now: &[&str]) -> String {
    match now {
        [only] => format!("write \"{only}\""),
        many => {
            let many: Vec<_> = many.iter().map(|choice| format!("\"{choice}\"")).collect();
            format!("write one of {}", many.join(", "))
        }
    }
}

/// What `logging.level` knows.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is wrong with a filter. A misspelt level would be taken for the name of a target, and hide all events.
fn filter_fault(text: &str) -> Option<String> {
    text.split(',').find_map(|directive| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, l)| l);
        let known = LEVELS.iter().any(|l| l.eq_ignore_ascii_case(level.trim()));
        (!known).then(|| format!("{level:?} is not {}", right(Kind::Filter)))
    })
}

/// A name of RFC 1123, an IPv4 address, or an IPv6 address in brackets: what a Host field can name.
fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or_default();
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let hyphens = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !hyphens
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// RFC 9110 section 8.3.1, without parameters.
pub(super) fn is_media_type(text: &str) -> bool {
    let token = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        !part.is_empty() && part.bytes().all(plain)
    };
    text.split_once('/')
        .is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

fn is_file_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\0'])
}

/// What is wrong with a file to include. A pattern that would be taken for a name would find nothing, silently.
fn include_fault(text: &str) -> Option<String> {
    let (folder, name) = text.rsplit_once('/').unwrap_or(("", text));
    let strange = text.contains(['?', '[', '{', '\0']);
    let known = !strange && !folder.contains('*') && name.matches('*').count() <= 1;
    (!known).then(|| {
        format!("{text:?} is no pattern that is known; write one * in the last part, such as \"conf.d/*.toml\"")
    })
}

fn listen_fault(text: &str) -> Option<String> {
    let fault = text.parse::<Listen>().err()?;
    Some(format!("{text:?} {fault}"))
}

/// What is wrong with a path of a URL.
pub(super) fn url_path_fault(text: &str) -> Option<String> {
    let plain = |c: char| !c.is_control() && !"%?#\\".contains(c);
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

/// What a URL path must not have among its parts. (RFC 8615 gives `.well-known` to the site.)
fn reserved(part: &str) -> bool {
    part.starts_with('_') || part.starts_with('.') && part != ".well-known"
}

/// What is wrong with who may. Both must be said: `{ read = "public" }` looks as if nobody could write.
fn access_fault(value: &Plain) -> Option<String> {
    let public = |value: &Plain| matches!(value, Plain::Text(text) if text == "public");
    let known = |name: &str| matches!(name, "read" | "write");
    match value {
        Plain::Text(text) if text == "public" => None,
        Plain::Text(text) => Some(format!(
            "{text:?} is not available yet; only \"public\" is known so far"
        )),
        Plain::Table(members) if members.iter().all(|(name, v)| known(name) && public(v)) => {
            (members.len() < 2).then(|| {
                "does not say who may do what is left out; write { read = \"public\", write = \"public\" }"
                    .to_owned()
            })
        }
        Plain::Bool(_)
        | Plain::Integer(_)
        | Plain::Float(_)
        | Plain::Array(_)
        | Plain::Table(_)
        | Plain::Other(_) => Some(
            "only \"public\" or { read = \"public\", write = \"public\" } is known so far"
                .to_owned(),
        ),
    }
}

/// A duration as it is written.
pub(super) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// A size as it is written, in bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    text.parse::<bytesize::ByteSize>()
        .ok()
        .map(|size| size.as_u64())
}

fn seconds(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs_f64(seconds)).to_string()
}

fn bytes(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}
