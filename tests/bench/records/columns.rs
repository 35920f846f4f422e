//! Starts and fills the servers that are compared.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::queries::{FIRST_YEAR, GENRES, Kind, Query, YEARS, collection, id, record};
use super::server::{Server, free_port, pinned, resident_kib};

/// The fields that each store of perennial has indexes of, and each collection of `PocketBase`.
const INDEXES: [&[&str]; 3] = [
    &[],
    &["genre", "year"],
    &["genre", "year", "author", "pages", "price"],
];
/// The fields of a record, with their types.
const FIELDS: [(&str, &str); 7] = [
    ("title", "string"),
    ("author", "string"),
    ("genre", "string"),
    ("year", "integer"),
    ("pages", "integer"),
    ("price", "integer"),
    ("text", "string"),
];
/// The place among [`INDEXES`] of the store that all queries are sent to.
const QUERIED: usize = 1;
/// The highest time until a start with a million records answers.
const READY_AIM_SECONDS: f64 = 0.3;
/// On a busy machine, a list that no index serves takes longer than it may as shipped.
const PATIENCE: &str =
    "[supervision.children.storage]\ndeadline = '10m'\n[limits]\nrequest_timeout = '10m'\n";
/// A server at rest uses no more of its processor.
const REST_SHARE: f64 = 0.01;

/// The servers with one number of records.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) records: u64,
    /// Whether it is one of the sizes from which growth is told.
    pub(crate) is_size: bool,
    /// A position behind nine tenths of the records, in perennial.
    pub(crate) position: String,
    /// One for each of [`INDEXES`], or only one.
    stores: Vec<Server>,
}

impl Column {
    /// The server that a query is sent to.
    pub(crate) fn store(&self, query: Query) -> Option<&Server> {
        let at = if let Query::Insert(indexes) = query {
            INDEXES.iter().position(|fields| fields.len() == indexes)?
        } else {
            QUERIED
        };
        match (self.kind, at) {
            (Kind::Perennial, _) => self.stores.get(at),
            // It has no indexes.
            (Kind::JsonServer, 1..) if matches!(query, Query::Insert(_)) => None,
            (Kind::JsonServer | Kind::PocketBase, _) => self.stores.first(),
        }
    }
}

/// A number from an environment variable.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The time of one measurement.
pub(crate) fn slice() -> Duration {
    Duration::from_secs(number("BENCH_SECONDS", 1))
}

fn sizes() -> Vec<u64> {
    let given = std::env::var("BENCH_SIZES");
    let given = given.unwrap_or_else(|_| "1000,10000,100000,1000000".to_owned());
    let sizes = given.split(',').map(|size| size.trim().parse());
    sizes.collect::<Result<_, _>>().expect("numbers of records")
}

/// Starts all servers, and fills them.
pub(crate) fn start(folder: &Path) -> Vec<Column> {
    let json_server = std::env::var_os("BENCH_JSON_SERVER").map(PathBuf::from);
    let json_server_records = number("BENCH_JSON_SERVER_RECORDS", 10_000);
    let pocketbase = std::env::var_os("BENCH_POCKETBASE").map(PathBuf::from);
    let pocketbase_records = number("BENCH_POCKETBASE_RECORDS", 200_000);
    let sizes = sizes();
    let mut all = sizes.clone();
    all.extend(json_server.is_some().then_some(json_server_records));
    all.extend(pocketbase.is_some().then_some(pocketbase_records));
    all.sort_unstable();
    all.dedup();
    let columns = all.into_iter();
    let columns = columns.map(|records| perennial(folder, records, sizes.contains(&records)));
    let mut columns: Vec<_> = columns.collect();
    if let Some(program) = json_server {
        columns.push(self::json_server(folder, &program, json_server_records));
    }
    if let Some(program) = pocketbase {
        columns.push(self::pocketbase(folder, &program, pocketbase_records));
    }
    for store in columns.iter().flat_map(|column| &column.stores) {
        until_at_rest(store);
    }
    columns
}

