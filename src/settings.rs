//! The settings: what the operator wrote, validated, and the only form of it that the program sees.
//!
//! Every value in [`Settings`] is in range and consistent with the others; durations are [`Duration`], sizes are bytes.
//! [`Settings::default`] is what an empty file means.
//!
//! Order of reading: `keys` (the table of all keys; `key_path` has the paths of those that were written), `kind` and `texts`
//! (what a value may be), `walk` (finds every fault of a file, with its line), `fields` and `indexes` (what a resource's records
//! look like, and how they are found), `rules` (faults that span several keys), `folders` (what must be on the disk; `look_threads`
//! looks, `real_paths` follows links), `effects` (what has no effect), `load` (finds, merges and reads the files, with `read_files`,
//! which notices files that change meanwhile), then the structs that are the result: here, in `backup`, `coding` and `routes`.
//! `reference` writes `config/reference.toml` from the table.
//!
//! The walk reads every file and the environment, and names all faults at once. If it finds none, the `config` crate merges
//! what was written over the defaults, and serde reads the merged value into [`Settings`].
//!
//! `source` reads the settings again, and `watched` tells which places on the disk decide what they are; `values` has the
//! values that are not the defaults of their keys, and `plan` tells what changes from one reading to the next.

mod auth;
mod backup;
mod clients;
mod coding;
mod effects;
mod fault;
mod field_values;
mod fields;
mod findings;
mod folders;
mod indexes;
mod json_members;
mod json_schema;
mod key;
mod key_path;
mod keys;
mod kind;
mod listen;
mod load;
mod look_threads;
mod plan;
mod proxies;
mod read_files;
mod real_paths;
mod redirect;
mod reference;
mod references;
mod route_place;
mod routes;
mod rules;
mod shared_folders;
mod source;
#[cfg(test)]
mod tests;
mod texts;
mod tls;
mod token_keys;
mod values;
mod walk;
mod watched;

pub use crate::tokens::TokenAlgorithm;
pub(crate) use auth::is_day;
pub use auth::{
    AccessSettings, AllowedClient, AllowedClients, AuthSettings, KeySettings, PasswordHash,
    Permission, Scope, SecretHash, TokenSettings, UserSettings,
};
pub use backup::{BackupSettings, BackupTo, DrillInterval, KeepSettings, NoBackupTo};
pub use coding::ContentCoding;
pub(crate) use fault::node_name;
pub use fault::{Location, SettingFault};
pub use listen::{AdminListen, Listen, NotAdminListen, NotListen};
pub use load::{CheckedFolders, LoadError, LoadedSettings, find, load};
pub(crate) use plan::{NodeChange, plan};
pub use proxies::{ForwardedHeader, NotProxies, TrustedProxy};
pub use reference::reference;
pub use route_place::RoutePlace;
pub use routes::{
    CacheRule, CorsSettings, FolderSettings, NotRedirect, Put, RatePer, RateSettings,
    RedirectSettings, RedirectTo, ResourceSettings, RespondSettings, RouteSettings, RuleSettings,
    TargetSettings,
};
pub(crate) use source::SettingsSource;
pub(crate) use texts::name_fault;
pub(crate) use tls::PairFiles;
pub use tls::{TlsSettings, TlsVersion};
pub(crate) use values::SettingValues;
pub(crate) use watched::WatchedPlaces;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error};

pub use crate::record::{
    Bounds, DefaultValue, Field, FieldSource, FieldType, IdScheme, IndexColumn, ObjectFields,
    OnDelete, Pattern, RecordIndex, Reference, Schema,
};
use crate::supervision::{Backoff, Intensity, QueueLimits, Strategy};

/// The whole daemon.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Settings {
    /// Sockets, folders, the number of request handlers.
    pub server: ServerSettings,
    /// TLS of the public listeners.
    pub tls: TlsSettings,
    /// Bounds on what one client may use.
    pub limits: LimitSettings,
    /// The log.
    pub logging: LogSettings,
    /// The restarts of failed children.
    pub supervision: SupervisionSettings,
    /// The cache of static files.
    pub file_cache: FileCacheSettings,
    /// The record store.
    pub storage: StorageSettings,
    /// Change feeds.
    pub feed: FeedSettings,
    /// Backups of the records.
    pub backup: BackupSettings,
    /// Routes by path prefix, as it reads when it is decoded; it begins and does not end with `/` (except `/` itself).
    #[serde(rename = "route")]
    pub routes: BTreeMap<String, RouteSettings>,
    /// Resources by name.
    #[serde(rename = "resource", default)]
    pub resources: BTreeMap<String, ResourceSettings>,
    /// The keys of clients.
    #[serde(default)]
    pub auth: AuthSettings,
    /// Fault injection, for tests and drills.
    pub chaos: ChaosSettings,
}

