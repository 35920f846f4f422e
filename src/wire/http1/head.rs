//! Reads the head of a request: finds its end, checks it against the rules of `fault`, and makes a request of actix-web of it.

use std::mem::MaybeUninit;
use std::net::SocketAddr;

use actix_http::{Payload, Request};
use actix_web::dev::RequestHead;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, Uri, Version};
use bytes::{Buf, Bytes, BytesMut};
use httparse::{Error, Status};

use super::super::pooled_request::empty;
use super::decoder::BodyLength;
use super::fault::Fault;
use super::field;

/// The most headers of a request, and of its trailers in HTTP/2, where they are kept.
pub(in super::super) const FIELDS_MAX: usize = 100;

/// The head of a request.
pub(super) struct Head {
    /// The request, without its body.
    pub(super) request: Request,
    /// The facts about the connection and the body.
    pub(super) framing: Framing,
}

/// The facts that a head tells about its connection and its body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is what one header says"
)]
pub(super) struct Framing {
    /// The version is HTTP/1.0.
    pub(super) old: bool,
    /// The client does not ask to close the connection after the answer.
    pub(super) keep_alive: bool,
    /// The client waits for a 100 before it sends the body.
    pub(super) expects_continue: bool,
    /// The answer has no body, because the method is HEAD.
    pub(super) head_only: bool,
    /// The length of the body.
    pub(super) body: BodyLength,
}

/// Finds heads in what a client sends.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// The number of bytes that were looked at without finding the end of the head.
    scanned: usize,
}

impl HeadReader {
    /// Takes the next head of at most `limit` bytes from the front of `input`; `None` if it has not arrived to its end.
    pub(super) fn read(
        &mut self,
        input: &mut BytesMut,
        limit: usize,
        peer: Option<SocketAddr>,
    ) -> Result<Option<Head>, Fault> {
        if self.scanned == 0 {
            // RFC 9112 section 2.2: empty lines before a request are ignored.
            while input.starts_with(b"\r\n") {
                input.advance(2);
            }
            if input.is_empty() || input.as_ref() == b"\r" {
                return Ok(None);
            }
        }
        let end = self.find_end(input)?;
        if end.unwrap_or(input.len()) > limit {
            let line = input.iter().take(limit).any(|byte| *byte == b'\n');
            return Err(if line {
                Fault::HeadTooLarge
            } else {
                Fault::TargetTooLong
            });
        }
        let Some(end) = end else {
            return Ok(None);
        };
        self.scanned = 0;
        let mut head = input.split_to(end);
        if input.is_empty() {
            *input = BytesMut::new();
        }
        let version = lower_version(&mut head);
        let bytes = head.freeze();
        let head = version.and_then(|()| parse(&bytes, peer));
        let head = head.inspect_err(|_| {
            // The refusal looks at its first line, and nothing else is read any more.
            *input = BytesMut::from(bytes.as_ref());
        })?;
        Ok(Some(head))
    }

    /// The length of the head, if its end has arrived. What can only be wrong is told before that.
    fn find_end(&mut self, input: &BytesMut) -> Result<Option<usize>, Fault> {
        let from = self.scanned;
        let mut lines = false;
        let fresh = input.get(from..).unwrap_or_default();
        for at in memchr::memchr_iter(b'\n', fresh).map(|at| from + at) {
            let before = input.get(at.saturating_sub(3)..at).unwrap_or_default();
            if before.last() != Some(&b'\r') {
                return Err(Fault::LineEnd);
            }
            if before == b"\r\n\r" {
                return Ok(Some(at + 1));
            }
            lines = true;
        }
        self.scanned = input.len();
        if (lines || from == 0) && !input.is_empty() {
            let mut fields = [MaybeUninit::uninit(); FIELDS_MAX];
            let mut request = httparse::Request::new(&mut []);
            match request.parse_with_uninit_headers(input, &mut fields) {
                // The version is judged when the head is complete, and what follows it when its line is.
                Ok(_) | Err(Error::Version) => {}
                Err(Error::NewLine) if !lines => {}
                Err(error) => return Err(fault(error, input)),
            }
        }
        Ok(None)
    }
}

