//! The errors of `serde` in the words of whoever wrote the text that was read.

/// An error as `serde` tells it, such as "missing field `url` at line 1 column 9", in plain words: "`url` is missing (line 1,
/// column 9)". An error of another form stays as it is.
pub(crate) fn in_plain_words(error: &str) -> String {
    let (fault, place) = match error.split_once(" at line ") {
        Some((fault, place)) => (fault, place.replace(" column ", ", column ")),
        None => (error, String::new()),
    };
    let told = told(fault).unwrap_or_else(|| fault.to_owned());
    if place.is_empty() {
        told
    } else {
        format!("{told} (line {place})")
    }
}

fn told(fault: &str) -> Option<String> {
    if let Some(name) = fault.strip_prefix("missing field ") {
        return Some(format!("{name} is missing"));
    }
    if let Some(name) = fault.strip_prefix("duplicate field ") {
        return Some(format!("{name} is there twice"));
    }
    if let Some(unknown) = fault.strip_prefix("unknown field ") {
        let (name, known) = expected(unknown)?;
        return Some(format!("{name} means nothing here; there are {known}"));
    }
    if let Some(unknown) = fault.strip_prefix("unknown variant ") {
        let (word, known) = expected(unknown)?;
        return Some(format!("{word} is none of {known}"));
    }
    // An array can stand for an object, if it is long enough.
    if fault.starts_with("invalid length ") && fault.contains(", expected struct ") {
        return Some("an object is wanted, not an array".to_owned());
    }
    let wrong = fault.strip_prefix("invalid type: ");
    let wrong = wrong.or_else(|| fault.strip_prefix("invalid value: "))?;
    let (found, wanted) = wrong.rsplit_once(", expected ")?;
    Some(format!("{} is wanted, not {}", value(wanted), value(found)))
}

/// The found part, and the list of those that could be there.
fn expected(text: &str) -> Option<(&str, String)> {
    let (found, known) = text.split_once(", expected ")?;
    let known = known.strip_prefix("one of ").unwrap_or(known);
    Some((found, known.replace(" or ", ", ")))
}

/// A value, or a kind of values.
fn value(of: &str) -> String {
    let plain = match of {
        "map" | "a map" => "an object",
        "sequence" | "a sequence" => "an array",
        "null" | "unit value" => "null",
        "a string" => "a text",
        "a boolean" => "true or false",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, 0 or more",
        of if of.starts_with("struct ") => "an object",
        of => match of.split_once(' ') {
            Some(("string", text)) => return format!("the text {text}"),
            Some(("integer" | "floating", number)) => {
                let number = number.trim_start_matches("point ").trim_matches('`');
                return format!("the number {number}");
            }
            Some(("boolean", word)) => word.trim_matches('`'),
            _ => of,
        },
    };
    plain.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "lowercase")]
    #[expect(dead_code, reason = "it is read only")]
    struct OrderText {
        url: String,
        #[serde(default)]
        expect: Option<u16>,
        #[serde(default)]
        way: Option<Way>,
        #[serde(default)]
        items: Vec<OrderText>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Way {
        Up,
        Down,
    }

    #[test]
    fn each_error_is_told_in_plain_words() {
        for (text, told) in [
            ("{}", "`url` is missing (line 1, column 2)"),
            ("{\"url\":\"a\",\"url\":\"b\"}", "`url` is there twice"),
            (
                "{\"uri\":1}",
                "`uri` means nothing here; there are `url`, `expect`, `way`, `items`",
            ),
            ("{\"url\":1}", "a text is wanted, not the number 1"),
            ("{\"url\":-1.5}", "a text is wanted, not the number -1.5"),
            ("{\"url\":true}", "a text is wanted, not true"),
            ("{\"url\":null}", "a text is wanted, not null"),
            ("{\"url\":[]}", "a text is wanted, not an array"),
            (
                "{\"expect\":70000}",
                "a whole number from 0 to 65535 is wanted, not the number 70000",
            ),
            (
                "{\"expect\":\"200, expected x\"}",
                "a whole number from 0 to 65535 is wanted, not the text \"200, expected x\"",
            ),
            ("{\"way\":\"left\"}", "`left` is none of `up`, `down`"),
            ("{\"items\":{}}", "an array is wanted, not an object"),
            ("{\"items\":[1]}", "an object is wanted, not the number 1"),
            ("[]", "an object is wanted, not an array"),
            ("{\"url\"", "EOF while parsing an object"),
        ] {
            let error = serde_json::from_str::<OrderText>(text).unwrap_err();
            let found = in_plain_words(&error.to_string());
            assert!(found.starts_with(told), "{text}: {found}");
            assert!(found.contains(" (line 1, column "), "{text}: {found}");
        }
    }
}
