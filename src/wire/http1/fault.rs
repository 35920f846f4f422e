//! The faults of a message: one rule for each line, with its source and its answer.
//!
//! A message of HTTP/1 that breaks a rule is refused and its connection is closed, because nobody can say where the next
//! message begins. In HTTP/2 a request that breaks one of the rules for requests is refused alone, and the rules with `HTTP/2` in
//! their texts are the library's: it resets the stream, or ends the connection if a frame is wrong or a header can't be kept, and
//! tells no more than the kind. Proxies in front of this server may read such a message in another way; that is how requests are
//! smuggled.

// Decision: The library of HTTP/2 refuses by itself.

use super::super::problem::{Code, Problem};

/// Defines [`Fault`] with the name in metrics, the answer, the text and the source of each rule.
macro_rules! rules {
    ($($name:ident = $label:literal, $code:ident, $text:literal, $source:literal;)+) => {
        /// A rule of HTTP that a message breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        pub(crate) enum Fault {
            $(#[doc = $source] #[error($text)] $name),+
        }

        impl Fault {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// The name in metrics and in the access log.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label),+
                }
            }

            fn code(self) -> Code {
                match self {
                    $(Self::$name => Code::$code),+
                }
            }
        }
    };
}

rules! {
    RequestLine = "request_line", MalformedRequest, "the first line is not METHOD TARGET HTTP/1.1", "RFC 9112 section 3";
    LineEnd = "line_end", MalformedRequest, "a line does not end with CR LF", "RFC 9112 section 2.2";
    Version = "version", VersionNotSupported, "the version is not HTTP/1.0 or HTTP/1.1", "RFC 9110 section 15.6.6";
    Tunnel = "tunnel", NotImplemented, "this server opens no tunnels: it does not know CONNECT", "RFC 9110 section 9.3.6";
    Target = "target", MalformedRequest, "the target of the request is not valid", "RFC 9112 section 3.2";
    TargetTooLong = "target_too_long", UriTooLong, "the target of the request is longer than limits.headers", "RFC 9110 section 15.5.15";
    FieldName = "field_name", MalformedRequest, "a header has no valid name", "RFC 9112 section 5.1";
    FieldValue = "field_value", MalformedRequest, "the value of a header has a forbidden character, or blanks around it", "RFC 9110 section 5.5";
    FoldedLine = "folded_line", MalformedRequest, "a header continues on a second line", "RFC 9112 section 5.2";
    HeadTooLarge = "head_too_large", HeadTooLarge, "the head is larger than limits.headers", "RFC 6585 section 5";
    TooManyFields = "too_many_fields", HeadTooLarge, "there are more than 100 headers, or trailers", "RFC 6585 section 5";
    HostMissing = "host_missing", MalformedRequest, "there is no Host header and no authority", "RFC 9112 section 3.2";
    HostTwice = "host_twice", MalformedRequest, "there is more than one Host header", "RFC 9112 section 3.2";
    HostInvalid = "host_invalid", MalformedRequest, "the host is not a host name with an optional port", "RFC 9112 section 3.2";
    HostDiffers = "host_differs", MalformedRequest, "the Host header differs from the authority of the request", "RFC 9113 section 8.3.1";
    LengthInvalid = "length_invalid", MalformedRequest, "Content-Length is not a whole number", "RFC 9110 section 8.6";
    LengthTwice = "length_twice", MalformedRequest, "there is more than one Content-Length header", "RFC 9112 section 6.3";
    LengthDiffers = "length_differs", MalformedRequest, "Content-Length is not the length of the body", "RFC 9113 section 8.1.1";
    LengthAndCoding = "length_and_coding", MalformedRequest, "there are both Content-Length and Transfer-Encoding", "RFC 9112 section 6.3";
    CodingUnknown = "coding_unknown", NotImplemented, "the only transfer coding that this server knows is chunked", "RFC 9112 section 6.1";
    CodingNotLast = "coding_not_last", MalformedRequest, "chunked is not the last transfer coding, or is there twice", "RFC 9112 section 6.3";
    CodingInOldVersion = "coding_in_http_1_0", MalformedRequest, "HTTP/1.0 has no Transfer-Encoding", "RFC 9112 section 6.1";
    Expectation = "expectation", ExpectationFailed, "the only expectation that this server knows is 100-continue", "RFC 9110 section 10.1.1";
    ChunkSize = "chunk_size", MalformedRequest, "the size of a chunk is not valid", "RFC 9112 section 7.1";
    ChunkExtension = "chunk_extension", MalformedRequest, "the extension of a chunk is not valid", "RFC 9112 section 7.1.1";
    ChunkEnd = "chunk_end", MalformedRequest, "a chunk does not end with CR LF", "RFC 9112 section 7.1";
    ChunkOverhead = "chunk_overhead", HeadTooLarge, "the extensions and trailers of a body are larger than limits.headers", "RFC 9112 section 7.1.1";
    ClearText = "clear_text", MalformedRequest, "this address speaks TLS; write https:// in place of http://", "RFC 9110 section 4.2.2";
    Http2Protocol = "http2_protocol_error", MalformedRequest, "a frame of HTTP/2 breaks a rule, or a header has a forbidden character", "RFC 9113 section 7";
    Http2FlowControl = "http2_flow_control_error", MalformedRequest, "more was sent over HTTP/2 than its windows allow", "RFC 9113 section 6.9.1";
    Http2StreamClosed = "http2_stream_closed", MalformedRequest, "a frame of HTTP/2 came for a stream that had ended", "RFC 9113 section 5.1";
    Http2FrameSize = "http2_frame_size_error", MalformedRequest, "a frame of HTTP/2 has a wrong length", "RFC 9113 section 4.2";
    Http2Compression = "http2_compression_error", MalformedRequest, "the headers of HTTP/2 can't be decompressed", "RFC 9113 section 4.3";
    Trailer = "trailer", MalformedRequest, "a trailer is not valid", "RFC 9112 section 7.1.2";
}

impl Fault {
    /// The rule for which the library of HTTP/2 ends a stream or a connection with this code; `None` if no rule was broken.
    pub(in super::super) fn of_library(code: u32) -> Option<Self> {
        // RFC 9113 section 7.
        match code {
            1 => Some(Self::Http2Protocol),
            3 => Some(Self::Http2FlowControl),
            5 => Some(Self::Http2StreamClosed),
            6 => Some(Self::Http2FrameSize),
            9 => Some(Self::Http2Compression),
            _ => None,
        }
    }

    /// Whether the head is too large.
    pub(in super::super) fn is_of_size(self) -> bool {
        matches!(self, Self::HeadTooLarge | Self::TooManyFields)
    }

    /// The answer.
    pub(crate) fn problem(self) -> Problem {
        Problem::new(self.code()).detail(self.to_string())
    }
}
