//! A client that sends bytes and hides nothing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any limit of the tests.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Client {
    pub(super) socket: TcpStream,
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of a problem.
    pub(super) fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        assert!(!self.json()["request_id"].as_str().unwrap().is_empty());
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        Self {
            socket,
            buffer: Vec::new(),
        }
    }

    /// A client whose first bytes are there before the server looks at its connection.
    pub(super) fn eager(address: SocketAddr, bytes: &[u8]) -> Self {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(&mut socket, bytes).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket: TcpStream::from_std(socket).unwrap(),
            buffer: Vec::new(),
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.ask("GET", path, "", "").await
    }

    pub(super) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Reply {
        let length = match body.len() {
            0 => String::new(),
            length => format!("content-length: {length}\r\n"),
        };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}{length}\r\n{body}");
        self.send(head.as_bytes()).await;
        self.reply(method == "HEAD").await
    }

    pub(super) async fn reply(&mut self, head_only: bool) -> Reply {
        tokio::time::timeout(PATIENCE, self.read(head_only))
            .await
            .expect("an answer")
    }

    async fn read(&mut self, head_only: bool) -> Reply {
        let end = loop {
            let end = self
                .buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            assert_ne!(
                self.more().await,
                0,
                "closed before an answer: {:?}",
                self.buffer
            );
        };
        let rest = self.buffer.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply {
            status,
            head,
            body: Vec::new(),
        };
        let length = reply
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        if head_only || status == 304 {
            return reply;
        }
        while self.buffer.len() < length {
            assert_ne!(self.more().await, 0, "closed within an answer");
        }
        let rest = self.buffer.split_off(length);
        reply.body = std::mem::replace(&mut self.buffer, rest);
        reply
    }

    async fn more(&mut self) -> usize {
        self.socket.read_buf(&mut self.buffer).await.unwrap()
    }

    /// Waits until the server closes; what it says before is no answer to anything.
    pub(super) async fn closed(&mut self) {
        let closed = async { while self.more().await > 0 {} };
        tokio::time::timeout(PATIENCE, closed)
            .await
            .expect("a closed connection");
        assert!(
            self.buffer.is_empty(),
            "{:?}",
            String::from_utf8_lossy(&self.buffer)
        );
    }
}
