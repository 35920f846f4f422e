//! Which protocol a client speaks, by its first bytes. Pure.

/// What a client that speaks HTTP/2 sends first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    Http1,
    Http2,
    /// Its next bytes will tell.
    Unclear,
}

/// The protocol of a client whose first bytes are `bytes`.
pub(crate) fn opening(bytes: &[u8]) -> Opening {
    if bytes.starts_with(PREFACE) {
        Opening::Http2
    } else if PREFACE.starts_with(bytes) {
        Opening::Unclear
    } else {
        Opening::Http1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_preface_is_http_2() {
        for (bytes, expected) in [
            (&b""[..], Opening::Unclear),
            (b"P", Opening::Unclear),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Opening::Unclear),
            (PREFACE, Opening::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Opening::Http2),
            (b"POST / HTTP/1.1", Opening::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Opening::Http1),
            (b"\r\n", Opening::Http1),
        ] {
            assert_eq!(opening(bytes), expected, "{bytes:?}");
        }
    }
}
