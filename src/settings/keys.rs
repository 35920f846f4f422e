//! The table of keys: what an operator may write, what each value may be, its default, and what it means.
//!
//! Whatever depends on the keys is made from this table: the walk that finds faults, the nearest name for a misspelt one,
//! the defaults, and `config/reference.toml`. A new setting is one row here and one field in [`Settings`](super::Settings).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::kind::Kind;
use super::texts::{
    ADDRESS, ALGORITHMS, BACKUP_TO, BODY, CACHE_RULES, CLAIM, CLIENTS, CODINGS, CONTENT_TYPE,
    CONTENT_TYPES, DAY, ENDPOINT, ERROR_PAGES, FILE_NAMES, FILTER, HEADERS, HOSTS, HSTS, INCLUDES,
    LISTENS, MEDIA_TYPES, MEMBER, METHODS, ORIGINS, PAGE, PASSWORD_HASH, PATH, PATTERNS, PROXIES,
    REDIRECT, REGION, SCOPES, SECRET_HASH, URL_PATH,
};

pub(crate) use super::key::{Applied, Key};
use super::key::{key, optional};

/// Names of keys and tables, and words, that a coming release will have.
#[rustfmt::skip]
pub(crate) const COMING: [&str; 7] = [
    "hang_limit", "interval", "postgres", "proxy",
    "restart", "service", "timer",
];

const LIVE: Applied = Applied::Live;
const REPLACED: Applied = Applied::Replaced;
const RESTART: Applied = Applied::Restart;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: f64 = 3600.0;
/// A time that may not be zero.
const TIMEOUT: Kind = Kind::Duration(0.1, HOUR);
/// The time for which a caller of a part of the daemon waits.
const DEADLINE: Kind = Kind::Duration(0.01, HOUR);
const DELAY: Kind = Kind::Duration(0.0, HOUR);
const COUNT: Kind = Kind::Integer(1, 1_000_000);
/// The number of backups of a kind that are kept.
const KEEP: Kind = Kind::Integer(1, 10_000);
const QUEUE_BYTES: Kind = Kind::Size(KIB, GIB);

