//! The grammar of names, values and hosts (RFC 9110 section 5.6, RFC 9112 sections 3.2 and 7.1). Pure.

use std::net::Ipv6Addr;

use crate::percent;

/// Whether a byte may be part of a token, such as the name of a header (RFC 9110 section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

/// Whether a byte may be part of a value (RFC 9110 section 5.5).
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

/// Fields that say where a message ends or where it goes; in a trailer they are an attempt to confuse (RFC 9110 section 6.5.1).
const NO_TRAILERS: [&str; 6] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "content-encoding",
    "trailer",
];

/// Whether a line is a valid field behind a chunked body.
pub(super) fn is_trailer(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return false;
    };
    let (name, value) = line.split_at(colon);
    is_token(name) && may_be_trailer(name) && value.iter().copied().all(is_value_byte)
}

/// Whether a field with this name may come behind a body.
pub(in super::super) fn may_be_trailer(name: &[u8]) -> bool {
    let framing = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
    !NO_TRAILERS.iter().any(framing)
}

/// Whether a text is a row of chunk extensions, such as `;name=value;other="a b"`. An empty text is one.
pub(super) fn is_chunk_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = trim(rest).strip_prefix(b";") else {
            return false;
        };
        let (name, after) = token(trim(after));
        if name == 0 {
            return false;
        }
        rest = after;
        if let Some(value) = trim(after).strip_prefix(b"=") {
            let value = trim(value);
            rest = match quoted(value) {
                Some(after) => after,
                None => match token(value) {
                    (0, _) => return false,
                    (_, after) => after,
                },
            };
        }
    }
    true
}

fn trim(text: &[u8]) -> &[u8] {
    let blank = text.iter().take_while(|byte| b" \t".contains(byte));
    text.get(blank.count()..).unwrap_or_default()
}

/// The length of the token at the beginning, and the rest.
fn token(text: &[u8]) -> (usize, &[u8]) {
    let length = text.iter().take_while(|byte| is_token_byte(**byte)).count();
    (length, text.get(length..).unwrap_or_default())
}

/// The rest behind the quoted string at the beginning (RFC 9110 section 5.6.4).
fn quoted(text: &[u8]) -> Option<&[u8]> {
    let mut bytes = text.strip_prefix(b"\"")?.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return Some(bytes.as_slice()),
            b'\\' if bytes.next().is_some_and(|byte| is_value_byte(*byte)) => {}
            b'\\' => return None,
            byte if is_value_byte(*byte) => {}
            _ => return None,
        }
    }
    None
}

/// Whether a text is a host with an optional port, without a user (RFC 9110 section 7.2, RFC 3986 section 3.2.2). An empty
/// text is one: it says that the target has no host.
pub(in super::super) fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("", port),
            Some(_) | None => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    // Percent escapes are whole (RFC 3986 section 2.1).
    let name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
    let port = match port.strip_prefix(':') {
        Some(port) => {
            port.is_empty()
                || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        }
        None => port.is_empty(),
    };
    host.bytes().all(name_byte) && percent::is_whole(host) && port
}
