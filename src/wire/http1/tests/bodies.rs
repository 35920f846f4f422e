//! The bodies of HTTP/1: where they end, and what is malformed.

use bytes::BytesMut;

use super::super::decoder::{BodyLength, BodyPart, Decoder};
use super::super::fault::Fault;

/// Reads a body that comes in pieces of `step` bytes: its bytes and what follows it.
fn body(text: &[u8], length: BodyLength, step: usize) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let mut decoder = Decoder::new(length, 100);
    let (mut input, mut read) = (BytesMut::new(), Vec::new());
    let mut pieces = text.chunks(step);
    loop {
        match decoder.decode(&mut input)? {
            BodyPart::Data(data) => read.extend_from_slice(&data),
            BodyPart::End => {
                let rest: Vec<u8> = pieces.flatten().copied().collect();
                return Ok((read, [&input[..], &rest].concat()));
            }
            BodyPart::More => match pieces.next() {
                Some(piece) => input.extend_from_slice(piece),
                None => panic!("the body has no end: {}", String::from_utf8_lossy(text)),
            },
        }
    }
}

#[test]
fn a_body_ends_at_the_same_byte_however_it_comes() {
    for (text, length, wanted) in [
        ("abcGET", BodyLength::Sized(3), "abc"),
        ("GET", BodyLength::None, ""),
        ("0\r\n\r\nGET", BodyLength::Chunked, ""),
        ("3\r\nabc\r\n0\r\n\r\nGET", BodyLength::Chunked, "abc"),
        (
            "003;a\r\nabc\r\n2 ; b = \"c\\\"d\" ;e=f\r\nde\r\n00\r\nx: y\r\n\r\nGET",
            BodyLength::Chunked,
            "abcde",
        ),
        (
            "A\r\n0123456789\r\n0\r\n\r\nGET",
            BodyLength::Chunked,
            "0123456789",
        ),
    ] {
        for step in 1..text.len() {
            let (read, rest) = body(text.as_bytes(), length, step).unwrap();
            assert_eq!(
                (read, rest),
                (wanted.into(), b"GET".into()),
                "{text:?} by {step}"
            );
        }
    }
}

#[test]
fn small_chunks_that_have_arrived_are_one_part() {
    let mut decoder = Decoder::new(BodyLength::Chunked, 100);
    let large = format!("2000\r\n{}\r\n", "b".repeat(0x2000));
    let text = "1\r\na\r\n".repeat(5000) + &large + "0\r\n\r\nGET";
    let mut input = BytesMut::from(text.as_str());
    let body = "a".repeat(5000) + &"b".repeat(0x2000);
    let whole = BodyPart::Data(body.into());
    assert_eq!(decoder.decode(&mut input), Ok(whole));
    assert_eq!(decoder.decode(&mut input), Ok(BodyPart::End));
    assert_eq!(&input[..], b"GET");
}

#[test]
fn a_malformed_chunk_is_refused_however_it_comes() {
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(2000));
    let trailers = format!("0\r\n{}\r\n", "x: y\r\n".repeat(50));
    let extensions = "1;abcdefghij\r\na\r\n".repeat(20) + "0\r\n\r\n";
    for (text, fault) in [
        ("zz\r\nab", Fault::ChunkSize),
        ("\r\n", Fault::ChunkSize),
        ("-1\r\n", Fault::ChunkSize),
        ("0x1\r\n", Fault::ChunkSize),
        ("5 \r\n", Fault::ChunkSize),
        (" 5\r\n", Fault::ChunkSize),
        ("00000000000000005\r\n", Fault::ChunkSize),
        ("10000000000000000\r\n", Fault::ChunkSize),
        ("5;\r\n", Fault::ChunkExtension),
        ("5;a=\r\n", Fault::ChunkExtension),
        ("5;a=\"b\r\n", Fault::ChunkExtension),
        ("5;a b\r\n", Fault::ChunkExtension),
        ("1\nab", Fault::LineEnd),
        ("1\r\nab\r\n", Fault::ChunkEnd),
        ("1\r\na\n0\r\n\r\n", Fault::LineEnd),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", Fault::Trailer),
        ("0\r\nx y: z\r\n\r\n", Fault::Trailer),
        ("0\r\nx: y\0\r\n\r\n", Fault::Trailer),
        ("0\r\ncontent-length: 5\r\n\r\n", Fault::Trailer),
        ("0\r\n\n", Fault::LineEnd),
        (&long, Fault::ChunkOverhead),
        (&trailers, Fault::ChunkOverhead),
        (&extensions, Fault::ChunkOverhead),
    ] {
        for step in [1, 2, 7, text.len()] {
            assert_eq!(
                body(text.as_bytes(), BodyLength::Chunked, step),
                Err(fault),
                "{text:.40?} by {step}"
            );
        }
    }
}