/// Starts perennial with each set of indexes, and prints what the store for queries takes.
fn perennial(folder: &Path, records: u64, is_size: bool) -> Column {
    let rows = folder.join(format!("{records}.ndjson"));
    write_rows(&rows, records);
    let mut stores = Vec::new();
    for (at, fields) in INDEXES.into_iter().enumerate() {
        let data = folder.join(format!("perennial-{records}-{}", fields.len()));
        let begun = Instant::now();
        let (config, server) = start_perennial(&data, fields);
        let binary = binary();
        let imported = Command::new(&binary)
            .arg("--config")
            .arg(&config)
            .args(["import", "books"])
            .arg(&rows)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(
            imported.unwrap().success(),
            "{records} records are imported"
        );
        let filled = begun.elapsed().as_secs_f64();
        until_at_rest(&server);
        drop(server);
        let begun = Instant::now();
        let (_, server) = start_perennial(&data, fields);
        until_found(server.port, &format!("/books/{}", id(records)));
        let ready = begun.elapsed().as_secs_f64();
        until_at_rest(&server);
        if at == QUERIED {
            let verdict = super::verdict(ready <= READY_AIM_SECONDS);
            println!(
                "perennial, {records} records: filled in {filled:.1} s, ready in {ready:.3} s{verdict}, memory {:.0} MiB, disk {:.0} MiB",
                resident_kib(&server.pid().to_string()) / 1024.0,
                mib(disk_bytes(&data)),
            );
        }
        stores.push(server);
    }
    fs::remove_file(&rows).unwrap();
    let queried = stores.get(QUERIED).unwrap();
    Column {
        name: format!("perennial {records}"),
        kind: Kind::Perennial,
        records,
        is_size,
        position: position(queried.port, records * 9 / 10),
        stores,
    }
}

fn binary() -> PathBuf {
    let other = std::env::var_os("PERENNIAL_BINARY");
    other.map_or_else(|| env!("CARGO_BIN_EXE_perennial").into(), PathBuf::from)
}

/// Starts perennial with one handler. Returns the path of its settings, too.
fn start_perennial(data: &Path, fields: &[&str]) -> (PathBuf, Server) {
    let [port, admin] = [free_port(), free_port()];
    let config = data.with_extension("toml");
    let declared = FIELDS.map(|(field, kind)| format!("{field} = {{ type = '{kind}' }}\n"));
    let declared = declared.concat();
    let kept = std::env::var("BENCH_KEPT_LISTS");
    let kept = kept.map_or_else(|_| String::new(), |size| format!("kept_lists = '{size}'\n"));
    let text = format!(
        "[server]\nlisten = ['127.0.0.1:{port}']\nadmin = '127.0.0.1:{admin}'\nhandlers = 1\ndata = '{}'\n\
         {PATIENCE}{kept}[resource.books]\nindex = {fields:?}\n[resource.books.fields]\n{declared}",
        data.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = pinned(0, &binary().display().to_string());
    command.arg("--config").arg(&config).arg("serve");
    (config, Server::start("perennial", port, command))
}

/// Writes all records, one a line.
fn write_rows(path: &Path, records: u64) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for number in 1..=records {
        writeln!(file, "{}", record(Some(&id(number)), number)).unwrap();
    }
    file.flush().unwrap();
}

/// Sends a request, and returns the head of the answer and its body.
fn ask(port: u16, line: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (head.to_owned(), body.to_owned())
}

/// Waits until a path is answered 200.
fn until_found(port: u16, path: &str) {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let (head, body) = ask(port, &format!("GET {path}"));
        if head.starts_with("HTTP/1.1 200") {
            return;
        }
        assert!(Instant::now() < until, "{path}: {head}\n{body}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a server has ended what it does after its start or after many writes.
fn until_at_rest(server: &Server) {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let before = server.cpu_seconds();
        thread::sleep(Duration::from_secs(1));
        if server.cpu_seconds() - before <= REST_SHARE || Instant::now() > until {
            return;
        }
    }
}

/// The position behind so many records, to which links of large pages lead.
fn position(port: u16, records: u64) -> String {
    let (mut at, mut left) = (String::new(), records);
    while left > 0 {
        let page = left.min(10_000);
        let line = format!("GET /books?_fields=id&_limit={page}&_after={at}");
        let (head, _) = ask(port, &line);
        let links = head.lines().find(|field| field.starts_with("link:"));
        let next = links.unwrap_or_default().split("_after=").nth(1);
        let next = next.and_then(|rest| rest.split(['&', '>']).next());
        next.unwrap_or_else(|| panic!("{head}")).clone_into(&mut at);
        left -= page;
    }
    at
}

/// What the files of a folder take on the disk.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| {
        let known = entry.metadata().unwrap();
        if known.is_dir() {
            disk_bytes(&entry.path())
        } else {
            known.blocks() * 512
        }
    });
    sizes.sum()
}

