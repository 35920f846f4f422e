//! What the operator wrote, validated: the only form of the configuration the program sees.
//!
//! Every value here is in range and consistent with the others; durations are [`Duration`], sizes are bytes.
//! [`Settings::default`] is what an empty file means.

mod fields;
mod keys;
mod kind;
mod listen;
mod load;
mod lookup;
mod raw;
mod reference;
mod route_value;
mod rules;
#[cfg(test)]
mod tests;
mod validate;
mod value;
mod violation;
mod walk;

pub use listen::{Listen, NotListen};
pub(crate) use load::written;
pub use load::{LoadError, find, load};
pub use reference::reference;
pub use violation::{Place, Violation};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use globset::Glob;

pub use crate::record::{Field, FieldType, IdScheme, Pattern, PatternError, Schema};

/// The whole daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Sockets, folders, the number of request handlers.
    pub server: ServerSettings,
    /// Bounds on what one client may use.
    pub limits: LimitSettings,
    /// Where events go.
    pub logging: LogSettings,
    /// How failed children grow back.
    pub supervision: SupervisionSettings,
    /// The cache of static files.
    pub file_cache: FileCacheSettings,
    /// The record store.
    pub storage: StorageSettings,
    /// Static routes by path prefix; a prefix begins and does not end with `/` (save for `/` itself).
    pub routes: BTreeMap<String, RouteSettings>,
    /// Resources by name.
    pub resources: BTreeMap<String, ResourceSettings>,
    /// Fault injection, for tests and drills.
    pub chaos: ChaosSettings,
}

impl Default for Settings {
    /// What an empty file means.
    #[expect(
        clippy::expect_used,
        reason = "the defaults are ours, and a test reads them"
    )]
    fn default() -> Self {
        load(None, &BTreeMap::new()).expect("the defaults are valid")
    }
}

/// `[server]`
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// Where clients come in; at least one place.
    pub listen: Vec<Listen>,
    /// The admin listener: health, metrics, the tree.
    pub admin: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// Request-handler actors, one thread each.
    pub handlers: HandlerCount,
    /// Open connections of the public listeners together.
    pub max_connections: NonZeroUsize,
    /// How long a stop waits for requests to finish.
    pub drain: Duration,
    /// Host names that the daemon answers to beside this machine's own, in lower case.
    pub hosts: Vec<String>,
}

/// How many request handlers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerCount {
    /// One for each core.
    Auto,
    /// This many.
    Count(NonZeroUsize),
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// A request's body, in bytes.
    pub body_bytes: usize,
    /// A request's head (request line and headers), in bytes; at most 128 KiB.
    pub head_bytes: usize,
    /// From the first byte of a head to its end.
    pub header_timeout: Duration,
    /// From the end of a head to the beginning of its answer.
    pub request_timeout: Duration,
    /// Between two requests on one connection.
    pub idle_timeout: Duration,
    /// Without one byte of progress while a body is read or an answer is written.
    pub stall_timeout: Duration,
}

/// `[logging]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,perennial::storage=debug`.
    pub level: String,
    /// The format of stderr.
    pub format: LogFormat,
    /// Whether each answer is a line of the access log.
    pub access: bool,
    /// Rotating JSON files, where a folder is named.
    pub file: Option<LogFileSettings>,
}

/// The format of stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `logging.file`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFileSettings {
    /// The folder.
    pub dir: PathBuf,
    /// When a new file begins.
    pub rotate: Rotation,
    /// How many files are kept.
    pub keep: NonZeroUsize,
}

/// When a new log file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Every minute (for tests).
    Minutely,
    /// Every hour.
    Hourly,
    /// Every day.
    Daily,
    /// Never.
    Never,
}

/// `[supervision]`
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisionSettings {
    /// What a death does to the siblings.
    pub strategy: Strategy,
    /// Restarts within `within` before a supervisor gives up.
    pub max_restarts: MaxRestarts,
    /// The delay before a restart, once it grows.
    pub backoff: Backoff,
    /// How long a child may take to become ready.
    pub start_timeout: Duration,
    /// The storage writer's slot.
    pub storage: QueueSettings,
    /// The file cache's slot.
    pub file_cache: QueueSettings,
}

/// `supervision.strategy`, with OTP's meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Only the dead child is restarted.
    OneForOne,
    /// All children are restarted.
    OneForAll,
    /// The dead child and those started after it are restarted.
    RestForOne,
}

