//! Percent-encoding (RFC 3986 section 2.1), strictly: the library lets a percent sign pass that encodes nothing.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Whether each percent sign stands before two hexadecimal digits.
pub(crate) fn is_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Decodes a text once; `None` if it does not encode UTF-8.
pub(crate) fn decoded(text: &str) -> Option<Cow<'_, str>> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.ok().filter(|_| is_whole(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_escapes_of_utf_8_are_decoded() {
        assert_eq!(decoded("a%2Fb%c3%a9").as_deref(), Some("a/b\u{e9}"));
        assert_eq!(decoded("%2541").as_deref(), Some("%41"));
        for wrong in ["%", "%4", "a%zz", "%%41", "%ff", "%c0%af"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }
}
