//! The access log as one handler writes it: lines are encoded here, on its own thread, into a block that is handed over
//! when it is full or has waited long enough.
//!
//! A line is a JSON object: time, method, path, query (unless `logging.access_query` is false, because it may hold secrets),
//! protocol, route, status, bytes of the body that were sent, microseconds from the end of the head to the end of the answer,
//! peer, request id, and, where there is one, client (its address, if a trusted proxy names it), user (who the client has shown
//! itself to be), user agent, referer and fault.

// Decision: The access log does not use tracing.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::metrics::OTHER;
use super::request_id::RequestId;
use super::route_patterns::RoutePatterns;
use crate::telemetry::{AccessSink, push_readable};

/// The size of a block of lines.
const BLOCK_BYTES: usize = 16 * 1024;
/// Room for a line over the size of a block; most have a quarter of it.
const LINE_BYTES: usize = 1024;
const ROOM: usize = BLOCK_BYTES + LINE_BYTES;
/// The longest time that a line waits for others.
const FLUSH_AFTER: Duration = Duration::from_millis(200);

/// The access log as handlers use it.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// The sink of the lines.
    pub sink: AccessSink,
    /// The patterns of all routes.
    pub patterns: Arc<RoutePatterns>,
}

/// The line of one request.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// Without its `?`; `None` also where `logging.access_query` is false.
    pub(crate) query: Option<&'a str>,
    pub(crate) protocol: &'static str,
    pub(crate) route: Option<usize>,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    /// From the end of the head to the end of the answer.
    pub(crate) took: Duration,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) id: RequestId,
    /// The address of the client, if a trusted proxy names it.
    pub(crate) client: Option<IpAddr>,
    /// The client, if the route asks who it is and it has shown it.
    pub(crate) user: Option<&'a str>,
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) referer: Option<&'a [u8]>,
    /// The reason for which the message was refused or the answer broke off.
    pub(crate) fault: Option<&'static str>,
}

/// The access log of one handler.
#[derive(Debug)]
pub(crate) struct AccessLog {
    access: Access,
    block: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    /// A task will hand over the block within `FLUSH_AFTER`.
    flushing: Cell<bool>,
    second: Cell<Second>,
}

impl AccessLog {
    pub(crate) fn new(access: Access) -> Self {
        Self {
            access,
            block: RefCell::default(),
            lines: Cell::new(0),
            flushing: Cell::new(false),
            second: Cell::new(Second::of(0)),
        }
    }

    /// Adds a line.
    pub(crate) fn add(self: &Rc<Self>, line: &Line<'_>) {
        let full = {
            let mut block = self.block.borrow_mut();
            // Once: the log may be off for ever.
            if block.capacity() == 0 {
                block.reserve_exact(ROOM);
            }
            self.encode(&mut block, SystemTime::now(), line);
            block.len() >= BLOCK_BYTES
        };
        self.lines.set(self.lines.get() + 1);
        // Without a runtime, which the last requests of a stop no longer have, no task can do it later.
        let runs = || tokio::runtime::Handle::try_current().is_ok();
        if full || !(self.flushing.get() || runs()) {
            self.flush();
        } else if !self.flushing.replace(true) {
            let log = Rc::downgrade(self);
            drop(actix_rt::spawn(async move {
                tokio::time::sleep(FLUSH_AFTER).await;
                if let Some(log) = log.upgrade() {
                    log.flushing.set(false);
                    log.flush();
                }
            }));
        }
    }

    fn flush(&self) {
        let mut block = self.block.borrow_mut();
        let lines = self.lines.take();
        if lines > 0 {
            self.access.sink.write(&block, lines);
            block.clear();
        }
    }

