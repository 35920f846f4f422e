//! The pattern of a text: a regular expression as JSON Schema means it (ECMA-262), matched in linear time.

// Decision: A pattern means what it means in JSON Schema.

use std::fmt::Write as _;

/// A regular expression. Matching takes time in proportion to the length of the text, whatever the expression is.
#[derive(Debug, Clone)]
pub struct Pattern {
    written: String,
    compiled: regex::Regex,
}

/// The size of the largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

impl Pattern {
    /// Compiles a pattern. What takes more than linear time, such as a look ahead, is refused.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        // What is wrong is told of the text as it was written, if that is wrong as well.
        let mut as_written = regex::RegexBuilder::new(text);
        let as_written = as_written.size_limit(PATTERN_BYTES_MAX).build();
        let mut pattern = regex::RegexBuilder::new(&translated(text));
        let pattern = pattern.size_limit(PATTERN_BYTES_MAX).build();
        match (pattern, as_written) {
            (Ok(compiled), _) => Ok(Self {
                written: text.to_owned(),
                compiled,
            }),
            (Err(_), Err(error)) | (Err(error), Ok(_)) => Err(error),
        }
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

/// White space and ends of lines of ECMA-262.
const SPACE: &str = r"\t\n\x0B\x0C\r \u{A0}\u{FEFF}\u{2028}\u{2029}\p{Zs}";

/// The pattern in the syntax of the `regex` crate, which differs: there `\d`, `\w` and `\b` know all of Unicode, a dot matches `\r`,
/// and a class may contain classes.
fn translated(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut in_class = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => drop(write!(out, "[{SPACE}]")),
                Some('S') => drop(write!(out, "[^{SPACE}]")),
                Some('b') if in_class => out.push_str(r"\x08"),
                Some(boundary @ ('b' | 'B')) => drop(write!(out, r"(?-u:\{boundary})")),
                Some(escaped) => out.extend(['\\', escaped]),
                None => out.push('\\'),
            },
            ']' if in_class => {
                in_class = false;
                out.push(c);
            }
            // Two of them would be an operation on classes.
            '[' | '&' | '~' if in_class => out.extend(['\\', c]),
            '[' => {
                let negated = rest.next_if_eq(&'^').is_some();
                if rest.next_if_eq(&']').is_some() {
                    // The empty class, and the one of everything.
                    out.push_str(if negated { "(?s:.)" } else { r"[^\s\S]" });
                } else {
                    in_class = true;
                    out.push_str(if negated { "[^" } else { "[" });
                }
            }
            '.' if !in_class => out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_what_it_means_in_json_schema() {
        for (pattern, matching, others) in [
            (
                r"^\d{3}$",
                &["123"][..],
                &["\u{661}\u{662}\u{663}", "12", "1234", "123\n"][..],
            ),
            (r"^\D$", &["\u{661}", "x"], &["1"]),
            (r"^\w+$", &["a_Z9"], &["\u{e9}", ""]),
            (r"^\W$", &["\u{e9}", "-"], &["a"]),
            (
                r"^\s\S$",
                &["\u{a0}x", "\u{feff}x", "\u{2003}x", "\u{2028}x"],
                &["\u{85}x", "xx"],
            ),
            (r"^[\d-x]$", &["5", "-", "x"], &["9x", "y"]),
            (r"^[^\d\s]$", &["x", "\u{661}"], &["5", " "]),
            (r"^[[&&a~~b]$", &["[", "&", "a", "~", "b"], &["c"]),
            (r"\bend\b", &["the end", "\u{e9}end"], &["ends"]),
            (r"^[\b]$", &["\u{8}"], &["b"]),
            (
                r"^.$",
                &["x", "\u{85}", "\u{1f600}"],
                &["\r", "\n", "\u{2028}"],
            ),
            (r"^[^]$", &["\n", "x"], &[""]),
            (r"[]", &[], &["", "x"]),
            (r"^\u00e9\.[.]\/$", &["\u{e9}../"], &["\u{e9}x./"]),
            (r"^\p{L}+$", &["\u{e9}a"], &["1"]),
            (r"b", &["abc"], &["ac"]),
        ] {
            let compiled = Pattern::new(pattern).unwrap();
            for text in matching {
                assert!(compiled.is_match(text), "{pattern} {text:?}");
            }
            for text in others {
                assert!(!compiled.is_match(text), "{pattern} {text:?}");
            }
            assert_eq!(compiled.as_str(), pattern);
        }
        for wrong in ["(?=x)", "[0-9", r"(a)\1", "x{2", r"\"] {
            assert!(Pattern::new(wrong).is_err(), "{wrong}");
        }
    }
}
