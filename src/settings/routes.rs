//! The settings of routes and resources.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use globset::Glob;
use serde::de::{Deserialize, Deserializer, Error};

use super::auth::{AccessSettings, AllowedClient};
use super::coding::ContentCoding;
use super::keys;
pub use super::redirect::{NotRedirect, RedirectTo};
use super::texts::{PRESET, SECURE, SECURE_HEADERS, error_status, glob};
use crate::record::{IdScheme, RecordIndex, Schema};

/// `[route."/prefix"]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// The rules that every answer of the route keeps.
    #[serde(flatten)]
    pub rules: RuleSettings,
    /// Values of `Cache-Control` by the pattern of a file's path below the route: the first that matches counts.
    #[serde(default, deserialize_with = "cache_rules")]
    pub cache: Vec<CacheRule>,
    /// Content types by the ending of a file's name, in lower case, such as `.geojson`.
    #[serde(default)]
    pub types: BTreeMap<String, String>,
    /// The target of the route.
    #[serde(flatten)]
    pub target: TargetSettings,
}

/// The rules of a route or a resource: when it answers, and what its answers carry.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct RuleSettings {
    /// Headers of every answer, by name.
    #[serde(deserialize_with = "headers")]
    pub headers: BTreeMap<String, String>,
    /// The methods that are allowed; empty if all are.
    pub methods: Vec<String>,
    /// The clients that may use it.
    pub access: AccessSettings,
    /// The pages of other sites that may use it.
    pub cors: CorsSettings,
    /// The shortest time between a request and its answer.
    #[serde(with = "humantime_serde")]
    pub delay: Duration,
    /// The requests that a client may send in a time; `None` is no limit.
    pub rate: Option<RateSettings>,
    /// The most requests that are served at a time; `None` is no limit.
    pub max_in_flight: Option<NonZeroUsize>,
    /// Pages of the route's folder that are shown instead of an error, by status; a resource has none.
    #[serde(deserialize_with = "error_pages")]
    pub errors: BTreeMap<u16, String>,
}

/// `rate = { ... }`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSettings {
    /// So many requests are allowed within each window.
    pub requests: NonZeroU32,
    /// The length of a window.
    #[serde(default = "second", with = "humantime_serde")]
    pub window: Duration,
    /// The most at once; `None` is the number of a window.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
    /// Those whose requests are counted together.
    #[serde(default)]
    pub per: RatePer,
}

/// Those whose requests a rate counts together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RatePer {
    /// The clients of one address of IPv4, or of one /64 of IPv6.
    #[default]
    Ip,
    /// Those who show the same key; without one, those of one address.
    Key,
    /// All clients.
    Route,
}

impl RateSettings {
    /// The most requests at once.
    pub fn burst(&self) -> NonZeroU32 {
        self.burst.unwrap_or(self.requests)
    }
}

impl RatePer {
    /// The word in the settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Key => "key",
            Self::Route => "route",
        }
    }

    /// For people, who may send that many.
    pub fn whose(self) -> &'static str {
        match self {
            Self::Ip => "for each address",
            Self::Key => "for each key, or address without one",
            Self::Route => "for all clients together",
        }
    }
}

fn second() -> Duration {
    Duration::from_secs(1)
}

/// `cors = { ... }`
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsSettings {
    /// The origins of the pages, `*` for all; `None` is the rule for a route that says nothing.
    pub origins: Option<Vec<String>>,
    /// Whether their requests may carry cookies and passwords.
    pub credentials: bool,
}

/// The target of a route, named by its key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetSettings {
    /// The files of a folder.
    Files(FolderSettings),
    /// Another address, to which clients are sent.
    Redirect(RedirectSettings),
    /// An answer that is always the same.
    Respond(RespondSettings),
}

impl TargetSettings {
    /// The folder that it serves.
    pub fn folder(&self) -> Option<&FolderSettings> {
        match self {
            Self::Files(folder) => Some(folder),
            Self::Redirect(_) | Self::Respond(_) => None,
        }
    }
}

/// `respond = { ... }`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondSettings {
    /// The status.
    pub status: u16,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// The content type of the body.
    #[serde(default = "plain_text")]
    pub content_type: String,
}

fn plain_text() -> String {
    "text/plain; charset=utf-8".to_owned()
}

/// `redirect = { ... }`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedirectSettings {
    /// The address.
    pub to: RedirectTo,
    /// Whether clients may remember it.
    #[serde(default)]
    pub permanent: bool,
}

/// `files = { ... }`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderSettings {
    /// The folder; nothing outside it is ever served.
    pub root: PathBuf,
    /// The files that answer for a folder's path: the first that is there.
    #[serde(default = "index", deserialize_with = "one_or_more")]
    pub index: Vec<String>,
    /// Whether a path may leave out the ending `.html`.
    #[serde(default)]
    pub clean_urls: bool,
    /// Whether the files of a folder without an index are listed.
    #[serde(default)]
    pub listing: bool,
    /// The page of the folder that is shown to a browser where there is no file.
    #[serde(default)]
    pub fallback: Option<String>,
    /// The patterns of files that a browser stores and does not show.
    #[serde(default, deserialize_with = "patterns")]
    pub download: Vec<Glob>,
    /// The codings in which files are compressed.
    #[serde(default = "compress")]
    pub compress: Vec<ContentCoding>,
    /// The codings for which compressed files may lie beside others.
    #[serde(default)]
    pub precompressed: Vec<ContentCoding>,
}