/// `supervision.max_restarts`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxRestarts {
    /// How many restarts are allowed within the period; 0 allows none.
    pub count: usize,
    /// The period.
    pub within: Duration,
}

/// `supervision.backoff`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first delay that is not zero.
    pub first: Duration,
    /// What each further delay is multiplied by; at least 1.
    pub factor: f64,
    /// The longest delay.
    pub max: Duration,
    /// How much of the delay is random: 0.0 none, 1.0 all of it.
    pub jitter: f64,
}

/// `supervision.children.<name>`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// Messages that may wait.
    pub queue: NonZeroUsize,
    /// Bytes that may wait.
    pub queue_bytes: NonZeroUsize,
    /// How long a caller waits for its answer.
    pub deadline: Duration,
}

/// `[file_cache]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCacheSettings {
    /// Bytes of content that are kept in memory.
    pub budget_bytes: usize,
    /// A larger file is not cached.
    pub max_file_bytes: usize,
    /// How old an entry may be before the file is looked at again.
    pub revalidate: Duration,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSettings {
    /// The engine's page cache, in bytes.
    pub cache_bytes: u64,
    /// Free disk space below which nothing is written any more.
    pub reserve: Reserve,
    /// How long a commit may take before the process gives up.
    pub flush_limit: Duration,
    /// Changes kept in the log.
    pub log_keep: usize,
}

/// `storage.reserve`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// By the size of the disk.
    Auto,
    /// This many bytes.
    Bytes(u64),
}

/// `[route."/prefix"]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// The rules that every answer of the route keeps.
    pub rules: RuleSettings,
    /// What the route leads to.
    pub target: TargetSettings,
}

/// The rules of a route or a resource: when it answers, and what its answers carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleSettings {
    /// Headers of every answer, by name.
    pub headers: BTreeMap<String, String>,
    /// The shortest time between a request and its answer.
    pub delay: Duration,
    /// How many requests are worked on at a time; `None` is no limit.
    pub max_in_flight: Option<NonZeroUsize>,
    /// Pages of the route's folder that are shown in the place of an error, by status; a resource has none.
    pub errors: BTreeMap<u16, String>,
}

/// What a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetSettings {
    /// The files of a folder.
    Files(FolderSettings),
}

/// One entry of `cache = { ... }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRule {
    /// The paths it is about: relative to the route, without a slash at the beginning.
    pub pattern: Glob,
    /// The value of `Cache-Control`.
    pub value: String,
}

/// `files = { ... }`, with the keys of the route that are about files only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderSettings {
    /// The folder; nothing outside it is ever served.
    pub root: PathBuf,
    /// The file that answers for a folder's path.
    pub index: String,
    /// Values of `Cache-Control` by the pattern of a file's path below the route: the first that matches counts.
    pub cache: Vec<CacheRule>,
    /// Content types by the ending of a file's name, in lower case, such as `.geojson`.
    pub types: BTreeMap<String, String>,
}

/// `[resource.name]`
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceSettings {
    /// Where it is served; begins and does not end with `/`.
    pub path: String,
    /// Where ids come from.
    pub ids: IdScheme,
    /// What a record may be.
    pub schema: Arc<Schema>,
    /// What `PUT` does with the members that it does not name.
    pub put: Put,
    /// Whether `PUT` makes a record that is not there.
    pub upsert: bool,
    /// Media types that are read as JSON beside `application/json`.
    pub accept: Vec<String>,
    /// Whether `DELETE` on the whole resource takes an example.
    pub delete_matching: bool,
    /// Whether a change of a record must name the state it changes.
    pub if_match_required: bool,
    /// The rules that every answer of the resource keeps.
    pub rules: RuleSettings,
}

impl ResourceSettings {
    /// What a table without any other key means.
    pub fn at(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ids: IdScheme::default(),
            schema: Arc::default(),
            put: Put::default(),
            upsert: false,
            accept: Vec::new(),
            delete_matching: false,
            if_match_required: false,
            rules: RuleSettings::default(),
        }
    }
}

/// `resource.*.put`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Put {
    /// They are gone (RFC 9110 section 9.3.4).
    #[default]
    Replace,
    /// They stay: for clients that put partial records.
    Merge,
}

/// `[chaos]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChaosSettings {
    /// Whether the admin listener takes orders to make children panic.
    pub enabled: bool,
}
