//! The cases of `tests/golden/wire`: what a client sends, and what it must get back. They are texts in ASCII, line by line:
//!
//! | line | meaning |
//! | --- | --- |
//! | `# text` | a comment |
//! | `let name = bytes` | from here to the end of the file, `${name}` stands for these bytes |
//! | `case name` | a case begins; the name is unique |
//! | `rule 9112 6.3` | the RFC and the section that decide |
//! | `> bytes` | the client sends this, without a line end |
//! | `end` | the client closes its side |
//! | `< 400 chunk_size` | the client gets this status; the label is that of the broken rule |
//! | `< 200 no-body` | the client gets this status, and no body although the answer tells a length |
//! | `early` | in pieces, an answer may come before the end of its chunked body; then it closes the connection, and is the last |
//! | `open` | the case ends; the connection takes another request |
//! | `close` | the case ends; the server closes the connection |
//!
//! Bytes have the escapes `\r`, `\n`, `\t`, `\\`, `\x00` and `\(bytes*300)`, which repeats the bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// One case.
#[derive(Debug, Clone, Default)]
pub(crate) struct WireCase {
    /// The file and the name.
    pub(crate) name: String,
    /// The RFC and the section.
    pub(crate) rule: String,
    pub(crate) steps: Vec<WireStep>,
    /// Whether an answer that comes before the end of its body may be the last, if the client sends pieces.
    pub(crate) early: bool,
    /// Whether the connection takes another request afterwards.
    pub(crate) open: bool,
}

/// One step of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WireStep {
    /// The client sends bytes.
    Send(Vec<u8>),
    /// The client closes its side.
    End,
    /// The client gets an answer.
    Want(WantedAnswer),
}

/// The answer that a client must get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WantedAnswer {
    pub(crate) status: u16,
    /// Whether the body is missing although the answer tells its length.
    pub(crate) no_body: bool,
    /// The label of the rule for which the message is refused.
    pub(crate) fault: Option<String>,
}

impl WireCase {
    /// The answers that the client must get.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &WantedAnswer> {
        self.steps.iter().filter_map(|step| match step {
            WireStep::Want(wanted) => Some(wanted),
            WireStep::Send(_) | WireStep::End => None,
        })
    }
}

/// Reads all cases.
pub(crate) fn wire_cases() -> Vec<WireCase> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wire");
    let files = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let stem = file.file_stem().unwrap().to_string_lossy();
        assert!(text.is_ascii(), "{stem} is not ASCII");
        read_cases(&stem, &text, &mut cases);
    }
    cases
}

fn read_cases(file: &str, text: &str, cases: &mut Vec<WireCase>) {
    let mut names = BTreeMap::new();
    let mut case: Option<WireCase> = None;
    for (at, line) in text.lines().enumerate() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let place = format!("{file}:{}: {line}", at + 1);
        if word == "let" {
            let (name, value) = rest.split_once(" = ").expect(&place);
            let value = replace_names(value, &names);
            names.insert(name.to_owned(), value);
            continue;
        }
        if word == "case" {
            assert!(case.is_none(), "the case before has no end: {place}");
            case = Some(WireCase {
                name: format!("{file}: {rest}"),
                ..WireCase::default()
            });
            continue;
        }
        if word.is_empty() || word.starts_with('#') {
            continue;
        }
        let current = case.as_mut().expect(&place);
        match word {
            "rule" => rest.clone_into(&mut current.rule),
            ">" => {
                let bytes = unescape(&replace_names(rest, &names), &place);
                current.steps.push(WireStep::Send(bytes));
            }
            "early" => current.early = true,
            "end" => current.steps.push(WireStep::End),
            "<" => current.steps.push(WireStep::Want(wanted(rest, &place))),
            "open" | "close" => {
                current.open = word == "open";
                cases.extend(case.take());
            }
            _ => panic!("not a line of a case: {place}"),
        }
    }
    assert!(case.is_none(), "{file}: the last case has no end");
}

fn wanted(text: &str, place: &str) -> WantedAnswer {
    let mut words = text.split(' ');
    let status = words.next().and_then(|word| word.parse().ok());
    let mut wanted = WantedAnswer {
        status: status.expect(place),
        no_body: false,
        fault: None,
    };
    for word in words {
        if word == "no-body" {
            wanted.no_body = true;
        } else {
            wanted.fault = Some(word.to_owned());
        }
    }
    wanted
}

fn replace_names(text: &str, names: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (name, value) in names {
        text = text.replace(&format!("${{{name}}}"), value);
    }
    text
}

fn unescape(text: &str, place: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest.as_bytes().get(at + 1).expect(place);
        rest = rest.get(at + 2..).expect(place);
        match escape {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                let digits = rest.get(..2).expect(place);
                bytes.push(u8::from_str_radix(digits, 16).expect(place));
                rest = rest.get(2..).expect(place);
            }
            b'(' => {
                let (inner, after) = rest.split_once(')').expect(place);
                let (what, times) = inner.rsplit_once('*').expect(place);
                let times = times.parse().expect(place);
                bytes.extend(unescape(what, place).repeat(times));
                rest = after;
            }
            _ => panic!("not an escape: {place}"),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