/// One entry of `cache = { ... }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRule {
    /// The paths that it is about: relative to the route, without a slash at the beginning.
    pub pattern: Glob,
    /// The value of `Cache-Control`.
    pub value: String,
}

/// `[resource.name]`
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of its own, and all combinations have a meaning"
)]
pub struct ResourceSettings {
    /// The path at which it is served, decoded; it begins with `/` and does not end with one.
    pub path: String,
    /// The way in which ids of new records are chosen.
    #[serde(rename = "id")]
    pub ids: IdScheme,
    /// The schema of its records: the walk reads `fields`.
    #[serde(skip)]
    pub schema: Arc<Schema>,
    /// Whether records may have members beside the fields.
    pub additional: bool,
    /// Its indexes: the walk reads `index` and `unique`.
    #[serde(skip)]
    pub indexes: Vec<RecordIndex>,
    /// The effect of `PUT` on the members that it does not name.
    pub put: Put,
    /// Whether `PUT` creates a record that does not exist.
    pub upsert: bool,
    /// Media types that are read as JSON beside `application/json`.
    pub accept: Vec<String>,
    /// Whether `DELETE` on the whole resource takes an example.
    pub delete_matching: bool,
    /// The codings in which lists are compressed.
    pub compress: Vec<ContentCoding>,
    /// The field that has the name of the client to whom a record belongs.
    pub owner: Option<String>,
    /// The clients that see and change all records all the same.
    pub owner_except: Vec<AllowedClient>,
    /// Whether a change of a record must name the state that it changes.
    #[serde(rename = "if_match", deserialize_with = "is_required")]
    pub if_match_required: bool,
    /// The rules that every answer of the resource keeps.
    #[serde(flatten)]
    pub rules: RuleSettings,
}

impl ResourceSettings {
    /// A resource at this path, with the default of every other key.
    pub fn at(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..Self::default()
        }
    }
}

/// `resource.*.put`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Put {
    /// It removes them (RFC 9110 section 9.3.4).
    #[default]
    Replace,
    /// It keeps them: for clients that put partial records.
    Merge,
}

/// The default of `files.index`.
fn index() -> Vec<String> {
    let key = keys::find(&["route", "*", "files", "index"]);
    let index = key.map(|key| key.value.trim_matches('"').to_owned());
    index.into_iter().collect()
}

/// A text, or a list of texts.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(from)? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    })
}

fn patterns<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Glob>, D::Error> {
    let written = Vec::<String>::deserialize(from)?;
    let pattern = |text: &String| glob(text).ok_or_else(|| D::Error::custom("not a pattern"));
    written.iter().map(pattern).collect()
}

/// The default of `files.compress`.
fn compress() -> Vec<ContentCoding> {
    let key = keys::find(&["route", "*", "files", "compress"]);
    let written = key.map_or("", |key| key.value);
    let mut codings = ContentCoding::ALL.to_vec();
    codings.retain(|coding| written.contains(coding.name()));
    codings
}

/// Headers by name. The preset is replaced by its headers, but for those that are written beside it.
fn headers<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum WrittenHeaders {
        Preset(String),
        Table(BTreeMap<String, String>),
    }
    let (mut written, has_preset) = match WrittenHeaders::deserialize(from)? {
        WrittenHeaders::Preset(name) => (BTreeMap::new(), name == SECURE),
        WrittenHeaders::Table(mut written) => {
            let preset = written.remove(PRESET);
            (written, preset.is_some())
        }
    };
    let secure = SECURE_HEADERS.iter().filter(|_| has_preset);
    for (name, value) in secure {
        if !written.keys().any(|known| known.eq_ignore_ascii_case(name)) {
            written.insert((*name).to_owned(), (*value).to_owned());
        }
    }
    Ok(written)
}

/// The longest pattern first; of two as long, the order is that of their letters, so that it is always the same.
fn cache_rules<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<CacheRule>, D::Error> {
    let written = BTreeMap::<String, String>::deserialize(from)?;
    let mut written: Vec<_> = written.into_iter().collect();
    written.sort_by_key(|(pattern, _)| Reverse(pattern.len()));
    let rule = |(pattern, value): (String, String)| {
        let pattern = glob(&pattern).ok_or_else(|| D::Error::custom("not a pattern"))?;
        Ok(CacheRule { pattern, value })
    };
    written.into_iter().map(rule).collect()
}

fn error_pages<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u16, String>, D::Error> {
    let written = BTreeMap::<String, String>::deserialize(from)?;
    let page = |(status, page): (String, String)| {
        let status = error_status(&status).ok_or_else(|| D::Error::custom("not an error"))?;
        Ok((status, page))
    };
    written.into_iter().map(page).collect()
}

fn is_required<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(String::deserialize(from)? == "required")
}
