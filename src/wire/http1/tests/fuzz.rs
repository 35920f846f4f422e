//! The messages of `tests/golden/wire`, and random ones made of them, read in random pieces: no panic, and never two readings
//! of where a message ends.
//!
//! `FUZZ_CASES` sets the number of messages.

use actix_web::HttpMessage as _;
use bytes::BytesMut;
use fastrand::Rng;

use super::super::decoder::{BodyPart, Decoder};
use super::super::head::HeadReader;
use super::cases::wire_cases;
use super::corpus::sent;

const CASES: u64 = 15_000;
const LIMIT: usize = 1024;

/// A message of the corpus; `good` are those that are not refused. Some have a byte changed, and some are the beginning of one
/// message and the end of another.
fn message(random: &mut Rng, corpus: &[Vec<u8>], good: &[Vec<u8>]) -> Vec<u8> {
    let mut pick = |from: &[Vec<u8>]| from[random.usize(..from.len())].clone();
    let (mut message, other) = (pick(good), pick(corpus));
    if random.u8(..3) == 0 {
        message.truncate(random.usize(..message.len()));
        message.extend_from_slice(&other[random.usize(..other.len())..]);
    }
    if random.u8(..4) == 0 {
        let at = random.usize(..message.len());
        message[at] = random.u8(..);
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
    let corpus = wire_cases();
    let short = |bytes: &Vec<u8>| bytes.len() < LIMIT;
    let good = corpus.iter().filter(|case| case.open);
    let good: Vec<_> = good.map(sent).filter(short).collect();
    let corpus: Vec<_> = corpus.iter().map(sent).collect();
    let (mut whole, mut refused) = (0, 0);
    let fresh = (0..cases).map(|seed| {
        let mut random = Rng::with_seed(seed);
        [(); 2]
            .map(|()| message(&mut random, &corpus, &good))
            .concat()
    });
    for (seed, bytes) in (0..).zip(corpus.iter().cloned().chain(fresh)) {
        let mut random = Rng::with_seed(seed);
        let (messages, rest) = read(&[&bytes]);
        whole += messages.len();
        refused += usize::from(rest.is_none());
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        for pieces in [each, random_pieces(&mut random, &bytes)] {
            let (again, rest_again) = read(&pieces);
            let shown = String::from_utf8_lossy(&bytes);
            assert_eq!(again, messages, "{seed}: {shown:?}");
            // What can only be wrong may be refused before its line is whole, or when it is.
            if let (Some(rest), Some(again)) = (rest.clone(), rest_again) {
                assert_eq!(again, rest, "{seed}: {shown:?}");
            }
        }
    }
    println!("{whole} whole messages, {refused} of {cases} cases refused");
    assert!(whole > 0 && refused > 0, "{whole} whole, {refused} refused");
}
