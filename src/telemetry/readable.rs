//! Characters of a client's text that would change how a line of a log is shown.

use std::io::Write as _;

/// Appends `text`, with such characters as `\uXXXX`: DEL and the control characters beyond ASCII, which a terminal may obey, the
/// ends of lines and paragraphs of Unicode, and those that turn the direction of the text around them.
///
/// The other control characters of ASCII are left as they are: whoever makes a line has escaped those of its values.
pub(crate) fn push_readable(into: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        if matches!(
            character,
            '\u{7f}'..='\u{9f}'
                | '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        ) {
            // Writing into memory does not fail.
            let _infallible = write!(into, "\\u{:04x}", u32::from(character));
        } else {
            into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}