impl Default for Settings {
    /// The settings of an empty file.
    #[expect(
        clippy::expect_used,
        reason = "the defaults are ours, and a test reads them"
    )]
    fn default() -> Self {
        let loaded = load(None, &BTreeMap::new(), CheckedFolders::None);
        loaded.expect("the defaults are valid").settings
    }
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// The public addresses; at least one.
    pub listen: Vec<Listen>,
    /// Whether a socket of `[::]` leaves the addresses of IPv4 to others.
    pub ipv6_only: bool,
    /// The admin listener: health, metrics, the tree.
    pub admin: AdminListen,
    /// The data folder.
    pub data: PathBuf,
    /// Request-handler actors, one thread each; without a number, one for each core.
    pub handlers: AutoCount,
    /// Open connections of the public listeners together.
    pub max_connections: NonZeroUsize,
    /// Open connections of one peer on them; without a number, a quarter of all.
    pub max_connections_per_peer: AutoCount,
    /// Bytes of requests and answers that all public connections hold together.
    pub max_buffered: AutoSize,
    /// The time that a stop waits for requests to finish.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// Host names that the daemon answers to beside this machine's own, in lower case.
    #[serde(deserialize_with = "lower_case")]
    pub hosts: Vec<String>,
    /// The answer to requests for other hosts.
    pub unknown_hosts: UnknownHosts,
    /// The proxies that are believed when they name their client.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Whether connections of these proxies begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// The header in which they do.
    pub forwarded: ForwardedHeader,
    /// Whether changes of the files of the settings are applied without an order.
    pub watch: bool,
}

/// A number that the daemon may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AutoCount {
    /// As the setting says.
    Auto,
    /// This many.
    #[serde(untagged)]
    Count(NonZeroUsize),
}

/// `server.unknown_hosts`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownHosts {
    /// They are served by the routes without a host.
    #[default]
    Serve,
    /// They are refused.
    Refuse,
}

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// A request's body, in bytes.
    #[serde(rename = "body", deserialize_with = "size")]
    pub body_bytes: usize,
    /// A request's head (request line and headers), in bytes; at most 64 KiB.
    #[serde(rename = "headers", deserialize_with = "size")]
    pub head_bytes: usize,
    /// From the first byte of a head to its end.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// From the end of a head to the beginning of its answer.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Between two requests on one connection.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Without one byte of progress while a body is read or an answer is written.
    #[serde(with = "humantime_serde")]
    pub stall_timeout: Duration,
    /// Records in one answer to a list.
    pub list_records: NonZeroUsize,
    /// Answers of lists that are kept, in bytes; 0 keeps none.
    #[serde(deserialize_with = "size")]
    pub kept_lists: usize,
    /// Operations of a batch, records of a request that makes several, and records that one with filters may change.
    pub batch: NonZeroUsize,
    /// The body of such a request, in bytes.
    #[serde(rename = "batch_body", deserialize_with = "size")]
    pub batch_bytes: usize,
}

/// `[logging]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,perennial::storage=debug`.
    pub level: String,
    /// The format of stderr.
    pub format: LogFormat,
    /// Whether each answer is a line of the access log.
    pub access: bool,
    /// Whether its lines have the queries of requests.
    pub access_query: bool,
    /// Rotating JSON files, where a folder is named.
    #[serde(deserialize_with = "log_file")]
    pub file: Option<LogFileSettings>,
}

/// The format of stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `logging.file`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFileSettings {
    /// The folder.
    #[serde(default)]
    pub dir: PathBuf,
    /// The time at which a new file begins.
    pub rotate: Rotation,
    /// The number of files that are kept.
    pub keep: NonZeroUsize,
}

/// The time at which a new log file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
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
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisionSettings {
    /// The strategy: decides which children are restarted when one fails.
    pub strategy: Strategy,
    /// The number of restarts that a supervisor allows before it gives up.
    pub max_restarts: Intensity,
    /// The delays of restarts.
    pub backoff: Backoff,
    /// The time that a child may take to become ready.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// Limits of single children.
    pub children: ChildrenSettings,
}

