//! The heads of HTTP/1: the rules, one row for each, and what is read.

mod bodies;
mod cases;
mod corpus;
mod fuzz;

use bytes::BytesMut;

use super::decoder::BodyLength;
use super::fault::Fault;
use super::head::{Head, HeadReader};

const LIMIT: usize = 4096;

fn read(text: &[u8]) -> Result<Option<Head>, Fault> {
    HeadReader::default().read(&mut BytesMut::from(text), LIMIT, None)
}

/// The fault for which a head is refused.
fn refused(text: &[u8]) -> Option<Fault> {
    read(text).err()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a row for each rule")]
fn each_rule_refuses_what_breaks_it() {
    let long = "x".repeat(LIMIT);
    let long_target = format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n");
    let long_field = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n");
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(100)
    );
    for (text, fault) in [
        ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", Fault::RequestLine),
        ("GET /\r\nhost: a\r\n\r\n", Fault::RequestLine),
        ("GET / http/1.1\r\nhost: a\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1 \r\nhost: a\r\n\r\n", Fault::RequestLine),
        ("GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", Fault::RequestLine),
        ("G(T / HTTP/1.1\r\nhost: a\r\n\r\n", Fault::RequestLine),
        ("\u{1}GET / HTTP/1.1\r\nhost: a\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1\nhost: a\r\n\r\n", Fault::LineEnd),
        ("\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", Fault::LineEnd),
        ("\rGET / HTTP/1.1\r\nhost: a\r\n\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1\r\nhost: a\n\r\n", Fault::LineEnd),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
            Fault::FieldValue,
        ),
        ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", Fault::Version),
        ("GET / HTTP/0.9\r\nhost: a\r\n\r\n", Fault::Version),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", Fault::Tunnel),
        ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", Fault::Target),
        ("GET books HTTP/1.1\r\nhost: a\r\n\r\n", Fault::Target),
        ("GET a:80 HTTP/1.1\r\nhost: a\r\n\r\n", Fault::Target),
        ("GET http://u@a/ HTTP/1.1\r\nhost: a\r\n\r\n", Fault::Target),
        ("GET http://:80/ HTTP/1.1\r\nhost: a\r\n\r\n", Fault::Target),
        ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", Fault::Target),
        (&long_target, Fault::TargetTooLong),
        (&long_field, Fault::HeadTooLarge),
        (&many, Fault::TooManyFields),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", Fault::FieldName),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", Fault::FieldName),
        ("GET / HTTP/1.1\r\nhost\r\n\r\n", Fault::FieldName),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx y: b\r\n\r\n",
            Fault::FieldName,
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
            Fault::FieldValue,
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n",
            Fault::FoldedLine,
        ),
        ("GET / HTTP/1.1\r\n host: a\r\n\r\n", Fault::FoldedLine),
        ("GET / HTTP/1.1\r\n\r\n", Fault::HostMissing),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n",
            Fault::HostTwice,
        ),
        (
            "GET / HTTP/1.0\r\nhost: a\r\nHost: a\r\n\r\n",
            Fault::HostTwice,
        ),
        ("GET / HTTP/1.1\r\nhost: a b/@c\r\n\r\n", Fault::HostInvalid),
        ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", Fault::HostInvalid),
        ("GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", Fault::HostInvalid),
        (
            "GET / HTTP/1.1\r\nhost: a:99999\r\n\r\n",
            Fault::HostInvalid,
        ),
        ("GET / HTTP/1.1\r\nhost: [::1\r\n\r\n", Fault::HostInvalid),
        ("GET / HTTP/1.1\r\nhost: a%zz\r\n\r\n", Fault::HostInvalid),
        (
            "GET / HTTP/1.1\r\nhost: a,b\r\nx: y\r\nhost: c\r\n\r\n",
            Fault::HostTwice,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n",
            Fault::LengthInvalid,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\n",
            Fault::LengthInvalid,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \r\n\r\n",
            Fault::LengthInvalid,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x1\r\n\r\n",
            Fault::LengthInvalid,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
            Fault::LengthInvalid,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            Fault::LengthTwice,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            Fault::LengthAndCoding,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
            Fault::CodingNotLast,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            Fault::CodingUnknown,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n",
            Fault::CodingNotLast,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n\r\n",
            Fault::CodingNotLast,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n",
            Fault::CodingNotLast,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n",
            Fault::CodingNotLast,
        ),
        (
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
            Fault::CodingInOldVersion,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\n\r\n",
            Fault::Expectation,
        ),
    ] {
        assert_eq!(refused(text.as_bytes()), Some(fault), "{text:.80}");
    }
}

