//! Random messages, read in random pieces: no panic, and never two readings of where a message ends.
//!
//! `FUZZ_CASES` sets the number of messages.

use actix_web::HttpMessage as _;
use bytes::BytesMut;
use fastrand::Rng;

use super::super::decoder::{BodyPart, Decoder};
use super::super::head::HeadReader;

const CASES: u64 = 60_000;
const LIMIT: usize = 1024;

/// Parts of which messages are made, good and bad ones.
const PIECES: [&str; 44] = [
    "GET / HTTP/1.1\r\n",
    "POST /books HTTP/1.1\r\n",
    "HEAD /x?y=z HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "GET http://a/b HTTP/1.2\r\n",
    "GET / HTTP/2.0\r\n",
    "host: a\r\n",
    "Host: [::1]:80\r\n",
    "host: a b\r\n",
    "content-length: 5\r\n",
    "Content-Length: 0\r\n",
    "content-length: 05\r\n",
    "content-length: 5, 5\r\n",
    "content-length: -1\r\n",
    "content-length: 99999999999999999999\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding: CHUNKED\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding:\tchunked\r\n",
    "transfer-encoding : chunked\r\n",
    "connection: close\r\n",
    "connection: keep-alive, upgrade\r\n",
    "expect: 100-continue\r\n",
    "x: y\r\n z\r\n",
    "x: \u{e9}\r\n",
    "x\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "abcde",
    "5\r\nabcde\r\n",
    "5;a=b\r\nabcde\r\n",
    "5;a=\"\r\n\"\r\nabcde\r\n",
    "0005\r\nabcde\r\n",
    "5 \r\nabcde\r\n",
    "0\r\n\r\n",
    "0\r\nx: y\r\n\r\n",
    "0\r\ncontent-length: 5\r\n\r\n",
    "0\n\n",
    " ",
    ":",
];

/// Whole messages that are read.
const WHOLE: [&str; 8] = [
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "\r\nHEAD /x?y=\u{e9} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "OPTIONS * HTTP/1.2\r\nhost: [::1]:80\r\nx: y\r\n\r\n",
    "POST /books HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nabcde",
    "POST /books HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 30\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n123",
    "PUT /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;a=\"b\"\r\nabcde\r\n0\r\n\r\n",
    "PUT /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1c\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n\r\n0\r\nx: y\r\n\r\n",
];

fn message(random: &mut Rng) -> Vec<u8> {
    let mut message = Vec::new();
    if random.u8(..3) > 0 {
        message.extend_from_slice(WHOLE[random.usize(..WHOLE.len())].as_bytes());
        if random.u8(..4) == 0 {
            let at = random.usize(..message.len());
            message[at] = random.u8(..);
        }
        return message;
    }
    if random.u8(..4) > 0 {
        message.extend_from_slice(PIECES[random.usize(..4)].as_bytes());
        message.extend_from_slice(b"host: a\r\n");
    }
    for _ in 0..random.usize(..12) {
        message.extend_from_slice(PIECES[random.usize(..PIECES.len())].as_bytes());
    }
    for _ in 0..random.usize(..2) {
        if !message.is_empty() {
            let at = random.usize(..message.len());
            message[at] = random.u8(..);
        }
    }
    message
}

/// One whole message: its head as it was understood, and its body.
type Reading = (String, Vec<u8>);

/// Reads all messages in `pieces`: the whole ones, and the bytes behind them that are neither refused nor used. `None` stands
/// for a refusal.
fn read(pieces: &[&[u8]]) -> (Vec<Reading>, Option<Vec<u8>>) {
    let mut pieces = pieces.iter();
    let (mut input, mut reader) = (BytesMut::new(), HeadReader::default());
    let mut messages: Vec<Reading> = Vec::new();
    let mut body: Option<(String, Decoder, Vec<u8>)> = None;
    loop {
        let more = if let Some((head, decoder, read)) = &mut body {
            match decoder.decode(&mut input) {
                Ok(BodyPart::Data(data)) => {
                    read.extend_from_slice(&data);
                    false
                }
                Ok(BodyPart::End) => {
                    messages.push((std::mem::take(head), std::mem::take(read)));
                    body = None;
                    false
                }
                Ok(BodyPart::More) => true,
                Err(_) => return (messages, None),
            }
        } else {
            match reader.read(&mut input, LIMIT, None) {
                Ok(Some(head)) => {
                    let hosts = head.request.headers().get_all("host").count();
                    assert!(
                        hosts == 1 || head.framing.old && hosts == 0,
                        "{hosts} hosts"
                    );
                    let lengths = head.request.headers().contains_key("content-length");
                    let codings = head.request.headers().contains_key("transfer-encoding");
                    assert!(!(lengths && codings), "two lengths");
                    let (request, framing) = (head.request, head.framing);
                    let text = format!("{} {} {framing:?}", request.method(), request.uri());
                    body = Some((text, Decoder::new(framing.body, LIMIT), Vec::new()));
                    false
                }
                Ok(None) => true,
                Err(_) => return (messages, None),
            }
        };
        if more {
            match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => return (messages, Some(input.to_vec())),
            }
        }
    }
}

fn random_pieces<'a>(random: &mut Rng, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(random.usize(1..=bytes.len().min(40)));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

#[test]
fn random_messages_are_read_in_one_way_however_they_come() {
    let given = std::env::var("FUZZ_CASES").ok();
    let cases = given.and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let (mut whole, mut refused) = (0, 0);
    for seed in 0..cases {
        let mut random = Rng::with_seed(seed);
        let bytes = [(); 3].map(|()| message(&mut random)).concat();
        let (messages, rest) = read(&[&bytes]);
        whole += messages.len();
        refused += usize::from(rest.is_none());
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        for pieces in [each, random_pieces(&mut random, &bytes)] {
            let (again, rest_again) = read(&pieces);
            let shown = String::from_utf8_lossy(&bytes);
            assert_eq!(again, messages, "seed {seed}: {shown:?}");
            // What can only be wrong may be refused before its line is whole, or when it is.
            if let (Some(rest), Some(again)) = (rest.clone(), rest_again) {
                assert_eq!(again, rest, "seed {seed}: {shown:?}");
            }
        }
    }
    println!("{whole} whole messages, {refused} of {cases} cases refused");
    assert!(whole > 0 && refused > 0, "{whole} whole, {refused} refused");
}
