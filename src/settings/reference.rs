//! `config/reference.toml` and the defaults, both made from the table of keys.

use std::fmt::Write as _;

use super::keys::{KEYS, Key};
use super::kind::Kind;

/// How the fields of a resource are declared, by example.
const FIELDS: &str = r#"
# A resource whose records have these fields and no others; every record has an id beside them. A field that is not required
# may be absent or null. Lengths are in characters or items; patterns are regular expressions that take linear time.
[resource.albums]
access = "public"
[resource.albums.fields]
title    = { type = "string", required = true, min_length = 1, max_length = 200 }
barcode  = { type = "string", pattern = '^[0-9]{13}$' }
year     = { type = "integer", min = 0, max = 3000 }
price    = { type = "number", min = 0 }
on_sale  = { type = "boolean", default = false }
released = { type = "datetime" }                                # RFC 3339, such as 2026-11-24T16:00:00Z
tags     = { type = "array", items = "string", default = [], max_length = 20 }
artist   = { type = "object", fields = { name = { type = "string", required = true }, born = { type = "integer" } } }
"#;

/// What an empty file means, as TOML.
pub(super) fn defaults() -> String {
    let flat = KEYS
        .iter()
        .filter(|key| key.available() && !key.path.contains('*'));
    let mut out = String::new();
    for key in flat.filter(|key| !key.default.is_empty()) {
        line(&mut out, format_args!("{} = {}", key.path, key.default));
    }
    // Tables whose keys have no default must still be there.
    out
}

/// The manual of settings: every key that is available, with its meaning and default.
pub fn reference() -> String {
    let mut out = String::from(
        "# Every setting there is, with its default. Durations are written \"500ms\", \"5s\", \"2m\"; sizes \"16 KiB\", \"1 MiB\".\n\
         # Relative paths are relative to the working folder; those of include to the file that includes.\n\
         # PERENNIAL__SERVER__ADMIN=... in the environment overrides server.admin, and so on for every key of this part.\n",
    );
    let mut table = "";
    for key in KEYS
        .iter()
        .filter(|key| key.available() && !key.path.contains('*'))
    {
        let (above, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if above != table {
            line(&mut out, format_args!("\n[{above}]"));
            table = above;
        }
        entry(&mut out, key, name, key.default);
    }
    out.push_str(
        "\n# A static route for each path prefix; the longest prefix wins.\n[route.\"/\"]\n",
    );
    named(&mut out, "route.*.", &[]);
    out.push_str("\n[route.\"/\".files]\n");
    named(&mut out, "route.*.files.", &[("root", "\"public\"")]);
    out.push_str("\n# A resource: a JSON API at its path, here /books.\n[resource.books]\n");
    named(
        &mut out,
        "resource.*.",
        &[("path", "\"/books\""), ("access", "\"public\"")],
    );
    out.push_str(FIELDS);
    out
}

fn named(out: &mut String, prefix: &str, examples: &[(&str, &str)]) {
    for key in KEYS.iter().filter(|key| key.available()) {
        let name = key.path.strip_prefix(prefix);
        let Some(name) = name.filter(|name| !name.contains('.')) else {
            continue;
        };
        let example = examples
            .iter()
            .find(|(of, _)| *of == name)
            .map(|(_, value)| *value);
        entry(out, key, name, example.unwrap_or(key.default));
    }
}

fn entry(out: &mut String, key: &Key, name: &str, value: &str) {
    line(out, format_args!("# {}", key.doc));
    if value.is_empty() {
        line(out, format_args!("# {name} = {}", sample(key.kind)));
    } else {
        line(out, format_args!("{name} = {value}"));
    }
}

/// What the value of a key without a default looks like.
fn sample(kind: Kind) -> &'static str {
    match kind {
        Kind::Headers => "{ X-Frame-Options = \"DENY\" }",
        Kind::CacheRules => {
            "{ \"/assets/**\" = \"public, max-age=31536000, immutable\", \"**\" = \"no-cache\" }"
        }
        Kind::ErrorPages => "{ 404 = \"/404.html\" }",
        Kind::ContentTypes => "{ \".geojson\" = \"application/geo+json\" }",
        Kind::Integer(..) | Kind::AutoOr(..) => "1",
        Kind::Bool
        | Kind::Filter
        | Kind::Path
        | Kind::FileName
        | Kind::Number(..)
        | Kind::Duration(..)
        | Kind::Size(..)
        | Kind::AutoOrSize(..)
        | Kind::Choice(..)
        | Kind::Address
        | Kind::Listen
        | Kind::Listens
        | Kind::Include
        | Kind::Includes
        | Kind::UrlPath
        | Kind::Access
        | Kind::Fields
        | Kind::MediaType
        | Kind::MediaTypes
        | Kind::Host
        | Kind::Hosts
        | Kind::Anything => "\"...\"",
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String does not fail.
    let _infallible = writeln!(out, "{text}");
}