    /// Appends a line of this moment. Written by hand, since it is done for every request: a line takes 140 ns like this, and 550 ns with
    /// `serde_json`'s writer.
    fn encode(&self, block: &mut Vec<u8>, now: SystemTime, line: &Line<'_>) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        let mut second = self.second.get();
        if second.since_epoch != since.as_secs() {
            second = Second::of(since.as_secs());
            self.second.set(second);
        }
        block.extend_from_slice(b"{\"time\":\"");
        block.extend_from_slice(&second.text);
        block.push(b'.');
        for place in [100, 10, 1] {
            number(block, since.subsec_millis() / place % 10);
        }
        block.extend_from_slice(b"Z\",\"method\":");
        text(block, line.method);
        block.extend_from_slice(b",\"path\":");
        text(block, line.path);
        if let Some(query) = line.query {
            block.extend_from_slice(b",\"query\":");
            text(block, query);
        }
        block.extend_from_slice(b",\"protocol\":");
        text(block, line.protocol);
        block.extend_from_slice(b",\"route\":");
        let route = line
            .route
            .and_then(|number| self.access.patterns.text(number));
        text(block, route.unwrap_or(OTHER));
        block.extend_from_slice(b",\"status\":");
        number(block, line.status);
        block.extend_from_slice(b",\"bytes\":");
        number(block, line.bytes);
        block.extend_from_slice(b",\"duration_us\":");
        number(block, line.took.as_micros());
        block.extend_from_slice(b",\"peer\":\"");
        peer(block, line.peer);
        block.extend_from_slice(b"\",\"request_id\":\"");
        block.extend_from_slice(line.id.as_str().as_bytes());
        block.push(b'"');
        if let Some(client) = line.client {
            // Writing into memory does not fail.
            let _infallible = write!(block, ",\"client\":\"{client}\"");
        }
        if let Some(user) = line.user {
            block.extend_from_slice(b",\"user\":");
            text(block, user);
        }
        for (name, value) in [("user_agent", line.user_agent), ("referer", line.referer)] {
            if let Some(value) = value {
                block.extend_from_slice(b",\"");
                block.extend_from_slice(name.as_bytes());
                block.extend_from_slice(b"\":");
                text(block, &String::from_utf8_lossy(value));
            }
        }
        if let Some(fault) = line.fault {
            block.extend_from_slice(b",\"fault\":");
            text(block, fault);
        }
        block.extend_from_slice(b"}\n");
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A second as it is written, which many lines share.
#[derive(Debug, Clone, Copy)]
struct Second {
    since_epoch: u64,
    /// Such as `2026-11-25T03:40:01`.
    text: [u8; 19],
}

impl Second {
    fn of(since_epoch: u64) -> Self {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch);
        let mut text = [b'0'; 19];
        let written = humantime::format_rfc3339_seconds(time).to_string();
        for (to, from) in text.iter_mut().zip(written.bytes()) {
            *to = from;
        }
        Self { since_epoch, text }
    }
}

/// A JSON string.
fn text(block: &mut Vec<u8>, text: &str) {
    let special = |byte: u8| !(b' '..0x7f).contains(&byte) || byte == b'"' || byte == b'\\';
    if text.bytes().any(special) {
        push_readable(block, &serde_json::Value::from(text).to_string());
        return;
    }
    block.push(b'"');
    block.extend_from_slice(text.as_bytes());
    block.push(b'"');
}

fn number(block: &mut Vec<u8>, number: impl itoa::Integer) {
    block.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn peer(block: &mut Vec<u8>, peer: Option<SocketAddr>) {
    let Some(peer) = peer else {
        return block.extend_from_slice(b"unix");
    };
    if let IpAddr::V4(address) = peer.ip() {
        for (place, octet) in address.octets().into_iter().enumerate() {
            if place > 0 {
                block.push(b'.');
            }
            number(block, octet);
        }
        block.push(b':');
        return number(block, peer.port());
    }
    // Writing into memory does not fail.
    let _infallible = write!(block, "{peer}");
}

#[cfg(test)]
mod tests {
    use super::super::request_id::RequestIds;
    use super::*;
    use proptest::prelude::*;

    fn log() -> (
        Rc<AccessLog>,
        tempfile::TempDir,
        crate::telemetry::AccessGuard,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = crate::settings::Settings::default().logging;
        settings.access = true;
        settings.file = Some(crate::settings::LogFileSettings {
            dir: folder.path().to_owned(),
            rotate: crate::settings::Rotation::Never,
            keep: std::num::NonZeroUsize::MIN,
        });
        let (sink, guard) = AccessSink::open(&settings).unwrap();
        let patterns = Arc::new(RoutePatterns::with_room(1));
        patterns.number("/");
        (
            Rc::new(AccessLog::new(Access { sink, patterns })),
            folder,
            guard,
        )
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_042_001_007)
    }

    fn line<'a>(path: &'a str, id: &RequestId) -> Line<'a> {
        Line {
            method: "GET",
            path,
            query: Some("a=b"),
            protocol: "HTTP/1.1",
            route: Some(0),
            status: 200,
            bytes: 1024,
            took: Duration::from_micros(85),
            peer: Some(([127, 0, 0, 1], 50_123).into()),
            id: id.clone(),
            client: Some([192, 0, 2, 7].into()),
            user: Some("key:ci"),
            user_agent: Some(b"a \"browser\""),
            referer: None,
            fault: None,
        }
    }

    #[test]
    fn a_line_is_an_object_with_all_there_is_to_say() {
        let (log, _folder, _guard) = log();
        let id = RequestIds::new().next();
        let mut block = Vec::new();
        log.encode(&mut block, now(), &line("/a", &id));
        let expected = format!(
            "{{\"time\":\"2025-11-25T03:40:01.007Z\",\"method\":\"GET\",\"path\":\"/a\",\"query\":\"a=b\",\"protocol\":\"HTTP/1.1\",\"route\":\"/\",\"status\":200,\
             \"bytes\":1024,\"duration_us\":85,\"peer\":\"127.0.0.1:50123\",\"request_id\":\"{}\",\"client\":\"192.0.2.7\",\"user\":\"key:ci\",\"user_agent\":\"a \\\"browser\\\"\"}}\n",
            id.as_str()
        );
        assert_eq!(String::from_utf8(block).unwrap(), expected);
    }

    #[test]
    fn a_line_that_waits_is_written_before_long_and_the_rest_at_the_end() {
        let (log, folder, guard) = log();
        let read = || {
            let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
            std::fs::read_to_string(file.unwrap().path()).unwrap()
        };
        let id = RequestIds::new().next();
        actix_rt::System::new().block_on(async {
            log.add(&line("/first", &id));
            while !read().contains("/first") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            for _ in 0..200 {
                log.add(&line("/more", &id));
            }
            drop(log);
        });
        drop(guard);
        assert_eq!(read().lines().count(), 201);
    }

    proptest! {
        #[test]
        fn every_path_and_number_makes_a_line_of_json(path in "\\PC*|[\\x00-\\x7f]{0,20}", bytes: u64, v6: bool) {
            let (log, _folder, _guard) = log();
            let id = RequestIds::new().next();
            let peer = v6.then(|| "[2001:db8::1]:80".parse().unwrap());
            let line = Line { bytes, peer, route: None, ..line(&path, &id) };
            let mut block = Vec::new();
            log.encode(&mut block, now(), &line);
            let read: serde_json::Value = serde_json::from_slice(&block).unwrap();
            prop_assert_eq!(&read["path"], &path);
            prop_assert_eq!(&read["bytes"], bytes);
            prop_assert_eq!(&read["route"], "_other");
            prop_assert_eq!(&read["peer"], if v6 { "[2001:db8::1]:80" } else { "unix" });
            let controls = String::from_utf8_lossy(&block).chars().filter(|char| char.is_control()).count();
            prop_assert_eq!(controls, 1, "the end of the line");
            prop_assert_eq!(block.split_inclusive(|byte| *byte == b'\n').count(), 1);
        }
    }
}
