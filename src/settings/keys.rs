//! The table of keys: what an operator may write, what it means, and what it may be.
//!
//! Everything that knows the keys is made from it: the walk that finds faults, the nearest name for a misspelt one,
//! and `config/reference.toml`.

use super::kind::Kind;

/// One key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Key {
    /// Its path; `*` stands for a name of the operator's.
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    /// As it would be written; empty if there is none.
    pub(crate) default: &'static str,
    /// One line: meaning, unit, range, reason.
    pub(crate) doc: &'static str,
}

impl Key {
    /// Whether it can be used in this release.
    pub(crate) fn available(&self) -> bool {
        self.kind != Kind::Anything
    }
}

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind,
        default,
        doc,
    }
}

const fn later(path: &'static str) -> Key {
    key(path, Kind::Anything, "", "")
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: f64 = 3600.0;

/// All keys, in the order of the reference.
pub(crate) const KEYS: &[Key] = &[
    key(
        "include",
        Kind::Includes,
        "[]",
        "Further files, relative to this one; the same key in two files is a fault",
    ),
    // --- server
    key(
        "server.listen",
        Kind::Listens,
        "[\"127.0.0.1:3000\"]",
        "Public addresses, IP:PORT; or unix:PATH for the user and its group; or systemd:NAME for the sockets that a .socket unit gives this name",
    ),
    key(
        "server.admin",
        Kind::Address,
        "\"127.0.0.1:3001\"",
        "Health, metrics and the tree; keep it off the public net",
    ),
    key(
        "server.data",
        Kind::Path,
        "\"data\"",
        "The data folder; one daemon a folder",
    ),
    key(
        "server.handlers",
        Kind::AutoOr(1, 256),
        "\"auto\"",
        "Request handlers, one thread each; auto is one for each core",
    ),
    key(
        "server.max_connections",
        Kind::Integer(1, 1_000_000),
        "10000",
        "Open public connections; more wait in the kernel's backlog",
    ),
    key(
        "server.drain",
        Kind::Duration(0.0, HOUR),
        "\"20s\"",
        "How long a stop waits for requests in flight",
    ),
    key(
        "server.hosts",
        Kind::Hosts,
        "[]",
        "Host names that this daemon answers to beside the machine's own, such as \"example.org\"",
    ),
    later("server.trusted_proxies"),
    // --- later
    later("tls.listen"),
    later("tls.cert"),
    later("tls.key"),
    later("tls.redirect_http"),
    // --- limits
    key(
        "limits.body",
        Kind::Size(KIB, GIB),
        "\"1 MiB\"",
        "A request's body; more is a 413",
    ),
    key(
        "limits.headers",
        Kind::Size(KIB, 64 * KIB),
        "\"16 KiB\"",
        "A request's line and headers; more is a 431",
    ),
    key(
        "limits.header_timeout",
        Kind::Duration(0.1, HOUR),
        "\"10s\"",
        "From a connection's first byte to the end of the head: against slow headers",
    ),
    key(
        "limits.request_timeout",
        Kind::Duration(0.1, HOUR),
        "\"30s\"",
        "From the end of the head to the beginning of the answer; more is a 504",
    ),
    key(
        "limits.idle_timeout",
        Kind::Duration(0.1, HOUR),
        "\"75s\"",
        "Between two requests on one connection",
    ),
    key(
        "limits.stall_timeout",
        Kind::Duration(0.1, HOUR),
        "\"30s\"",
        "Without one byte of progress in a body or an answer: against slow readers",
    ),
    later("limits.rate"),
    // --- logging
    key(
        "logging.level",
        Kind::Filter,
        "\"info\"",
        "error, warn, info, debug, trace, or a filter such as \"info,perennial::storage=debug\"",
    ),
    key(
        "logging.format",
        Kind::Choice(&["text", "json"], &[]),
        "\"text\"",
        "The format of stderr: text for people, json for collectors",
    ),
    key(
        "logging.access",
        Kind::Bool,
        "false",
        "One JSON line for each answer: in access.*.json files beside the log's, or on stdout without logging.file",
    ),
    key(
        "logging.file.dir",
        Kind::Path,
        "",
        "Where rotating JSON files go; without it there are none",
    ),
    key(
        "logging.file.rotate",
        Kind::Choice(&["minutely", "hourly", "daily", "never"], &[]),
        "\"daily\"",
        "When a new file begins",
    ),
    key(
        "logging.file.keep",
        Kind::Integer(1, 10_000),
        "14",
        "How many files are kept",
    ),
    // --- supervision
    key(
        "supervision.strategy",
        Kind::Choice(&["one_for_one", "one_for_all", "rest_for_one"], &[]),
        "\"one_for_one\"",
        "What a death does to the siblings; one_for_one leaves them alone",
    ),
    key(
        "supervision.start_timeout",
        Kind::Duration(0.1, HOUR),
        "\"30s\"",
        "How long a child may take to become ready; the store has ten minutes",
    ),
    key(
        "supervision.max_restarts.count",
        Kind::Integer(0, 1_000_000_000),
        "5",
        "Restarts within the period before a supervisor gives up",
    ),
    key(
        "supervision.max_restarts.within",
        Kind::Duration(0.001, 24.0 * HOUR),
        "\"30s\"",
        "The period",
    ),
    key(
        "supervision.backoff.first",
        Kind::Duration(0.0, HOUR),
        "\"10ms\"",
        "The first delay; a child that got something done restarts at once",
    ),
    key(
        "supervision.backoff.factor",
        Kind::Number(1.0, 100.0),
        "2.0",
        "What each further delay is multiplied by",
    ),
    key(
        "supervision.backoff.max",
        Kind::Duration(0.0, HOUR),
        "\"30s\"",
        "The longest delay",
    ),
    key(
        "supervision.backoff.jitter",
        Kind::Number(0.0, 1.0),
        "1.0",
        "The part of a delay that is random, so that restarts do not meet",
    ),
    later("supervision.hang_limit"),
    key(
        "supervision.children.storage.queue",
        Kind::Integer(1, 1_000_000),
        "4096",
        "Writes that may wait; more is a 503",
    ),
    key(
        "supervision.children.storage.queue_bytes",
        Kind::Size(KIB, GIB),
        "\"64 MiB\"",
        "Bytes of writes that may wait",
    ),
    key(
        "supervision.children.storage.deadline",
        Kind::Duration(0.01, HOUR),
        "\"5s\"",
        "How long a request waits for the store, restarts included",
    ),
    later("supervision.children.storage.restart"),
    key(
        "supervision.children.file-cache.queue",
        Kind::Integer(1, 1_000_000),
        "1024",
        "Looks at files that may wait",
    ),
    key(
        "supervision.children.file-cache.queue_bytes",
        Kind::Size(KIB, GIB),
        "\"16 MiB\"",
        "Bytes of them",
    ),
    key(
        "supervision.children.file-cache.deadline",
        Kind::Duration(0.01, HOUR),
        "\"2s\"",
        "How long a request waits for a file, restarts included",
    ),
    later("supervision.children.file-cache.restart"),
    // --- file cache
    key(
        "file_cache.budget",
        Kind::Size(0, 64 * GIB),
        "\"64 MiB\"",
        "Content that is kept in memory",
    ),
    key(
        "file_cache.max_file",
        Kind::Size(0, GIB),
        "\"4 MiB\"",
        "A larger file is streamed from the disk",
    ),
    key(
        "file_cache.revalidate",
        Kind::Duration(0.01, HOUR),
        "\"1s\"",
        "How old an entry may be before its file is looked at again",
    ),
    // --- storage
    key(
        "storage.engine",
        Kind::Choice(&["sled"], &["postgres"]),
        "\"sled\"",
        "Where records live",
    ),
    key(
        "storage.durability",
        Kind::Choice(&["always"], &["interval"]),
        "\"always\"",
        "A write is answered when the disk has it",
    ),
    key(
        "storage.cache",
        Kind::Size(MIB, 64 * GIB),
        "\"64 MiB\"",
        "The engine's page cache; it takes about twice as much memory",
    ),
    key(
        "storage.reserve",
        Kind::AutoOrSize(0, 1024 * GIB),
        "\"auto\"",
        "Free disk space below which writes get 507 and reads go on; auto is 5 % of the disk, at least 64 MiB and at most 1 GiB",
    ),
    key(
        "storage.flush_limit",
        Kind::Duration(0.1, HOUR),
        "\"30s\"",
        "How long the caller of a write that was begun waits for its outcome",
    ),
    key(
        "storage.log_keep",
        Kind::Integer(1_000, 1_000_000_000),
        "100000",
        "Changes kept in the log",
    ),
    later("storage.url_file"),
    later("auth.keys"),
    later("auth.jwt"),
    // --- routes
    key(
        "route.*.files.root",
        Kind::Path,
        "",
        "The folder; nothing outside of it is served",
    ),
    key(
        "route.*.files.index",
        Kind::FileName,
        "\"index.html\"",
        "What a folder's path answers with",
    ),
    later("route.*.files.fallback"),
    later("route.*.files.precompressed"),
    key(
        "route.*.cache",
        Kind::CacheRules,
        "",
        "Cache-Control by pattern, below the route; * stays within a name, ** does not; the longest pattern wins",
    ),
    key(
        "route.*.types",
        Kind::ContentTypes,
        "",
        "Content types by the ending of a file's name, in the place of the built-in ones",
    ),
    key(
        "route.*.errors",
        Kind::ErrorPages,
        "",
        "Pages of the route's folder that are shown in the place of an error, by status",
    ),
    key(
        "route.*.headers",
        Kind::Headers,
        "",
        "Headers of every answer of the route",
    ),
    key(
        "route.*.delay",
        Kind::Duration(0.0, HOUR),
        "\"0s\"",
        "Answer no sooner than this; other requests do not notice",
    ),
    key(
        "route.*.max_in_flight",
        Kind::Integer(1, 1_000_000),
        "",
        "Requests at a time; up to 1024 more wait for their turn, and what comes then is a 503",
    ),
    later("route.*.redirect"),
    later("route.*.proxy"),
    // --- resources
    key(
        "resource.*.path",
        Kind::UrlPath,
        "",
        "Where it is served; without it, / and its name",
    ),
    key(
        "resource.*.access",
        Kind::Access,
        "",
        "Who may read and write; must be spelled out where others than this machine can connect",
    ),
    key(
        "resource.*.id",
        Kind::Choice(&["uuidv7", "sequence", "client"], &[]),
        "\"uuidv7\"",
        "Who names new records: uuidv7 and sequence the server (uuidv7 unless the client does), client the client",
    ),
    key(
        "resource.*.fields",
        Kind::Fields,
        "\"any\"",
        "\"any\": any JSON object is a record; else a table of fields such as title = { type = \"string\", required = true }",
    ),
    key(
        "resource.*.if_match",
        Kind::Choice(&["optional", "required"], &[]),
        "\"optional\"",
        "required: a change that does not name the ETag it changes is a 428",
    ),
    key(
        "resource.*.put",
        Kind::Choice(&["replace", "merge"], &[]),
        "\"replace\"",
        "What PUT does with members it does not name: merge keeps them, for clients that put partial records",
    ),
    key(
        "resource.*.accept",
        Kind::MediaTypes,
        "[]",
        "Media types that are read as JSON beside application/json; a page of another site can send text/plain unasked",
    ),
    key(
        "resource.*.upsert",
        Kind::Bool,
        "false",
        "Whether PUT makes a record that is not there",
    ),
    key(
        "resource.*.delete_matching",
        Kind::Bool,
        "false",
        "Whether DELETE on the whole resource takes an example and deletes what is equal to it",
    ),
    key(
        "resource.*.headers",
        Kind::Headers,
        "",
        "Headers of every answer of the resource",
    ),
    key(
        "resource.*.delay",
        Kind::Duration(0.0, HOUR),
        "\"0s\"",
        "Answer no sooner than this; other requests do not notice",
    ),
    key(
        "resource.*.max_in_flight",
        Kind::Integer(1, 1_000_000),
        "",
        "Requests at a time; up to 1024 more wait for their turn, and what comes then is a 503",
    ),
    later("resource.*.index"),
    later("resource.*.unique"),
    later("resource.*.history"),
    // --- chaos
    key(
        "chaos.enabled",
        Kind::Bool,
        "false",
        "Lets the admin listener make children panic: for tests and drills only",
    ),
];
