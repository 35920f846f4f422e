//! A blocking HTTP/1.1 client over one connection. It never retries: a connection that the server drops is an error.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A complete answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the connection may carry another request.
    pub(crate) keep_alive: bool,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The path in the `Location` of a record, which is an address with the host of the request.
    pub(crate) fn location(&self) -> Option<&str> {
        let (_, rest) = self.header("location")?.split_once("://")?;
        rest.find('/').map(|at| &rest[at..])
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.text()))
    }

    /// Fails the test unless the status is `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "headers {:?}, body {}",
            self.headers,
            self.text()
        );
        self
    }

    /// Fails the test unless this is a problem with `status` and a code; returns the code.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16) -> String {
        let answer = self.expect(status);
        let content_type = answer.header("content-type").unwrap_or_default().to_owned();
        assert!(
            content_type.starts_with("application/problem+json"),
            "the {status} has content type {content_type:?}: {}",
            answer.text()
        );
        let body = answer.json();
        assert_eq!(body["status"], u64::from(status), "{body}");
        let code = body["code"].as_str().unwrap_or_default().to_owned();
        assert!(!code.is_empty(), "a problem without a code: {body}");
        code
    }
}

/// The status, the HTTP version and the headers.
type Head = (u16, String, Vec<(String, String)>);

/// A TCP or a unix socket connection, or one that speaks TLS.
#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl io::Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl io::Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn tcp(host: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&host, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

/// One connection, kept open between requests.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<Socket>,
    host: String,
    /// The lines of the head that each request has.
    always: String,
}

impl Client {
    pub(crate) fn connect(host: SocketAddr) -> io::Result<Self> {
        Self::connect_with(host, TIMEOUT)
    }

    /// As `connect`; every read and write gives up after `timeout`.
    pub(crate) fn connect_with(host: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = tcp(host, timeout)?;
        Ok(Self {
            stream: BufReader::new(Socket::Tcp(stream)),
            host: host.to_string(),
            always: String::new(),
        })
    }

    /// Connects to an address that speaks TLS.
    pub(crate) fn connect_tls(host: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Self::connect_tls_behind(host, config, b"")
    }