/// All keys, in the order of the reference; not formatted, so that each is one row.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    key("include", LIVE, INCLUDES, "[]",
        "Further files to read, relative to this one; the same key in two files is a fault"),
    // --- server
    key("server.listen", REPLACED, LISTENS, r#"["127.0.0.1:3000"]"#,
        "Public addresses, IP:PORT; or unix:PATH for the user and its group; or systemd:NAME for the sockets that a .socket unit gives this name"),
    key("server.ipv6_only", REPLACED, Kind::Bool, "false",
        "Whether [::] means the addresses of IPv6 alone, so that 0.0.0.0 can have the same port"),
    key("server.admin", REPLACED, ADDRESS, r#""127.0.0.1:3001""#,
        "The address of health, metrics, the tree of supervisors and orders to them; keep it off the public net. Or unix:PATH, for the user of the daemon alone"),
    key("server.data", RESTART, PATH, r#""data""#,
        "The data folder; each daemon needs its own"),
    key("server.handlers", REPLACED, Kind::Auto(&Kind::Integer(1, 256)), r#""auto""#,
        "How many request handlers run, one thread each; auto is one for each core"),
    key("server.max_connections", LIVE, COUNT, "10000",
        "How many public connections may be open; for more, idle ones are closed, then those whose request has only begun, and the rest wait in the kernel's backlog"),
    key("server.max_connections_per_peer", LIVE, Kind::Auto(&COUNT), r#""auto""#,
        "How many of them one address may have (of IPv6, one /64); for more, its idle ones are closed, or else the new one; auto is a quarter. Loopback and unix sockets have no bound; for a proxy on another machine, raise it"),
    key("server.max_buffered", LIVE, Kind::Auto(&Kind::Size(64 * KIB, 1024 * GIB)), r#""auto""#,
        "How many bytes of requests and of answers that are not taken all public connections may hold together, each beyond 16 KiB; past it, a request for which there is no room gets 503; auto is an eighth of the memory, at least 64 MiB"),
    key("server.drain", LIVE, DELAY, r#""20s""#,
        "How long a stop waits for requests in flight"),
    key("server.hosts", LIVE, HOSTS, "[]",
        "Host names that this daemon answers to beside the machine's own and those of its routes, such as \"example.org\""),
    key("server.unknown_hosts", LIVE, Kind::Choice(&["serve", "refuse"]), r#""serve""#,
        "What a request for another host gets at an address that is not a loopback one: serve answers it by the routes without a host, refuse by 421. At a loopback address it always gets 421"),
    key("server.trusted_proxies", LIVE, PROXIES, "[]",
        "The proxies that are believed when they name their client: addresses, networks such as \"10.0.0.0/8\", or \"unix\" for those that connect by a unix socket. The access log and the rates of routes have the address that they name"),
    key("server.forwarded", LIVE, Kind::Choice(&["x-forwarded-for", "forwarded"]), r#""x-forwarded-for""#,
        "The header in which they name it. No other one is read, since a proxy passes on what it does not know"),
    key("server.proxy_protocol", LIVE, Kind::Bool, "false",
        "Whether each connection of a trusted proxy begins with a header of the PROXY protocol (version 1 or 2), which names its client; one without is closed. For proxies that pass on TCP, such as HAProxy with send-proxy or a load balancer"),
    key("server.watch", LIVE, Kind::Bool, "false",
        "Whether changes of this file, and of those that it includes, are applied by themselves, as `perennial reload` applies them"),
    // --- tls
    optional("tls.listen", REPLACED, LISTENS, r#"["0.0.0.0:443"]"#,
        "Public addresses that speak TLS, with HTTP/2 and HTTP/1.1; written as those of server.listen, which go on without TLS"),
    optional("tls.cert", LIVE, Kind::KeyFile, r#""fullchain.pem""#,
        "The certificate in PEM, with those that vouch for it behind it; relative to the file that names it. A file that was written anew is taken by a reload, and by itself within a minute"),
    optional("tls.key", LIVE, Kind::KeyFile, r#""key.pem""#,
        "Its key in PEM, without a passphrase; only the user of the daemon should be able to read it"),
    key("tls.min_version", LIVE, Kind::Choice(&["1.2", "1.3"]), r#""1.2""#,
        "The oldest version of TLS that is spoken"),
    key("tls.handshake_timeout", LIVE, TIMEOUT, r#""10s""#,
        "The longest time from the beginning of a connection to the end of its handshake"),
    key("tls.redirect_http", LIVE, Kind::Bool, "false",
        "Whether the addresses of server.listen, but for unix sockets, answer 308 to the same host and path at https; /.well-known/acme-challenge/ is served all the same"),
    optional("tls.redirect_port", LIVE, Kind::Integer(1, 65_535), "443",
        "The port of https that clients see; without this, that of the first address of tls.listen"),
    optional("tls.hsts", LIVE, HSTS, r#""max-age=31536000""#,
        "The value of Strict-Transport-Security in answers over TLS; a browser that has seen it comes by https alone for so many seconds"),
    optional("tls.certificate.*.cert", LIVE, Kind::KeyFile, r#""shop.pem""#,
        "The certificate of other hosts: those whose names are in it. All other hosts get that of tls.cert"),
    optional("tls.certificate.*.key", LIVE, Kind::KeyFile, r#""shop-key.pem""#,
        "Its key"),
    // --- limits
    key("limits.body", LIVE, QUEUE_BYTES, r#""1 MiB""#,
        "The largest body of a request; a larger one gets 413"),
    key("limits.headers", LIVE, Kind::Size(KIB, 64 * KIB), r#""16 KiB""#,
        "The most bytes of a request's line and headers; more get 431"),
    key("limits.header_timeout", LIVE, TIMEOUT, r#""10s""#,
        "The longest time from a connection's first byte to the end of the headers: against slow senders"),
    key("limits.request_timeout", LIVE, TIMEOUT, r#""30s""#,
        "The longest time from the end of the headers to the beginning of the answer, else 504, and to the end of the request's body, else 408; a write is not cut off, and a wait for max_in_flight does not count"),
    key("limits.idle_timeout", LIVE, TIMEOUT, r#""75s""#,
        "The longest time between two requests on one connection"),
    key("limits.stall_timeout", LIVE, TIMEOUT, r#""30s""#,
        "The longest time without one byte of progress in a body or an answer: against slow readers"),
    key("limits.list_records", LIVE, COUNT, "10000",
        "The most records in one answer to a list, whatever number is asked for; what is cut has a link to the rest"),
    key("limits.kept_lists", LIVE, Kind::Size(0, 64 * GIB), r#""8 MiB""#,
        "The memory for answers to lists, which are given again as long as no record of the resource has changed; \"0 B\" keeps none"),
    key("limits.batch", LIVE, Kind::Integer(1, 10_000), "1000",
        "The most operations of a request to /_batch, records of one that makes several, and records that one with filters may change"),
    key("limits.batch_body", LIVE, QUEUE_BYTES, r#""16 MiB""#,
        "The largest body of a request that makes several records, and of one to /_batch; each record has limits.body"),
    // --- logging
    key("logging.level", LIVE, FILTER, r#""info""#,
        "error, warn, info, debug, trace, or a filter such as \"info,perennial::storage=debug\""),
    key("logging.format", LIVE, Kind::Choice(&["text", "json"]), r#""text""#,
        "The format of stderr: text for people, json for log collectors"),
    key("logging.access", LIVE, Kind::Bool, "false",
        "Whether each answer is logged as a line of JSON: in access.*.json files beside the log's, or on stdout without logging.file"),
    key("logging.access_query", LIVE, Kind::Bool, "true",
        "Whether a line of the access log has the query of the request; false keeps personal data out of the log"),
    optional("logging.file.dir", LIVE, PATH, r#""/var/log/perennial""#,
        "The folder of rotating JSON log files; without it there are none"),
    key("logging.file.rotate", LIVE, Kind::Choice(&["minutely", "hourly", "daily", "never"]), r#""daily""#,
        "When a new log file begins"),
    key("logging.file.keep", LIVE, Kind::Integer(1, 10_000), "14",
        "How many older log files are kept beside the one that is written, at most"),
    // --- supervision
    key("supervision.strategy", LIVE, Kind::Choice(&["one_for_one", "one_for_all", "rest_for_one"]), r#""one_for_one""#,
        "Which children are restarted when one dies: that one, all of them, or that one and those started after it"),
    key("supervision.start_timeout", LIVE, TIMEOUT, r#""30s""#,
        "How long a child may take to become ready; the store has ten minutes"),
    key("supervision.max_restarts.count", LIVE, Kind::Integer(0, 1_000_000_000), "5",
        "How many restarts are allowed within the period before a supervisor gives up"),
    key("supervision.max_restarts.within", LIVE, Kind::Duration(0.001, 24.0 * HOUR), r#""30s""#,
        "The period"),
    key("supervision.backoff.first", LIVE, DELAY, r#""10ms""#,
        "The first delay before a restart; a child that has handled something is restarted at once"),
    key("supervision.backoff.factor", LIVE, Kind::Number(1.0, 100.0), "2.0",
        "Each further delay is this many times as long as the one before"),
    key("supervision.backoff.max", LIVE, DELAY, r#""30s""#,
        "The longest delay"),
    key("supervision.backoff.jitter", LIVE, Kind::Number(0.0, 1.0), "1.0",
        "The part of a delay that is random, so that children do not restart at the same moment"),
    key("supervision.children.storage.queue", LIVE, COUNT, "4096",
        "How many writes may wait; more get 503"),
    key("supervision.children.storage.queue_bytes", LIVE, QUEUE_BYTES, r#""64 MiB""#,
        "How many bytes of writes may wait"),
    key("supervision.children.storage.deadline", LIVE, DEADLINE, r#""5s""#,
        "How long a request waits for the store, restarts included"),
    key("supervision.children.file-cache.queue", LIVE, COUNT, "1024",
        "How many requests for files may wait"),
    key("supervision.children.file-cache.queue_bytes", LIVE, QUEUE_BYTES, r#""16 MiB""#,
        "How many bytes of such requests may wait"),
    key("supervision.children.file-cache.deadline", LIVE, DEADLINE, r#""2s""#,
        "How long a request waits for a file, restarts included"),
    // --- file cache
    key("file_cache.budget", LIVE, Kind::Size(0, 64 * GIB), r#""64 MiB""#,
        "How many bytes of files are kept in memory"),
    key("file_cache.max_file", LIVE, Kind::Size(0, GIB), r#""4 MiB""#,
        "The largest file that is kept in memory; a larger one is streamed from the disk"),
    key("file_cache.revalidate", LIVE, DEADLINE, r#""1s""#,
        "How old an entry may be before its file is looked at again"),
    // --- storage
    key("storage.engine", RESTART, Kind::Choice(&["sled"]), r#""sled""#,
        "The engine that keeps the records"),
    key("storage.durability", RESTART, Kind::Choice(&["always"]), r#""always""#,
        "When a write is answered: always after the disk has it"),
    key("storage.cache", RESTART, Kind::Size(MIB, 64 * GIB), r#""128 MiB""#,
        "The memory of the engine's page cache"),
    key("storage.reserve", LIVE, Kind::Auto(&Kind::Size(0, 1024 * GIB)), r#""auto""#,
        "Free disk space below which writes get 507 and reads go on; auto is 5 % of the disk, at least 64 MiB and at most 1 GiB"),
    key("storage.flush_limit", LIVE, TIMEOUT, r#""30s""#,
        "How long the caller of a write that was begun waits for its outcome"),
    key("storage.log_keep", LIVE, Kind::Integer(1_000, 1_000_000_000), "100000",
        "How many changes the store's log keeps"),
    key("storage.on_refusal", LIVE, Kind::Choice(&["degrade", "exit"]), r#""degrade""#,
        "If the stored data is damaged in all copies, or another process uses it: degrade serves everything else, exit ends the process, with 65 or 75. A change counts when the store is opened next"),
    optional("storage.archive", RESTART, PATH, r#""/mnt/other/perennial""#,
        "A folder that exists, on another disk, to which the journal and the snapshots are copied as they are written, at most a second later; it keeps all changes, so that each moment can be restored"),
    optional("storage.archive_keep", LIVE, Kind::Duration(HOUR, 100.0 * 366.0 * 24.0 * HOUR), r#""90d""#,
        "How far back it reaches; without this, to its beginning"),
    key("storage.archive_backlog", LIVE, Kind::Size(MIB, 1024 * GIB), r#""4 GiB""#,
        "How much of the journal is kept for an archive that is away, and as long as the disk is not full; it lacks what is removed"),
    key("storage.scan_records", LIVE, Kind::Integer(1_000, 1_000_000_000), "1000000",
        "How many records are read at most for a list that no index serves; for more, 504 with the fields to index"),
    key("storage.answers", LIVE, Kind::Integer(1, 100_000), "10000",
        "How many answers to requests with an Idempotency-Key are kept, so that a request that is sent again is not carried out again; the oldest go first"),
    key("storage.answers_bytes", LIVE, Kind::Size(64 * KIB, GIB), r#""64 MiB""#,
        "How many bytes of them"),
    key("storage.answers_keep", LIVE, Kind::Duration(1.0, 366.0 * 24.0 * HOUR), r#""1day""#,
        "How long they are kept"),
    key("storage.archive_sync", LIVE, Kind::Choice(&["later", "always"]), r#""later""#,
        "Whether a write waits for the archive: later answers when the disk of the data folder has it; always, when the archive has it on its disk, too, and while that can't be written, writes get 503"),
    // --- feed
    key("feed.subscribers", LIVE, COUNT, "10000",
        "How many change feeds, and requests that wait for changes, may be open; more get 503"),
    key("feed.heartbeat", LIVE, Kind::Duration(0.1, HOUR), r#""15s""#,
        "How long a feed sends nothing before it sends a comment, so that proxies keep it open"),
    key("feed.history", LIVE, Kind::Integer(1, 1_000_000_000), "100000",
        "How many changes of all resources a reader of a feed may be behind; past it, and where the journal begins later, it is told to read the list again. A kept answer to a request with an Idempotency-Key counts as a change, too"),
    key("feed.history_age", LIVE, Kind::Duration(1.0, 366.0 * 24.0 * HOUR), r#""7d""#,
        "How old the changes may be that it still gets"),
    // --- backup
    optional("backup.to", REPLACED, BACKUP_TO, r#""/backup/perennial""#,
        "Where backups of the records are written: a folder that exists, on another disk, or s3://BUCKET/PREFIX; without it there are none"),
    key("backup.every", REPLACED, Kind::Duration(1.0, 366.0 * 24.0 * HOUR), r#""6h""#,
        "The time from one backup to the next"),
    key("backup.drill", REPLACED, Kind::Choice(&["each", "daily", "weekly", "monthly", "never"]), r#""each""#,
        "How often the newest backup is verified, by restoring it into a scratch folder and comparing all records: each backup, or one in this time"),
    optional("backup.scratch", REPLACED, PATH, r#""/var/tmp/perennial""#,
        "The folder in which they are restored for that, and removed again; without it, server.data"),
    optional("backup.endpoint", REPLACED, ENDPOINT, r#""https://s3.example.org""#,
        "The server for s3:// that is not Amazon's"),
    key("backup.region", REPLACED, REGION, r#""us-east-1""#,
        "The region of the bucket"),
    optional("backup.credentials_file", REPLACED, PATH, r#""/run/credentials/perennial.service/s3""#,
        "A file with aws_access_key_id = ... and aws_secret_access_key = ... for s3://; without it, the environment has AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    optional("backup.keep.last", REPLACED, KEEP, "7",
        "How many of the newest backups are kept. What no line of keep asks for is removed, but never the newest backup that was verified; without any such line: last = 7, daily = 7, weekly = 4, monthly = 12"),
    optional("backup.keep.hourly", REPLACED, KEEP, "24",
        "Of how many hours in which there are backups the newest one is kept; hours, days, weeks (from Monday), months and years are those of UTC"),
    optional("backup.keep.daily", REPLACED, KEEP, "7",
        "The same of how many days"),
    optional("backup.keep.weekly", REPLACED, KEEP, "4",
        "The same of how many weeks"),
    optional("backup.keep.monthly", REPLACED, KEEP, "12",
        "The same of how many months"),
    optional("backup.keep.yearly", REPLACED, KEEP, "10",
        "The same of how many years"),
    // --- routes
    key("route.*.files.root", LIVE, PATH, r#""public""#,
        "The folder; nothing outside it is served"),
    key("route.*.files.index", LIVE, FILE_NAMES, r#""index.html""#,
        "The file that answers for a folder's path, or a list of files of which the first that is there answers"),
    key("route.*.files.clean_urls", LIVE, Kind::Bool, "false",
        "Whether /about answers with about.html where there is no file about"),
    key("route.*.files.listing", LIVE, Kind::Bool, "false",
        "Whether the path of a folder without an index answers with a list of its files, as a page or as JSON; hidden files and links out of the folder are left out"),
    optional("route.*.files.fallback", LIVE, PAGE, r#""/index.html""#,
        "The page that a browser gets with 200 where there is no file, for applications that read the path themselves; scripts, pictures and whatever else has the ending of a file get 404 all the same"),
    optional("route.*.files.download", LIVE, PATTERNS, r#"["/files/**", "*.zip"]"#,
        "Patterns, as those of cache, of files that a browser stores instead of showing them"),
    key("route.*.files.compress", LIVE, CODINGS, r#"["br", "zstd", "gzip"]"#,
        "The codings in which a text and the like is compressed for clients that take it, once for each file, and kept with it in memory; [] compresses nothing"),
    key("route.*.files.precompressed", LIVE, CODINGS, "[]",
        "The codings for which a compressed file may lie beside another one, such as app.js.br, app.js.zst or app.js.gz beside app.js; it is sent instead if it is not older"),
    optional("route.*.redirect.to", LIVE, REDIRECT, r#""/new{path}""#,
        "Where clients are sent instead: a path of this site, or an address that begins with http:// or https://. {path} is the rest of the path below the route, with its slash; the query is kept"),
    optional("route.*.redirect.permanent", LIVE, Kind::Bool, "true",
        "Whether clients may remember it for ever (308); without it, they may not (307). A POST stays a POST"),
    optional("route.*.respond.status", LIVE, Kind::Integer(200, 599), "410",
        "The status of an answer that is always the same, for the path of the route and all below it"),
    optional("route.*.respond.body", LIVE, BODY, r#""Gone for good.\n""#,
        "Its body, of at most 64 KiB; without it, none"),
    optional("route.*.respond.content_type", LIVE, CONTENT_TYPE, r#""text/plain; charset=utf-8""#,
        "The type of the body; without it, this one"),
    optional("route.*.cache", LIVE, CACHE_RULES, r#"{ "/assets/**" = "public, max-age=31536000, immutable", "**" = "no-cache" }"#,
        "Cache-Control by the pattern of a path below the route; * stays within one name, ** does not; the longest pattern that matches counts"),
    optional("route.*.types", LIVE, CONTENT_TYPES, r#"{ ".geojson" = "application/geo+json" }"#,
        "Content types by the ending of a file's name, instead of the built-in ones"),
    optional("route.*.errors", LIVE, ERROR_PAGES, r#"{ 404 = "/404.html" }"#,
        "Pages of the route's folder that are shown instead of an error, by status"),
    optional("route.*.headers", LIVE, HEADERS, r#"{ X-Frame-Options = "DENY" }"#,
        "Headers of every answer of the route; or \"secure\", a preset of those that protect the pages of an ordinary site, which preset = \"secure\" adds to others"),
    optional("route.*.methods", LIVE, METHODS, r#"["GET"]"#,
        "The methods that are allowed, of those that the route takes; others get 405. HEAD comes with GET, and OPTIONS always"),
    optional("route.*.cors.origins", LIVE, ORIGINS, r#"["https://app.example.org"]"#,
        "The origins whose pages may use the route from another site; \"*\" is every origin. Without it, pages that this machine serves on another port may, if the listener has a loopback address; [] lets none"),
    optional("route.*.cors.credentials", LIVE, Kind::Bool, "true",
        "Whether the requests of such pages may carry cookies and passwords; not together with \"*\""),
    key("route.*.delay", LIVE, DELAY, r#""0s""#,
        "The shortest time between a request and its answer; other requests are not delayed"),
    optional("route.*.rate.requests", LIVE, COUNT, "100",
        "How many requests to the route a client may send within each window; past it, it gets 429 with Retry-After"),
    optional("route.*.rate.window", LIVE, Kind::Duration(0.1, 24.0 * HOUR), r#""1s""#,
        "The window; without it, 1s"),
    optional("route.*.rate.burst", LIVE, COUNT, "200",
        "The most requests at once, after a pause; without it, as many as in a window"),
    optional("route.*.rate.per", LIVE, Kind::Choice(&["ip", "key", "route"]), r#""ip""#,
        "Who is counted together: ip those of one address (of IPv6, one /64), key those who show the same key of access, and others by address, route all clients; without it, ip. Behind a proxy, see server.trusted_proxies"),
    optional("route.*.max_in_flight", LIVE, COUNT, "1",
        "How many requests are worked on at a time; up to 1024 more wait for their turn, and further ones get 503"),
    optional("route.*.access", LIVE, Kind::Access, r#""public""#,
        "Who may use it, as for a resource"),
    // --- resources
    optional("resource.*.path", LIVE, URL_PATH, r#""/books""#,
        "Where it is served; without it, / and its name"),
    optional("resource.*.access", LIVE, Kind::Access, r#""public""#,
        "Who may read and write: \"public\" is everybody who can connect, [\"key:ci\"] is clients that show the secret of [auth.keys.ci], [\"basic:ann\"] the user of [auth.users.ann] by name and password, [\"jwt:editor\"] a token of [auth.jwt] with that role (key:*, basic:* and jwt:* are any of them), and { read = \"public\", write = [\"key:ci\"] } tells the two apart. Must be written if other machines can connect"),
    key("resource.*.compress", LIVE, CODINGS, "[]",
        "The codings in which a list of 1 KiB or more is compressed for clients that take it, such as [\"zstd\", \"gzip\"]; the shorter answer costs time, but for a list that is given again. Leave it out where a list has a secret beside what others write: its length tells of it"),
    optional("resource.*.owner", LIVE, MEMBER, r#""owner""#,
        "The field with the name of the client that made a record, such as key:ci, basic:ann, or jwt: and the subject of a token: the server writes it, and who has to show who it is reads and changes its own records alone. Where reading is public, all are read"),
    optional("resource.*.owner_except", LIVE, CLIENTS, r#"["key:admin", "jwt:admin"]"#,
        "The clients that read and change the records of all owners"),
    key("resource.*.id", LIVE, Kind::Choice(&["uuidv7", "sequence", "client"]), r#""uuidv7""#,
        "Who chooses the id of a new record: uuidv7 the client or else the server, sequence the client (numbers up to 9006099743113215) or else the server (the next number), client the client"),
    key("resource.*.fields", LIVE, Kind::Fields, r#""any""#,
        "\"any\": any JSON object is a record; else a table of fields such as title = { type = \"string\", required = true }"),
    optional("resource.*.schema", LIVE, Kind::SchemaFile, r#""book.schema.json""#,
        "A JSON Schema file in place of fields, relative to the file that names it; the README lists its keywords. What it says of the id is not looked at"),
    key("resource.*.additional", LIVE, Kind::Bool, "false",
        "Whether records may have members beside the fields, of any type"),
    optional("resource.*.index", LIVE, Kind::Indexes, r#"["year", "author.name", ["author", "year"]]"#,
        "The fields by which records are found and sorted without reading all of them; a list in the list is an index of several fields, in this order. Each makes writes a little dearer"),
    optional("resource.*.unique", LIVE, Kind::Indexes, r#"["isbn"]"#,
        "The same for fields whose values, unless null or missing, no two records may have; a second one gets 409. A reload that declares it builds the index first, and is refused if records have the same. A start does not wait for the index: while it is built, a value of a record that the index does not have yet is not refused, and the log tells which records have the same"),
    key("resource.*.if_match", LIVE, Kind::Choice(&["optional", "required"]), r#""optional""#,
        "required: a change must name the ETag of the state that it changes, else it gets 428"),
    key("resource.*.put", LIVE, Kind::Choice(&["replace", "merge"]), r#""replace""#,
        "What PUT does with members that it does not name: replace removes them, merge keeps them, for clients that put partial records"),
    key("resource.*.accept", LIVE, MEDIA_TYPES, "[]",
        "Media types that are read as JSON beside application/json; note that a page of another site can send text/plain without asking"),
    key("resource.*.upsert", LIVE, Kind::Bool, "false",
        "Whether PUT creates a record that does not exist"),
    key("resource.*.delete_matching", LIVE, Kind::Bool, "false",
        "Whether DELETE on the whole resource takes an example and deletes all records that are equal to it"),
    optional("resource.*.headers", LIVE, HEADERS, r#"{ X-Frame-Options = "DENY" }"#,
        "Headers of every answer of the resource"),
    optional("resource.*.methods", LIVE, METHODS, r#"["GET", "POST"]"#,
        "As for a route; the description of the API leaves the others out. A batch is bound by them, too"),
    optional("resource.*.cors.origins", LIVE, ORIGINS, r#"["https://app.example.org"]"#,
        "The origins whose pages may use the resource from another site, as for a route. If all resources have the same, /_batch, /_docs and /_openapi.json have it too; else no page of another site may use those"),
    optional("resource.*.cors.credentials", LIVE, Kind::Bool, "true",
        "Whether the requests of such pages may carry cookies and passwords; not together with \"*\""),
    key("resource.*.delay", LIVE, DELAY, r#""0s""#,
        "The shortest time between a request and its answer; other requests are not delayed"),
    optional("resource.*.rate.requests", LIVE, COUNT, "100",
        "How many requests to the resource a client may send within each window; past it, it gets 429 with Retry-After"),
    optional("resource.*.rate.window", LIVE, Kind::Duration(0.1, 24.0 * HOUR), r#""1s""#,
        "The window; without it, 1s"),
    optional("resource.*.rate.burst", LIVE, COUNT, "200",
        "The most requests at once, after a pause; without it, as many as in a window"),
    optional("resource.*.rate.per", LIVE, Kind::Choice(&["ip", "key", "route"]), r#""ip""#,
        "Who is counted together: ip those of one address (of IPv6, one /64), key those who show the same key of access, and others by address, route all clients; without it, ip. Behind a proxy, see server.trusted_proxies"),
    optional("resource.*.max_in_flight", LIVE, COUNT, "1",
        "How many requests are worked on at a time; up to 1024 more wait for their turn, and further ones get 503"),
    // --- auth
    optional("auth.jwt.algorithms", LIVE, ALGORITHMS, r#"["EdDSA"]"#,
        "The algorithms of signatures by which JSON Web Tokens count: EdDSA (Ed25519), ES256, RS256 and HS256. No other one does, and a key only for its own"),
    optional("auth.jwt.keys", LIVE, Kind::KeyFile, r#""jwt.pem""#,
        "The file of the keys: a public key in PEM, a JSON Web Key Set (JWKS), or for HS256 alone the secret, of at least 32 bytes; relative to the file that names it. A file that was written anew is taken by a reload"),
    optional("auth.jwt.issuer", LIVE, CLAIM, r#""https://login.example.org""#,
        "The iss that a token must have; without it, any"),
    optional("auth.jwt.audience", LIVE, CLAIM, r#""perennial""#,
        "The aud that a token must have; without it, a token that has one is refused, since it is meant for others"),
    optional("auth.jwt.role_claim", LIVE, CLAIM, r#""role""#,
        "The claim that has the roles, by which access names them (jwt:ROLE): a list of texts, or a text with spaces between them; a name, or a JSON Pointer such as /realm_access/roles. Without this, role"),
    optional("auth.jwt.leeway", LIVE, Kind::Duration(0.0, 600.0), r#""30s""#,
        "By how much the clock of the issuer may be wrong when exp and nbf are compared with ours; without it, 30s"),
    optional("auth.keys.*.hash", LIVE, SECRET_HASH, r#""sha256:8783ae2a338cd0280161661c6d6b2582e6f7697ca0c462aa30e74e944c5b084c""#,
        "The hash of a key's secret: perennial key new NAME makes both"),
    optional("auth.keys.*.scope", LIVE, SCOPES, r#"["books:write", "*:read"]"#,
        "The most that the key may do: a resource's name, a route's path or *, then :read or :write, which includes reading; without it, whatever access says"),
    optional("auth.keys.*.expires", LIVE, DAY, r#""2027-12-31""#,
        "The last day on which the key is valid, in UTC"),
    optional("auth.users.*.password", LIVE, PASSWORD_HASH, r#""$argon2id$v=19$m=19456,t=2,p=1$FvALFIS7qmg9CM3YkXpa6Q$Y3yqMFiRs6qDsF46dBAewbcm93segPea5rz1r5LILD8""#,
        "The Argon2id hash of a user's password: perennial user new NAME makes it"),
    // --- chaos
    key("chaos.enabled", LIVE, Kind::Bool, "false",
        "Whether the admin listener takes orders to make children panic: for tests and drills only"),
];

