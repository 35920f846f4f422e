//! Some members of a stored record, read without the others.
//!
//! A stored text was made by this program and its check sum was right, so it is not examined again: a member that nobody asks for
//! is passed over, a string by its quotes, an object or an array by its brackets.

use serde_json::{Map, Value};

use super::json::{self, string_bytes};

/// Puts the members that have these names, each of which is there once, into `found`, and nothing else; `None` if the text is not
/// in the form in which records are stored, without blanks. A map that was used before has room already.
pub(super) fn read_some(
    text: &[u8],
    names: &[String],
    found: &mut Map<String, Value>,
) -> Option<()> {
    found.clear();
    if text == b"{}" {
        return Some(());
    }
    let mut rest = text.strip_prefix(b"{")?;
    while found.len() < names.len() {
        let (name, after) = string(rest)?;
        let after = after.strip_prefix(b":")?;
        let (value, after) = after.split_at_checked(value_bytes(after)?)?;
        if let Some(wanted) = names.iter().find(|wanted| is_text(name, wanted)) {
            found.insert(wanted.clone(), json::parse(value).ok()?);
        }
        rest = match after.split_first()? {
            (b',', rest) => rest,
            (b'}', []) => break,
            _ => return None,
        };
    }
    Some(())
}

/// The string that begins a text, with its quotes, and the rest.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    text.starts_with(b"\"")
        .then(|| text.split_at_checked(string_bytes(text)))?
}

/// Whether a string in JSON is this text.
fn is_text(string: &[u8], text: &str) -> bool {
    let inner = string.get(1..string.len().saturating_sub(1));
    inner == Some(text.as_bytes())
        || string.contains(&b'\\')
            && serde_json::from_slice::<String>(string).is_ok_and(|read| read == text)
}

/// The length of the value that begins a text.
fn value_bytes(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => Some(string_bytes(text)),
        b'{' | b'[' => nested_bytes(text),
        _ => text.iter().position(|byte| b",}]".contains(byte)),
    }
}

/// The length of the object or array that begins a text.
fn nested_bytes(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        let rest = text.get(at..)?;
        match rest.first()? {
            b'"' => at += string_bytes(rest),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_of(text: &[u8], names: &[String]) -> Option<Map<String, Value>> {
        let mut found = Map::from_iter([("of another record".to_owned(), Value::Null)]);
        read_some(text, names, &mut found).map(|()| found)
    }

    /// The members with these names, as a reader of the whole text sees them.
    fn of_whole(text: &str, names: &[String]) -> Map<String, Value> {
        let whole: Map<String, Value> = serde_json::from_str(text).unwrap();
        let has_name = |(name, _): &(String, Value)| names.contains(name);
        whole.into_iter().filter(has_name).collect()
    }

    #[test]
    fn the_members_that_are_asked_for_are_those_of_the_whole_text() {
        let texts = [
            "{}",
            r#"{"a":1}"#,
            r#"{"b":"x\"},{\\","a":-1.5e3}"#,
            r#"{"a":{"a":["}",{"b":"]"}],"b":"\\"},"b":[[],{}],"c":null}"#,
            "{\"\\\"\":1,\"\\u00e4\":true,\"\u{e4}\":\"not the same name\",\"a\\\\\":\"\",\"\\u0061\":2}",
            r#"{"c":false,"b":"","a":[1,"a\\\\\"",[2]]}"#,
        ];
        let names = ["a", "b", "c", "\"", "a\\", "\u{e4}", ""];
        for text in texts {
            for several in 0..1 << names.len() {
                let chosen = (0..names.len()).filter(|at| several >> at & 1 == 1);
                let chosen: Vec<_> = chosen.map(|at| names[at].to_owned()).collect();
                let found = some_of(text.as_bytes(), &chosen);
                // This letter is written in two ways, which no stored text has.
                if text.contains("00e4") && chosen.iter().any(|name| name == "\u{e4}") {
                    continue;
                }
                assert_eq!(found, Some(of_whole(text, &chosen)), "{text} {chosen:?}");
            }
        }
    }

    #[test]
    fn a_text_of_another_form_is_left_to_others() {
        let names = ["z".to_owned()];
        for text in [
            "",
            "[]",
            "{",
            " {}",
            "{ }",
            r#"{"a" :1}"#,
            r#"{"a":1,}"#,
            r#"{"a":1"#,
            r#"{"a"}"#,
            r#"{"a":[}"#,
            r#"{"a":"}"#,
            r#"{"a":1}}"#,
            r#"{"a":1} "#,
            r"{1:2}",
            r#"{"z":x}"#,
        ] {
            assert_eq!(some_of(text.as_bytes(), &names), None, "{text}");
        }
    }
}