/// The method and the target of a head that is refused, as far as they can be read.
pub(super) fn first_words(head: &[u8]) -> Option<(Method, &[u8])> {
    let mut lines = head.split(|byte| b"\r\n".contains(byte));
    let mut words = lines.next()?.split(|byte| *byte == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    Some((method, words.next()?))
}

/// Reads a later version of HTTP/1, such as HTTP/1.2, as HTTP/1.1 (RFC 9110 section 2.5).
fn lower_version(head: &mut BytesMut) -> Result<(), Fault> {
    let minor = minor_version(head)?;
    if let Some(minor) = head.get_mut(minor) {
        *minor = (*minor).min(b'1');
    }
    Ok(())
}

/// The place of the last digit of the version, if it is a version of HTTP/1.
fn minor_version(head: &[u8]) -> Result<usize, Fault> {
    let end = memchr::memchr(b'\r', head).unwrap_or(head.len());
    match head.get(end.saturating_sub(8)..end) {
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            if *major == b'1' {
                Ok(end - 1)
            } else {
                Err(Fault::Version)
            }
        }
        Some(_) | None => Err(Fault::RequestLine),
    }
}

/// The rule that an error of the parser stands for.
fn fault(error: Error, head: &[u8]) -> Fault {
    match error {
        Error::HeaderName if head.windows(2).any(|pair| matches!(pair, b"\n " | b"\n\t")) => {
            Fault::FoldedLine
        }
        Error::HeaderName => Fault::FieldName,
        Error::HeaderValue => Fault::FieldValue,
        Error::NewLine => minor_version(head).err().unwrap_or(Fault::LineEnd),
        Error::TooManyHeaders => Fault::TooManyFields,
        // A version that is one was judged before.
        Error::Version | Error::Token | Error::Status => Fault::RequestLine,
    }
}

/// Makes a request of a whole head.
fn parse(head: &Bytes, peer: Option<SocketAddr>) -> Result<Head, Fault> {
    let mut fields = [MaybeUninit::uninit(); FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut fields) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(Fault::RequestLine),
        Err(error) => return Err(fault(error, head)),
    }
    let mut request: Request = Request::with_payload(Payload::None);
    match fill(request.head_mut(), &parsed, head) {
        Ok(framing) => {
            request.head_mut().peer_addr = peer;
            Ok(Head { request, framing })
        }
        Err(fault) => {
            empty(request.head_mut());
            Err(fault)
        }
    }
}

/// Fills the head of a request with the fields that were found in `head`.
fn fill(
    into: &mut RequestHead,
    parsed: &httparse::Request<'_, '_>,
    head: &Bytes,
) -> Result<Framing, Fault> {
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(Fault::RequestLine);
    };
    let old = parsed.version == Some(0);
    let method = method_of(method)?;
    into.uri = uri(head.slice_ref(target.as_bytes()), &method)?;
    into.version = if old {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    let mut rules = FieldRules {
        old,
        ..FieldRules::default()
    };
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Fault::FieldName)?;
        rules.see(&name, field.value)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value));
        into.headers
            .append(name, value.map_err(|_| Fault::FieldValue)?);
    }
    let framing = rules.finish(method == Method::HEAD)?;
    into.method = method;
    Ok(framing)
}

/// The method. A tunnel is refused here, because what follows its head need not be HTTP; other methods are judged by the
/// service.
fn method_of(name: &str) -> Result<Method, Fault> {
    match Method::from_bytes(name.as_bytes()) {
        Ok(Method::CONNECT) => Err(Fault::Tunnel),
        Ok(method) => Ok(method),
        Err(_) => Err(Fault::RequestLine),
    }
}

/// The target as a URI, without what follows a `#`, which is never sent to a server on purpose. Characters that a URI must not have and that clients send all the same, such as those of
/// `?title=Caf\u{e9}`, are percent-encoded.
fn uri(target: Bytes, method: &Method) -> Result<Uri, Fault> {
    match target.as_ref() {
        b"*" if *method == Method::OPTIONS => {}
        [b'/', ..] => {}
        absolute if has_scheme(absolute) => {}
        _ => return Err(Fault::Target),
    }
    let uri = Uri::from_maybe_shared(target.clone()).or_else(|_| encoded(&target));
    let uri = uri.map_err(|_| Fault::Target)?;
    match uri.authority() {
        Some(authority)
            if authority.host().is_empty() || !field::is_host(authority.as_str().as_bytes()) =>
        {
            Err(Fault::Target)
        }
        Some(_) | None => Ok(uri),
    }
}

