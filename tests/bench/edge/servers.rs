//! Starts the servers that are compared.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};

use super::server::{Server, free_port, pinned};

pub(crate) const PERENNIAL: &str = env!("CARGO_BIN_EXE_perennial");
const RECORD: &str =
    r#"{"title":"The Left Hand of Darkness","author":"Ursula K. Le Guin","year":1969}"#;
/// The names and sizes of the pages.
const PAGES: [(&str, usize); 3] = [("1k", 1024), ("100k", 100 * 1024), ("3m", 3_600_000)];

/// Starts perennial and nginx, each without and with an access log, and actix-web. Also returns the path of a record that
/// all of them serve.
pub(crate) fn start(folder: &Path) -> (Vec<Server>, String) {
    let site = write_site(folder);
    let plain = perennial("perennial", folder, "");
    let logs = folder.join("logs").display().to_string();
    let logged = format!("[logging]\naccess = true\nfile = {{ dir = '{logs}' }}\n");
    let logged = perennial("both logs", folder, &logged);
    // Each daemon has its own store. Both use the first one's id, because the path must be the same on all servers.
    let location = post(plain.port, "/books", RECORD);
    let id = location.trim_start_matches("/books/");
    let with_id = format!(r#"{{"id":"{id}",{}"#, RECORD.trim_start_matches('{'));
    post(logged.port, "/books", &with_id);
    fs::write(site.join(location.trim_start_matches('/')), &with_id).unwrap();
    let mut servers = vec![plain, logged];
    servers.extend(nginx(folder));
    let port = free_port();
    let mut hello = pinned(0, &std::env::current_exe().unwrap().display().to_string());
    hello.args(["--hello", &port.to_string(), &site.display().to_string()]);
    servers.push(Server::start("bare actix-web", port, hello));
    (servers, location)
}

/// Writes the pages, and returns their folder.
pub(crate) fn write_site(folder: &Path) -> PathBuf {
    let site = folder.join("site");
    fs::create_dir_all(site.join("books")).unwrap();
    for (name, bytes) in PAGES {
        fs::write(site.join(format!("{name}.html")), vec![b'x'; bytes]).unwrap();
    }
    site
}

/// Starts perennial with one handler.
pub(crate) fn perennial(name: &'static str, folder: &Path, more: &str) -> Server {
    let port = free_port();
    let settings = folder.join(format!("perennial-{port}.toml"));
    fs::write(&settings, settings_of(folder, port, more)).unwrap();
    let mut command = pinned(0, PERENNIAL);
    command.arg("--config").arg(&settings);
    Server::start(name, port, command)
}

pub(crate) fn settings_of(folder: &Path, port: u16, more: &str) -> String {
    let folder = folder.display();
    format!(
        "[server]\nlisten = ['127.0.0.1:{port}']\nadmin = '127.0.0.1:0'\nhandlers = 1\ndata = '{folder}/data-{port}'\n\
         [route.'/']\nfiles = {{ root = '{folder}/site' }}\n[resource.books]\n{more}"
    )
}

/// Starts nginx twice: without and with an access log.
fn nginx(folder: &Path) -> [Server; 2] {
    let at = folder.display();
    let logs = [
        "off".to_owned(),
        format!("{at}/access.log combined buffer=16k flush=1s"),
    ];
    let mut names = ["nginx", "nginx with log"].into_iter();
    logs.map(|log| {
        let port = free_port();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .concat();
        let text = format!(
            "daemon off; worker_processes 1; pid {at}/nginx-{port}.pid; error_log {at}/nginx.err;\n\
             events {{ worker_connections 16384; }}\n\
             http {{ include /etc/nginx/mime.types; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
             open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s; {temporary}\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; root {at}/site; access_log {log}; }} }}"
        );
        let settings = folder.join(format!("nginx-{port}.conf"));
        fs::write(&settings, text).unwrap();
        let mut command = pinned(0, "nginx");
        command.arg("-c").arg(&settings);
        Server::start(names.next().unwrap_or("nginx"), port, command)
    })
}

/// Creates a record; returns its path.
fn post(port: u16, path: &str, body: &str) -> String {
    post_as(port, path, body, "")
}

/// The same with the credentials of a client, if they are not empty.
pub(crate) fn post_as(port: u16, path: &str, body: &str, credentials: &str) -> String {
    let authorization = if credentials.is_empty() {
        String::new()
    } else {
        format!("authorization: {credentials}\r\n")
    };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{authorization}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let place = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: http://localhost"));
    place.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Serves constant bytes by path with plain actix-web, as the lowest cost to compare with.
pub(crate) fn hello(port: &str, site: &str) {
    let mut pages = Vec::new();
    for (name, _) in PAGES {
        let path = format!("/{name}.html");
        pages.push((
            path.clone(),
            Bytes::from(fs::read(format!("{site}{path}")).unwrap()),
        ));
    }
    for record in fs::read_dir(format!("{site}/books")).unwrap() {
        let record = record.unwrap();
        let path = format!("/books/{}", record.file_name().to_string_lossy());
        pages.push((path, Bytes::from(fs::read(record.path()).unwrap())));
    }
    let port: u16 = port.parse().unwrap();
    let app = move || {
        pages.iter().fold(App::new(), |app, (path, bytes)| {
            let bytes = bytes.clone();
            let answer = move || {
                let bytes = bytes.clone();
                async { HttpResponse::Ok().body(bytes) }
            };
            app.route(path, web::get().to(answer))
        })
    };
    let server = HttpServer::new(app).workers(1).bind(("127.0.0.1", port));
    actix_rt::System::new()
        .block_on(server.unwrap().run())
        .unwrap();
}
