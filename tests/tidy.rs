//! Rules of the source tree that the compiler does not check: layers, names, length of files.
#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each room may use only rooms with a smaller number: the table of `src/ARCHITECTURE.md`.
const LAYERS: [(&str, u8); 25] = [
    ("misread", 0),
    ("num", 0),
    ("percent", 0),
    ("places", 0),
    ("plain_file", 0),
    ("certificates", 1),
    ("incidents", 1),
    ("descriptors", 1),
    ("memory_file", 1),
    ("supervision", 1),
    ("tokens", 1),
    ("record", 1),
    ("settings", 2),
    ("telemetry", 3),
    ("storage", 4),
    ("file_cache", 4),
    ("wire", 4),
    ("api", 5),
    ("backup", 5),
    ("request_handler", 5),
    ("admin", 5),
    ("listener", 6),
    ("app", 7),
    ("cli", 8),
    ("main", 8),
];
/// Rooms that may not use each other although their layers would allow it.
const STRANGERS: [(&str, &str); 1] = [("listener", "api")];
/// The most lines that a source may have.
const LONGEST: usize = 500;
const TOP_LEVEL: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "Dockerfile",
    "src",
    "config",
    "systemd",
    "tests",
];

struct Source {
    /// The path from the root of the repository, such as `src/storage/writer.rs`.
    path: String,
    text: String,
}

impl Source {
    fn room(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or_default();
        let room = inside.split('/').next().unwrap_or_default();
        room.strip_suffix(".rs").unwrap_or(room)
    }

    /// The lines without their comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(at, line)| (at + 1, without_comment(line)))
    }

    /// The names of the types that this source defines, but for those of its inline tests.
    fn types(&self) -> impl Iterator<Item = &str> {
        let product = self.text.split("\nmod tests {").next().unwrap_or_default();
        product.lines().filter_map(defined_type)
    }

    /// The lines whose code contains `word` as a whole word.
    fn names(&self, word: &str) -> Vec<String> {
        let named = self.code().filter(|(_, line)| has_word(line, word));
        named
            .map(|(at, line)| format!("{}:{at}: {}", self.path, line.trim()))
            .collect()
    }
}

/// The name of the struct, enum, trait or alias whose definition begins on this line. An alias within something else belongs to
/// a trait.
fn defined_type(line: &str) -> Option<&str> {
    let is_inner = line.starts_with(' ');
    let mut words = line.split_whitespace();
    let mut word = words.next()?;
    if word.starts_with("pub") {
        word = words.find(|word| !word.ends_with(')'))?;
    }
    let kind = ["struct", "enum", "trait"].contains(&word) || (word == "type" && !is_inner);
    let name = words.next().filter(|_| kind)?;
    let end = name.find(|c| !is_word(c)).unwrap_or(name.len());
    Some(&name[..end])
}

/// The line up to its `//`, unless that is part of an address such as `http://` in a string.
fn without_comment(line: &str) -> &str {
    let mut slashes = line.match_indices("//").map(|(at, _)| at);
    let comment = slashes.find(|at| !line[..*at].ends_with(':'));
    comment.map_or(line, |at| &line[..at])
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, into: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap();
            into.push(Source {
                path: path.to_str().unwrap().to_owned(),
                text,
            });
        }
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

fn layer(room: &str) -> Option<u8> {
    let known = LAYERS.iter().find(|(name, _)| *name == room);
    known.map(|(_, layer)| *layer)
}

/// Whether a source is compiled only for tests. These may use rooms above their own.
fn only_tests(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("tests/")
}