    /// The same, and sends these bytes before the handshake.
    pub(crate) fn connect_tls_behind(
        host: SocketAddr,
        config: &Arc<ClientConfig>,
        before: &[u8],
    ) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(config), name);
        let session = session.map_err(io::Error::other)?;
        let mut socket = tcp(host, TIMEOUT)?;
        socket.write_all(before)?;
        let stream = StreamOwned::new(session, socket);
        Ok(Self {
            stream: BufReader::new(Socket::Tls(Box::new(stream))),
            host: host.to_string(),
            always: String::new(),
        })
    }

    /// Has the kernel keep little of what comes until it is read; without this it may keep 32 MiB. Much less than this would be
    /// read slowly, in small steps.
    pub(crate) fn keep_little_unread(&self) -> io::Result<()> {
        match self.stream.get_ref() {
            Socket::Tcp(stream) => socket2::SockRef::from(stream).set_recv_buffer_size(256 << 10),
            // What is not read stays in the buffer of the sender there.
            Socket::Unix(_) | Socket::Tls(_) => Ok(()),
        }
    }

    pub(crate) fn connect_unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream: BufReader::new(Socket::Unix(stream)),
            host: "localhost".to_owned(),
            always: String::new(),
        })
    }

    /// Sends these header fields with each request from here on.
    pub(crate) fn always_send(&mut self, headers: &[(&'static str, String)]) {
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        self.always = lines.collect();
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Response> {
        self.send("GET", path, &[], None)
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> io::Result<Response> {
        self.json("POST", path, body)
    }

    pub(crate) fn json(&mut self, method: &str, path: &str, body: &Value) -> io::Result<Response> {
        let body = body.to_string();
        let head = [("content-type", "application/json")];
        self.send(method, path, &head, Some(body.as_bytes()))
    }

    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Response> {
        let (host, always) = (&self.host, &self.always);
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{always}");
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if method != "GET" && method != "HEAD" {
            // The admin listener insists on it.
            head.push_str("perennial-admin: 1\r\n");
        }
        if let Some(body) = body {
            let length = body.len().to_string();
            head.extend(["content-length: ", length.as_str(), "\r\n"]);
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        self.write(&bytes)?;
        self.read_answer(method == "HEAD")
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Sends a GET, and reads the head of an answer whose chunks are read by [`chunk`](Self::chunk).
    pub(crate) fn begin(&mut self, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        let mut head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        self.write((head + "\r\n").as_bytes())?;
        let (status, _, headers) = self.read_head()?;
        Ok(Response {
            status,
            headers,
            body: Vec::new(),
            keep_alive: true,
        })
    }

    /// The next chunk of an answer; `None` at its end.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.read_line()?;
        let size = usize::from_str_radix(&line, 16).map_err(|_| bad(format!("chunk {line:?}")))?;
        let mut body = vec![0; size];
        self.stream.read_exact(&mut body)?;
        self.read_line()?;
        Ok((size > 0).then_some(body))
    }

    /// Reads one answer and skips interim ones (1xx).
    pub(crate) fn read_answer(&mut self, head_only: bool) -> io::Result<Response> {
        loop {
            let (status, version, headers) = self.read_head()?;
            if (100..200).contains(&status) {
                continue;
            }
            let mut answer = Response {
                status,
                headers,
                body: Vec::new(),
                keep_alive: version == "HTTP/1.1",
            };
            if let Some(connection) = answer.header("connection") {
                answer.keep_alive = connection.eq_ignore_ascii_case("keep-alive")
                    || (answer.keep_alive && !connection.eq_ignore_ascii_case("close"));
            }
            if !head_only && status != 204 && status != 304 {
                answer.body = self.read_body(&mut answer)?;
            }
            return Ok(answer);
        }
    }

    fn read_head(&mut self) -> io::Result<Head> {
        let line = self.read_line()?;
        let mut words = line.splitn(3, ' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|word| word.parse().ok());
        let Some(status) = status.filter(|_| version.starts_with("HTTP/1.")) else {
            return Err(bad(format!("not a status line: {line:?}")));
        };
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok((status, version, headers));
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(bad(format!("not a header: {line:?}")));
            };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn read_body(&mut self, answer: &mut Response) -> io::Result<Vec<u8>> {
        let chunked = answer
            .header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        if chunked {
            return self.read_chunks();
        }
        let mut body = Vec::new();
        if let Some(length) = answer.header("content-length") {
            let length: u64 = length.parse().map_err(|_| bad("content-length".into()))?;
            let read = (&mut self.stream).take(length).read_to_end(&mut body)?;
            if u64::try_from(read).ok() != Some(length) {
                return Err(closed("within a body"));
            }
        } else {
            answer.keep_alive = false;
            self.stream.read_to_end(&mut body)?;
        }
        Ok(body)
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| bad(format!("chunk {line:?}")))?;
            if size == 0 {
                while !self.read_line()?.is_empty() {}
                return Ok(body);
            }
            let read = (&mut self.stream).take(size).read_to_end(&mut body)?;
            if u64::try_from(read).ok() != Some(size) {
                return Err(closed("within a chunk"));
            }
            if !self.read_line()?.is_empty() {
                return Err(bad("a chunk without a line end".into()));
            }
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.stream)
            .take(64 * 1024)
            .read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(closed("before the end of a line"));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|_| bad("a head that is not UTF-8".into()))
    }
}

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn closed(when: &str) -> io::Error {
    let what = format!("the server closed the connection {when}");
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

/// Sends one GET on a new connection; fails the test if there is no answer.
#[track_caller]
pub(crate) fn get(host: SocketAddr, path: &str) -> Response {
    Client::connect(host)
        .and_then(|mut client| client.get(path))
        .unwrap_or_else(|error| panic!("GET {path}: {error}"))
}

/// As [`get`], for a POST with a JSON body.
#[track_caller]
pub(crate) fn post(host: SocketAddr, path: &str, body: &Value) -> Response {
    Client::connect(host)
        .and_then(|mut client| client.post(path, body))
        .unwrap_or_else(|error| panic!("POST {path}: {error}"))
}

/// As [`get`], for any method, headers and body.
#[track_caller]
pub(crate) fn send(
    host: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Response {
    Client::connect(host)
        .and_then(|mut client| client.send(method, path, headers, body))
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}