fn mib(bytes: u64) -> f64 {
    u32::try_from(bytes >> 10).map_or(f64::INFINITY, f64::from) / 1024.0
}

/// Starts json-server with these records.
fn json_server(folder: &Path, program: &Path, records: u64) -> Column {
    let file = folder.join("db.json");
    let rows: Vec<_> = (1..=records)
        .map(|number| record(Some(&id(number)), number))
        .collect();
    fs::write(&file, format!("{{\"books\":[{}]}}", rows.join(","))).unwrap();
    let port = free_port();
    let mut command = pinned(0, "node");
    command
        .arg(program)
        .arg(&file)
        .args(["--quiet", "--host", "127.0.0.1", "--port"]);
    command.arg(port.to_string());
    let server = Server::start("json-server", port, command);
    until_found(port, &format!("/books/{}", id(records)));
    peer(Kind::JsonServer, "json-server", records, server, &file)
}

/// Starts `PocketBase` with a collection of these records for each set of indexes.
fn pocketbase(folder: &Path, program: &Path, records: u64) -> Column {
    let (data, migrations) = (folder.join("pocketbase"), folder.join("migrations"));
    fs::create_dir_all(&migrations).unwrap();
    fs::write(migrations.join("1_books.js"), migration(records)).unwrap();
    let port = free_port();
    let command = || {
        let mut command = pinned(0, &program.display().to_string());
        command
            .args(["serve", "--http"])
            .arg(format!("127.0.0.1:{port}"));
        command
            .arg("--dir")
            .arg(&data)
            .arg("--migrationsDir")
            .arg(&migrations);
        command
    };
    let server = Server::start("PocketBase", port, command());
    until_found(
        port,
        &format!("/api/collections/books/records/{}", id(records)),
    );
    peer(Kind::PocketBase, "PocketBase", records, server, &data)
}

fn peer(kind: Kind, name: &str, records: u64, server: Server, data: &Path) -> Column {
    until_at_rest(&server);
    let bytes = if data.is_dir() {
        disk_bytes(data)
    } else {
        fs::metadata(data).unwrap().len()
    };
    println!(
        "{name}, {records} records: memory {:.0} MiB, disk {:.0} MiB",
        resident_kib(&server.pid().to_string()) / 1024.0,
        mib(bytes)
    );
    Column {
        name: name.to_owned(),
        kind,
        records,
        is_size: false,
        position: String::new(),
        stores: vec![server],
    }
}

/// A script that makes and fills the collections of `PocketBase`, whose records are those of [`record`].
fn migration(records: u64) -> String {
    let names = INDEXES.map(|fields| format!("{:?}: {fields:?}", collection(fields.len())));
    let fields = FIELDS.map(|(name, kind)| {
        let kind = if kind == "string" { "text" } else { "number" };
        format!("{{ name: {name:?}, type: {kind:?} }}")
    });
    format!(
        r#"migrate((app) => {{
    const collections = {{ {} }};
    for (const [name, indexes] of Object.entries(collections)) {{
        app.save(new Collection({{
            type: "base", name, listRule: "", viewRule: "", createRule: "",
            fields: [{}],
            indexes: indexes.map((field) => `CREATE INDEX ${{name}}_${{field}} ON ${{name}} (${{field}})`),
        }}));
        app.db().newQuery(`INSERT INTO ${{name}} (id, title, author, genre, year, pages, price, text)
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {records})
            SELECT printf('book%011d', i), printf('The book %011d', i), printf('Author %04d', i % 500),
                printf('genre-%02d', i % {GENRES}), {FIRST_YEAR} + i * 7 % {YEARS}, 100 + i * 13 % 900, 10 + i * 3 % 100,
                printf('%.158c', 'x') FROM n`).execute();
    }}
}});
"#,
        names.join(", "),
        fields.join(", ")
    )
}