/// A key with the parts of its path.
type KeyParts = (Vec<&'static str>, &'static Key);

/// All keys.
static PARTS: LazyLock<Vec<KeyParts>> = LazyLock::new(|| {
    let parts = |key: &'static Key| (key.path.split('.').collect(), key);
    KEYS.iter().map(parts).collect()
});

/// All keys by the first part of their paths: settings with many routes look for keys very often.
static SECTIONS: LazyLock<BTreeMap<&'static str, Vec<KeyParts>>> = LazyLock::new(|| {
    let mut sections = BTreeMap::<_, Vec<_>>::new();
    for key in &*PARTS {
        let first = key.0.first().copied().unwrap_or_default();
        sections.entry(first).or_default().push(key.clone());
    }
    sections
});

/// The keys whose paths begin with this one.
fn below(path: &[impl AsRef<str>]) -> impl Iterator<Item = &'static KeyParts> {
    let section = match path.first() {
        Some(first) => SECTIONS.get(first.as_ref()).map_or(&[][..], Vec::as_slice),
        None => PARTS.as_slice(),
    };
    section
        .iter()
        .filter(move |(parts, _)| matches(parts, path))
}

/// The key of this path, whose `*` parts match any name.
pub(crate) fn find(path: &[impl AsRef<str>]) -> Option<&'static Key> {
    let found = below(path).find(|(parts, _)| parts.len() == path.len());
    found.map(|(_, key)| *key)
}