fn has_scheme(target: &[u8]) -> bool {
    let begins = |scheme: &[u8]| {
        let begin = target.get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    begins(b"http://") || begins(b"https://")
}

fn encoded(target: &[u8]) -> Result<Uri, http::uri::InvalidUri> {
    let mut text = String::with_capacity(target.len() * 3);
    for byte in target {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(percent_encoding::percent_encode_byte(*byte));
        }
    }
    Uri::try_from(text)
}

/// Gathers what the headers say about the connection and the body, and checks them against the rules.
#[derive(Debug, Default)]
struct FieldRules {
    old: bool,
    /// Whether the client asks to keep the connection or to close it, which counts more (RFC 9112 section 9.3).
    keep_alive: Option<bool>,
    expects_continue: bool,
    hosts: usize,
    length: Option<u64>,
    coding: Coding,
}

/// The transfer codings seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    /// `chunked` alone.
    Chunked,
    /// None of them was `chunked`.
    Others,
    /// `chunked`, behind others.
    OthersAndChunked,
    /// `chunked` was not the last one.
    Misplaced,
}

impl FieldRules {
    fn see(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Fault> {
        match *name {
            header::HOST => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err(Fault::HostTwice);
                }
                if !field::is_host(value) {
                    return Err(Fault::HostInvalid);
                }
            }
            header::CONTENT_LENGTH => {
                if self.length.is_some() {
                    return Err(Fault::LengthTwice);
                }
                self.length = Some(length(value)?);
            }
            header::TRANSFER_ENCODING => {
                for coding in list(value) {
                    let chunked = coding.eq_ignore_ascii_case(b"chunked");
                    self.coding = match self.coding {
                        Coding::None if chunked => Coding::Chunked,
                        Coding::Others if chunked => Coding::OthersAndChunked,
                        Coding::None | Coding::Others => Coding::Others,
                        Coding::Chunked | Coding::OthersAndChunked | Coding::Misplaced => {
                            Coding::Misplaced
                        }
                    };
                }
                if self.coding == Coding::None {
                    self.coding = Coding::Others;
                }
            }
            header::CONNECTION => {
                for option in list(value) {
                    if option.eq_ignore_ascii_case(b"close") {
                        self.keep_alive = Some(false);
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep_alive.get_or_insert(true);
                    }
                }
            }
            header::EXPECT => {
                self.expects_continue |= expects_continue(value)? && !self.old;
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self, head_only: bool) -> Result<Framing, Fault> {
        if self.hosts == 0 && !self.old {
            return Err(Fault::HostMissing);
        }
        let body = match (self.coding, self.length) {
            (Coding::None, None | Some(0)) => BodyLength::None,
            (Coding::None, Some(length)) => BodyLength::Sized(length),
            (_, Some(_)) => return Err(Fault::LengthAndCoding),
            (_, None) if self.old => return Err(Fault::CodingInOldVersion),
            (Coding::Chunked, None) => BodyLength::Chunked,
            (Coding::OthersAndChunked, None) => return Err(Fault::CodingUnknown),
            (Coding::Others | Coding::Misplaced, None) => return Err(Fault::CodingNotLast),
        };
        Ok(Framing {
            old: self.old,
            keep_alive: self.keep_alive.unwrap_or(!self.old),
            expects_continue: self.expects_continue && body != BodyLength::None,
            head_only,
            body,
        })
    }
}

/// The members of a list such as `close, upgrade`.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = value.split(|byte| *byte == b',');
    members
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Whether a value of Expect asks for a 100; it may not ask for anything else (RFC 9110 section 10.1.1).
pub(in super::super) fn expects_continue(value: &[u8]) -> Result<bool, Fault> {
    let known = |member: &[u8]| member.eq_ignore_ascii_case(b"100-continue");
    if list(value).all(known) {
        Ok(list(value).next().is_some())
    } else {
        Err(Fault::Expectation)
    }
}

/// The value of a Content-Length: digits alone.
fn length(value: &[u8]) -> Result<u64, Fault> {
    if !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::LengthInvalid);
    }
    let digits = std::str::from_utf8(value).map_err(|_| Fault::LengthInvalid)?;
    digits.parse().map_err(|_| Fault::LengthInvalid)
}
