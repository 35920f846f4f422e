//! The settings as they are written, after files, defaults and environment have been merged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) server: Server,
    pub(super) limits: Limits,
    pub(super) logging: Logging,
    pub(super) supervision: Supervision,
    pub(super) file_cache: FileCache,
    pub(super) storage: Storage,
    #[serde(default)]
    pub(super) route: BTreeMap<String, Route>,
    #[serde(default)]
    pub(super) resource: BTreeMap<String, Resource>,
    pub(super) chaos: Chaos,
    #[serde(default)]
    #[expect(dead_code, reason = "was followed before the merge")]
    include: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) listen: Vec<String>,
    pub(super) admin: SocketAddr,
    pub(super) data: PathBuf,
    pub(super) handlers: Handlers,
    pub(super) max_connections: usize,
    pub(super) drain: String,
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Handlers {
    Count(usize),
    /// `"auto"`, which is the only word the walk lets pass.
    Word(#[expect(dead_code, reason = "there is one word")] String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) body: String,
    pub(super) headers: String,
    pub(super) header_timeout: String,
    pub(super) request_timeout: String,
    pub(super) idle_timeout: String,
    pub(super) stall_timeout: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Logging {
    pub(super) level: String,
    pub(super) format: String,
    pub(super) access: bool,
    pub(super) file: LogFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogFile {
    pub(super) dir: Option<PathBuf>,
    pub(super) rotate: String,
    pub(super) keep: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Supervision {
    pub(super) strategy: String,
    pub(super) max_restarts: MaxRestarts,
    pub(super) backoff: Backoff,
    pub(super) start_timeout: String,
    pub(super) children: Children,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaxRestarts {
    pub(super) count: usize,
    pub(super) within: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backoff {
    pub(super) first: String,
    pub(super) factor: f64,
    pub(super) max: String,
    pub(super) jitter: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Children {
    pub(super) storage: ChildLimits,
    pub(super) file_cache: ChildLimits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChildLimits {
    pub(super) queue: usize,
    pub(super) queue_bytes: String,
    pub(super) deadline: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileCache {
    pub(super) budget: String,
    pub(super) max_file: String,
    pub(super) revalidate: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Storage {
    #[expect(dead_code, reason = "there is one engine so far")]
    engine: String,
    #[expect(dead_code, reason = "there is one durability so far")]
    durability: String,
    pub(super) cache: String,
    pub(super) reserve: String,
    pub(super) flush_limit: String,
    pub(super) log_keep: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) files: Option<Files>,
    #[serde(default)]
    pub(super) cache: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) types: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) errors: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) delay: Option<String>,
    pub(super) max_in_flight: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Files {
    pub(super) root: Option<PathBuf>,
    pub(super) index: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resource {
    pub(super) path: Option<String>,
    #[expect(dead_code, reason = "everything is public so far")]
    access: Option<serde_json::Value>,
    pub(super) id: Option<String>,
    #[expect(dead_code, reason = "was read by the walk, with its places")]
    fields: Option<serde_json::Value>,
    pub(super) if_match: Option<String>,
    pub(super) put: Option<String>,
    #[serde(default)]
    pub(super) accept: Vec<String>,
    #[serde(default)]
    pub(super) upsert: bool,
    #[serde(default)]
    pub(super) delete_matching: bool,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) delay: Option<String>,
    pub(super) max_in_flight: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chaos {
    pub(super) enabled: bool,
}