/// The rooms that a source names after `crate::`, also within braces.
fn used_rooms(source: &Source) -> BTreeSet<String> {
    let code: Vec<_> = source.code().map(|(_, line)| line).collect();
    let code = code.join("\n");
    let mut rooms = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        if code[..at]
            .chars()
            .next_back()
            .is_some_and(|c| is_word(c) || c == '$')
        {
            continue;
        }
        let rest = &code[at + found.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0_i32;
            let mut first = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => rooms.extend(Some(std::mem::take(&mut first))),
                    c if depth == 0 => first.push(c),
                    _ => {}
                }
            }
            rooms.insert(first);
        } else {
            rooms.insert(rest.chars().take_while(|c| is_word(*c)).collect());
        }
    }
    let names = rooms
        .iter()
        .map(|room| room.trim().split(':').next().unwrap_or_default());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_room_uses_only_lower_layers() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let room = source.room();
        if room == "lib" || only_tests(&source.path) {
            continue;
        }
        let Some(own) = layer(room) else {
            wrong.push(format!("{}: `{room}` has no layer", source.path));
            continue;
        };
        for used in used_rooms(&source) {
            if let Some(other) = layer(&used).filter(|_| used != room)
                && other >= own
            {
                wrong.push(format!("{} ({own}) uses {used} ({other})", source.path));
            }
            if STRANGERS.contains(&(room, used.as_str())) {
                wrong.push(format!("{} uses {used}", source.path));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Whether the source at this path may name a crate.
type Allowed = fn(&str) -> bool;

#[test]
fn crates_are_named_only_where_they_belong() {
    let rules: [(&str, Allowed); 4] = [
        ("actix_web", speaks_http),
        ("actix_http", speaks_http),
        ("sled", |path| path.starts_with("src/storage/sled/")),
        ("config", |path| path == "src/settings/load.rs"),
    ];
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (name, allowed) in rules {
            if !allowed(&source.path) {
                let paths = source.names(name).into_iter();
                wrong.extend(paths.filter(|line| names_crate(line, name)));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_engine_of_the_store_is_named_only_where_it_is_chosen() {
    let of_room = |source: &Source| {
        source.path.starts_with("src/storage/") && !source.path.starts_with("src/storage/sled")
    };
    let mut wrong = Vec::new();
    for source in sources("src").into_iter().filter(of_room) {
        wrong.extend(source.names("sled"));
    }
    assert_eq!(wrong, Vec::<String>::new(), "only src/storage.rs names it");
}

fn speaks_http(path: &str) -> bool {
    ["wire", "api", "admin"].iter().any(|room| {
        let file = path == format!("src/{room}.rs");
        file || path.starts_with(&format!("src/{room}/"))
    })
}

/// Whether the line names the crate: `name::` at the beginning of a path, or `use name;`.
fn names_crate(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let begins = line.match_indices(&path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(is_word)
            && !line[..at].ends_with("crate::")
            && !line[..at].ends_with("self::")
            && !line[..at].ends_with("super::")
    });
    begins || line.contains(&format!("use {name};")) || line.contains(&format!("use {name} as"))
}

#[test]
fn each_type_name_is_defined_once() {
    let mut paths = BTreeMap::<String, Vec<String>>::new();
    for source in sources("src") {
        if !only_tests(&source.path) {
            for name in source.types() {
                let defining = paths.entry(name.to_owned()).or_default();
                defining.push(source.path.clone());
            }
        }
    }
    paths.retain(|_, paths| paths.len() > 1);
    assert_eq!(paths, BTreeMap::new(), "give each type a name of its own");
}

#[test]
fn a_type_is_found_by_its_definition() {
    for line in [
        "struct Tree;",
        "    pub enum Tree<T> {",
        "pub(in crate::wire) trait Tree: Sized {",
        "pub(crate) struct Tree(u8);",
        "pub(super) type Tree<'a> = &'a str;",
    ] {
        assert_eq!(defined_type(line), Some("Tree"), "{line}");
    }
    for line in [
        "/// struct Tree",
        "fn tree() {",
        "pub(crate) use Tree;",
        "    type Tree = u8;",
        "",
        "pub fn tree() {}",
    ] {
        assert_eq!(defined_type(line), None, "{line}");
    }
}

/// The text of a line of a doc comment.
fn doc_text(line: &str) -> Option<&str> {
    let line = line.trim();
    let text = line.strip_prefix("///").or(line.strip_prefix("//!"));
    text.map(str::trim)
}

fn first_word(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap_or_default()
}

/// Whether a text begins like a question.
fn asks(text: &str) -> bool {
    const WORDS: [&str; 9] = [
        "Which", "Where", "What", "Who", "Whom", "Whose", "How", "When", "Why",
    ];
    WORDS.contains(&first_word(text))
}

/// Whether a line of a doc comment is a question and no more, such as "Which." or "What is served.".
fn is_question(line: &str) -> bool {
    let sentence = doc_text(line).and_then(|text| text.strip_suffix('.'));
    sentence.is_some_and(|text| asks(text) && !text.contains('.') && text.len() < 70)
}

/// Whether an item, which begins with the first of these lines, is of the type `bool` or returns one.
fn is_boolean(item: &[&str]) -> bool {
    let attribute = |line: &&&str| line.starts_with("#[") || doc_text(line).is_some();
    let begin = item.iter().take_while(attribute).count();
    let item = &item[begin..];
    let function = item.first().is_some_and(|line| has_word(line, "fn"));
    let ends: &[char] = if function {
        &['{', ';']
    } else {
        &['{', ';', ',']
    };
    let end = item.iter().position(|line| line.ends_with(ends));
    let head = item[..end.map_or(item.len(), |end| end + 1)].join(" ");
    let kind = if function {
        head.rsplit_once("->").map_or("", |(_, returned)| returned)
    } else {
        &head
    };
    has_word(kind, "bool") || has_word(kind, "AtomicBool")
}

/// The numbers of the lines with which doc comments of a source begin that ask instead of saying what a thing is. "Whether" begins
/// a question, too, but for what is true or false.
fn questions(text: &str) -> Vec<usize> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    let mut within = false;
    for (at, line) in lines.iter().enumerate() {
        let Some(text) = doc_text(line) else {
            within = false;
            continue;
        };
        let begins = !std::mem::replace(&mut within, true);
        let unclear = first_word(text) == "Whether" && !is_boolean(&lines[at..]);
        if is_question(line) || begins && (asks(text) || unclear) {
            found.push(at + 1);
        }
    }
    found
}

#[test]
fn doc_comments_say_what_a_thing_is() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let found = questions(&source.text).into_iter();
        wrong.extend(found.map(|at| format!("{}:{at}", source.path)));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_question_is_told_from_a_sentence() {
    for text in [
        "/// Which.",
        "    //! What is served.",
        "/// The rule.\n/// Why a write is refused.",
        "/// How long a very long time may become before it is too long for\n/// anybody. Never more.\nconst A: u8 = 1;",
        "/// Whether it is kept.\n#[derive(Debug)]\nenum Kept {\n    A(bool),\n}",
        "/// Whether it fits.\nfn fit(\n    a: bool,\n) -> Result<(), ()> {",
    ] {
        assert_eq!(questions(text).len(), 1, "{text}");
    }
    for text in [
        "/// The id.",
        "// Which.",
        "let a = 1;",
        "/// A thing.\n/// When it ends, it is removed. Never before.",
        "    /// Whether it is kept.\n    #[serde(default)]\n    pub kept: Option<bool>,",
        "/// Whether it fits, from here on.\nfn fit(\n    a: u8,\n) -> bool {",
    ] {
        assert_eq!(questions(text), [], "{text}");
    }
}

#[test]
fn no_todo_and_no_unsafe_is_left() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        for name in ["todo!", "unimplemented!", "dbg!"] {
            let found = source.code().filter(|(_, line)| line.contains(name));
            wrong.extend(found.map(|(at, _)| format!("{}:{at}: {name}", source.path)));
        }
        wrong.extend(source.names("unsafe"));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn sources_are_short_ascii_and_have_no_mod_rs() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let path = &source.path;
        let strange = source.text.lines().position(|line| !line.is_ascii());
        if let Some(at) = strange {
            wrong.push(format!("{path}:{}: not ASCII", at + 1));
        }
        if path.ends_with("/mod.rs") {
            wrong.push(format!("{path}: name it after its folder"));
        }
        let lines = source.text.lines().count();
        if lines > LONGEST && path.starts_with("src/") {
            wrong.push(format!("{path}: {lines} lines, more than {LONGEST}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_comment_is_removed_and_an_address_is_not() {
    assert_eq!(without_comment("let a = 1; // sled::"), "let a = 1; ");
    let code = "let a = \"http://x\"; sled::open(); ";
    assert_eq!(without_comment(&format!("{code}// why")), code);
}

#[test]
fn the_map_names_every_room() {
    let map = fs::read_to_string(root().join("src/ARCHITECTURE.md")).unwrap();
    for source in sources("src") {
        let room = source.room();
        let named = room == "lib" || map.contains(&format!("`{room}`"));
        assert!(named, "src/ARCHITECTURE.md does not name `{room}`");
    }
    for (room, layer) in LAYERS {
        let mut rows = map
            .lines()
            .filter(|line| line.starts_with(&format!("| {layer} |")));
        let told = rows.any(|row| row.contains(&format!("`{room}`")));
        assert!(
            told,
            "src/ARCHITECTURE.md does not put `{room}` on layer {layer}"
        );
    }
}

#[test]
fn each_decision_is_named_in_the_source_that_it_rules() {
    let text = fs::read_to_string(root().join("src/DECISIONS.md")).unwrap();
    let titles = text.lines().filter_map(|line| line.strip_prefix("### "));
    let titles: BTreeSet<_> = titles.map(str::to_owned).collect();
    let mut named = BTreeSet::new();
    for source in sources("src") {
        let comments = source.text.lines().map(str::trim_start);
        let comments = comments.filter_map(|line| line.strip_prefix("// Decision: "));
        named.extend(comments.map(|title| title.trim_end_matches('.').to_owned()));
    }
    assert!(
        titles.len() > 20,
        "src/DECISIONS.md has headings of level 3"
    );
    assert_eq!(named, titles);
}

#[test]
fn the_top_level_has_only_known_entries() {
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_str().unwrap();
        // Folders that the README's commands create and git ignores.
        let fine = name.starts_with('.') || ["target", "data", "logs"].contains(&name);
        assert!(fine || TOP_LEVEL.contains(&name), "what is {name} for?");
    }
}