#[test]
fn what_users_send_is_read() {
    for (text, path, query) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "/", None),
        ("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "/", None),
        ("GET / HTTP/1.0\r\n\r\n", "/", None),
        ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", "/", None),
        ("GET / HTTP/1.1\r\nhost:\r\n\r\n", "/", None),
        ("GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", "/", None),
        (
            "GET http://a.example:80/x?y HTTP/1.1\r\nhost: a\r\n\r\n",
            "/x",
            Some("y"),
        ),
        (
            "GET HTTP://a.example HTTP/1.1\r\nhost: a\r\n\r\n",
            "/",
            None,
        ),
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", "*", None),
        (
            "GET /b?title=Caf\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n",
            "/b",
            Some("title=Caf%C3%A9"),
        ),
        (
            "GET /b?t=\"a\" HTTP/1.1\r\nhost: a\r\n\r\n",
            "/b",
            Some("t=%22a%22"),
        ),
        (
            "GET /b?a[]=1 HTTP/1.1\r\nhost: a\r\n\r\n",
            "/b",
            Some("a[]=1"),
        ),
        (
            "GET /b?a={1} HTTP/1.1\r\nhost: a\r\n\r\n",
            "/b",
            Some("a={1}"),
        ),
    ] {
        let head = read(text.as_bytes()).unwrap().expect("a whole head");
        assert_eq!(
            (head.request.path(), head.request.uri().query()),
            (path, query),
            "{text}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a row for each way")]
fn a_head_says_how_the_connection_goes_on() {
    for (lines, keep_alive, expects, body) in [
        ("GET / HTTP/1.1\r\nhost: a", true, false, BodyLength::None),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close",
            false,
            false,
            BodyLength::None,
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, CLOSE",
            false,
            false,
            BodyLength::None,
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c",
            true,
            false,
            BodyLength::None,
        ),
        ("GET / HTTP/1.0\r\nhost: a", false, false, BodyLength::None),
        (
            "GET / HTTP/1.0\r\nconnection: close, keep-alive",
            false,
            false,
            BodyLength::None,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: , 100-continue, 100-continue",
            true,
            true,
            BodyLength::Sized(5),
        ),
        (
            "GET / HTTP/1.0\r\nconnection: keep-alive",
            true,
            false,
            BodyLength::None,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5",
            true,
            false,
            BodyLength::Sized(5),
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nexpect: 100-continue",
            true,
            false,
            BodyLength::None,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-Continue",
            true,
            true,
            BodyLength::Sized(5),
        ),
        (
            "POST / HTTP/1.0\r\ncontent-length: 5\r\nexpect: 100-continue",
            false,
            false,
            BodyLength::Sized(5),
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked",
            true,
            false,
            BodyLength::Chunked,
        ),
    ] {
        let head = read(format!("{lines}\r\n\r\n").as_bytes())
            .unwrap()
            .expect("a whole head");
        let framing = head.framing;
        assert_eq!(
            (framing.keep_alive, framing.expects_continue, framing.body),
            (keep_alive, expects, body),
            "{lines}"
        );
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_read_as_one_that_comes_at_once() {
    let text = b"\r\nPOST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET";
    let mut input = BytesMut::new();
    let mut reader = HeadReader::default();
    let mut found = None;
    for (at, byte) in text.iter().enumerate() {
        input.extend_from_slice(&[*byte]);
        if found.is_none() && reader.read(&mut input, LIMIT, None).unwrap().is_some() {
            found = Some(at);
        }
    }
    assert_eq!(found, Some(text.len() - 7));
    assert_eq!(&input[..], b"abcGET");
}