/// `[supervision.children]`
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChildrenSettings {
    /// The storage writer's queue.
    pub storage: QueueSettings,
    /// The file cache's queue.
    pub file_cache: QueueSettings,
}

/// `supervision.children.<name>`
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// Messages that may wait.
    pub queue: NonZeroUsize,
    /// Bytes that may wait.
    #[serde(deserialize_with = "size")]
    pub queue_bytes: usize,
    /// The time for which a caller waits for its answer.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

impl QueueSettings {
    /// The bounds of the queue, for its slot.
    pub(crate) fn limits(&self) -> QueueLimits {
        QueueLimits {
            messages: self.queue.get(),
            bytes: self.queue_bytes,
        }
    }
}

/// `[file_cache]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileCacheSettings {
    /// Bytes of content that are kept in memory.
    #[serde(rename = "budget", deserialize_with = "size")]
    pub budget_bytes: usize,
    /// A larger file is not cached.
    #[serde(rename = "max_file", deserialize_with = "size")]
    pub max_file_bytes: usize,
    /// The age at which an entry is compared with its file again.
    #[serde(with = "humantime_serde")]
    pub revalidate: Duration,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSettings {
    /// The engine's page cache, in bytes.
    #[serde(rename = "cache", deserialize_with = "size")]
    pub cache_bytes: u64,
    /// Free disk space below which nothing is written any more.
    pub reserve: AutoSize,
    /// The time that a commit may take before the process gives up.
    #[serde(with = "humantime_serde")]
    pub flush_limit: Duration,
    /// Changes kept in the log.
    pub log_keep: usize,
    /// The treatment of a store whose data is refused.
    pub on_refusal: OnRefusal,
    /// The folder of the archive, if there is one.
    #[serde(default)]
    pub archive: Option<PathBuf>,
    /// The time that the archive reaches back; without a limit if there is none.
    #[serde(default, with = "humantime_serde")]
    pub archive_keep: Option<Duration>,
    /// Bytes of the journal that are kept for an archive that lacks them.
    #[serde(deserialize_with = "size")]
    pub archive_backlog: u64,
    /// The most records that are looked at for one query.
    pub scan_records: usize,
    /// Answers to requests with an `Idempotency-Key` that are kept.
    pub answers: usize,
    /// Bytes of them.
    #[serde(deserialize_with = "size")]
    pub answers_bytes: u64,
    /// The time for which they are kept.
    #[serde(with = "humantime_serde")]
    pub answers_keep: Duration,
    /// The archiving that a write waits for.
    pub archive_sync: ArchiveSync,
}

/// `storage.archive_sync`
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArchiveSync {
    /// A write does not wait for the archive.
    Later,
    /// A write is answered when the archive has it.
    Always,
}

/// `[feed]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedSettings {
    /// Feeds, and requests that wait for changes, at a time.
    pub subscribers: NonZeroUsize,
    /// The time after which a feed without changes sends a comment.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Changes that a feed may be behind.
    pub history: usize,
    /// The age of the oldest change that a feed begins after.
    #[serde(with = "humantime_serde")]
    pub history_age: Duration,
}

/// `storage.on_refusal`
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRefusal {
    /// The rest of the daemon serves without it.
    Degrade,
    /// The process ends.
    Exit,
}

/// A size that the daemon may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AutoSize {
    /// As the setting says.
    Auto,
    /// This many bytes.
    #[serde(untagged, deserialize_with = "size")]
    Bytes(u64),
}

/// `[chaos]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChaosSettings {
    /// Whether the admin listener takes orders to make children panic.
    pub enabled: bool,
}

/// A size such as `"16 KiB"`, in bytes.
fn size<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<T, D::Error> {
    let size = ByteSize::deserialize(from)?;
    T::try_from(size.as_u64()).map_err(|_| D::Error::custom("too large for this machine"))
}

fn lower_case<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    Ok(texts.iter().map(|text| text.to_ascii_lowercase()).collect())
}

/// Without a folder there are no log files.
fn log_file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<LogFileSettings>, D::Error> {
    let file = LogFileSettings::deserialize(from)?;
    Ok((!file.dir.as_os_str().is_empty()).then_some(file))
}