/// The names that may stand below this path, `*` for any name; none if it is not a table.
pub(crate) fn names_below(path: &[impl AsRef<str>]) -> Vec<&'static str> {
    let names = below(path).filter_map(|(parts, _)| parts.get(path.len()).copied());
    let mut names: Vec<_> = names.collect();
    names.dedup();
    names
}

/// The only key of this name further below this path, as it would be written there.
pub(crate) fn named_below(path: &[impl AsRef<str>], name: &str) -> Option<String> {
    let rest = below(path).filter_map(|(parts, _)| parts.get(path.len()..));
    let mut same = rest.filter(|rest| rest.last() == Some(&name) && !rest.contains(&"*"));
    let only = same.next().filter(|_| same.next().is_none())?;
    Some(only.join("."))
}

/// Whether the path of a key begins with this one.
fn matches(parts: &[&str], path: &[impl AsRef<str>]) -> bool {
    let is = |(part, name): (&&str, &str)| *part == "*" || *part == name;
    let names = path.iter().map(AsRef::as_ref);
    // The last part tells most of them apart.
    parts.len() >= path.len() && parts.iter().zip(names).rev().all(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_operator_chooses_match_a_star() {
        assert!(find(&["route", "/", "files", "root"]).is_some());
        assert_eq!(names_below(&["route"]), ["*"]);
        assert_eq!(
            names_below(&["route", "/x", "files"])[..2],
            ["root", "index"]
        );
        assert!(find(&["resource", "books"]).is_none());
        assert!(names_below(&["server", "admin"]).is_empty());
    }
}
