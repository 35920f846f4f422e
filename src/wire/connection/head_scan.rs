//! Finds the end of a request's head. Pure.
//!
//! A head ends with an empty line, and lines may end with LF alone (RFC 9112, 2.2). Empty lines before a head do not
//! belong to it: some clients send one after a body.

/// The part of a head that has been read so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HeadScan {
    bytes: usize,
    /// Whether the current line has a byte other than CR.
    in_line: bool,
    /// Whether bytes came after its end.
    followed: bool,
}

/// The state of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// It has not begun.
    Nothing,
    /// It has begun, and not ended.
    Partial,
    /// It has ended; what comes after it is not looked at.
    Complete,
    /// It is larger than the limit.
    TooLarge,
}

impl HeadScan {
    /// Whether bytes after the head may be an incomplete next head. Bytes that end with an empty line are whole heads.
    pub(crate) fn followed(&self) -> bool {
        self.followed
    }

    /// Scans the next `bytes` of a head that may have `limit` bytes in all.
    pub(crate) fn feed(&mut self, bytes: &[u8], limit: usize) -> Scan {
        let mut rest = bytes;
        if self.bytes == 0 {
            let Some(begin) = rest.iter().position(|byte| !b"\r\n".contains(byte)) else {
                return Scan::Nothing;
            };
            rest = rest.get(begin..).unwrap_or_default();
        }
        // The usual case: one whole head.
        if rest.len().saturating_add(self.bytes) <= limit && rest.ends_with(b"\r\n\r\n") {
            return Scan::Complete;
        }
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, more) = rest.split_at(end);
            self.bytes = self.bytes.saturating_add(end).saturating_add(1);
            let empty = !self.in_line && line.iter().all(|byte| *byte == b'\r');
            if self.bytes > limit {
                return Scan::TooLarge;
            }
            if empty {
                self.followed = more.len() > 1;
                return Scan::Complete;
            }
            self.in_line = false;
            rest = more.get(1..).unwrap_or_default();
        }
        self.bytes = self.bytes.saturating_add(rest.len());
        self.in_line |= rest.iter().any(|byte| *byte != b'\r');
        if self.bytes > limit {
            Scan::TooLarge
        } else {
            Scan::Partial
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8], limit: usize) -> Scan {
        HeadScan::default().feed(bytes, limit)
    }

    /// Byte by byte, until it is decided.
    fn in_drops(bytes: &[u8], limit: usize) -> Scan {
        let mut scan = HeadScan::default();
        let mut last = Scan::Nothing;
        for byte in bytes {
            last = scan.feed(&[*byte], limit);
            if matches!(last, Scan::Complete | Scan::TooLarge) {
                break;
            }
        }
        last
    }

    #[test]
    fn a_head_ends_with_an_empty_line_of_either_kind() {
        for (head, end) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", Scan::Complete),
            ("GET / HTTP/1.1\nhost: a\n\n", Scan::Complete),
            ("GET / HTTP/1.1\r\nhost: a\r\n\n", Scan::Complete),
            ("\r\n\nGET / HTTP/1.1\n\r\nbody", Scan::Complete),
            ("GET / HTTP/1.1\r\nhost: a\r\n\r", Scan::Partial),
            ("GET / HTTP/1.1\r\n", Scan::Partial),
            ("G", Scan::Partial),
            ("\r\n\r\n", Scan::Nothing),
            ("\n\n\r", Scan::Nothing),
            ("", Scan::Nothing),
        ] {
            assert_eq!(whole(head.as_bytes(), 100), end, "{head:?}");
            assert_eq!(in_drops(head.as_bytes(), 100), end, "{head:?} in drops");
        }
    }

    #[test]
    fn a_head_may_be_as_large_as_the_limit_and_no_larger() {
        let head = |bytes: usize| [vec![b'x'; bytes - 4], b"\r\n\r\n".to_vec()].concat();
        assert_eq!(whole(&head(40), 40), Scan::Complete);
        assert_eq!(whole(&head(41), 40), Scan::TooLarge);
        assert_eq!(in_drops(&head(40), 40), Scan::Complete);
        assert_eq!(in_drops(&head(41), 40), Scan::TooLarge);
        assert_eq!(whole(&[b'x'; 41], 40), Scan::TooLarge);
        let with_body = [head(40), vec![b'b'; 100]].concat();
        assert_eq!(whole(&with_body, 40), Scan::Complete, "a body is no head");
        let lines_before = [b"\r\n".repeat(50), head(40)].concat();
        assert_eq!(whole(&lines_before, 40), Scan::Complete, "none of it");
    }

    #[test]
    fn what_comes_after_a_head_is_noticed() {
        for (bytes, followed) in [
            ("GET / HTTP/1.1\n\n", false),
            ("GET / HTTP/1.1\n\nG", true),
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n", true),
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", false),
        ] {
            let mut scan = HeadScan::default();
            assert_eq!(scan.feed(bytes.as_bytes(), 100), Scan::Complete);
            assert_eq!(scan.followed(), followed, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_a_head_is_cut(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'x')], 0..30),
            cut in 0_usize..30,
        ) {
            // A whole that ends in an empty line is decided without a look at where it ends first.
            let limit = 100;
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut scan = HeadScan::default();
            let decided = match scan.feed(first, limit) {
                Scan::Complete => Scan::Complete,
                Scan::Nothing | Scan::Partial | Scan::TooLarge if second.is_empty() => in_drops(&bytes, limit),
                Scan::Nothing | Scan::Partial | Scan::TooLarge => match scan.feed(second, limit) {
                    // Nothing in the second part, and nothing in the first.
                    Scan::Nothing => Scan::Nothing,
                    other @ (Scan::Partial | Scan::Complete | Scan::TooLarge) => other,
                },
            };
            prop_assert_eq!(decided, in_drops(&bytes, limit));
        }
    }
}
