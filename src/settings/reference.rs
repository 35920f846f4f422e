//! `config/reference.toml` and the defaults, both made from the table of keys.

use super::keys::{Applied, KEYS, Key};

/// An example of the fields of a resource.
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
released = { type = "date" }                                    # RFC 3339, such as 2026-11-24; default = "now" is the day of the write
played   = { type = "datetime" }                                # RFC 3339, such as 2026-11-24T16:00:00Z; also default = "now"
state    = { type = "enum", values = ["draft", "listed"], default = "draft" }
key      = { type = "uuid", default = "uuid", read_only = true } # a new one for each record; no client can change it
created  = { type = "datetime", generated = "created" }         # the time of the creation; "updated" of the last write
tags     = { type = "array", items = "string", default = [], max_length = 20 }
artist   = { type = "object", fields = { name = { type = "string", required = true }, born = { type = "integer" } } }
"#;

/// The defaults as TOML; also of a route at `/`, if there is none else.
pub(super) fn defaults(no_route: bool) -> String {
    let mut out = String::new();
    let flat = KEYS.iter().filter(|key| !key.is_named());
    for key in flat.filter(|key| key.has_default && key.has_field()) {
        out.extend([key.path, " = ", key.value, "\n"]);
    }
    if no_route {
        out.push_str("[route.\"/\".files]\n");
        named(&mut out, "route.*.files.");
    }
    out
}

/// The manual of settings: every key that is available, with its meaning and default.
pub fn reference() -> String {
    let mut out = String::from(
        "# Every setting there is, with its default. Durations are written \"500ms\", \"5s\", \"2m\"; sizes \"16 KiB\", \"1 MiB\".\n\
         # Relative paths are relative to the working folder; those of include to the file that includes.\n\
         # PERENNIAL__SERVER__ADMIN=... in the environment overrides server.admin, and so on for every key of this part.\n\
         # A reload applies a changed value while the daemon runs. At a key with (replaced), the parts that use it are replaced by new\n\
         # ones; at a key with (restart), the change is refused until the daemon is started again.\n",
    );
    let mut table = "";
    for key in KEYS.iter().filter(|key| !key.is_named()) {
        let (above, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if above != table {
            // A table that is there has to be complete.
            let mark = if is_optional(above) { "# " } else { "" };
            out.extend(["\n", mark, "[", above, "]\n"]);
            table = above;
        }
        entry(&mut out, key, name);
    }
    out.push_str(
        "\n# One more certificate, under a name of your choice.\n[tls.certificate.shop]\n",
    );
    named(&mut out, "tls.certificate.*.");
    out.push_str("\n# A route for each path prefix; the longest prefix wins.\n[route.\"/\"]\n");
    named(&mut out, "route.*.");
    out.push_str("\n[route.\"/\".files]\n");
    named(&mut out, "route.*.files.");
    out.push_str("\n# A resource: a JSON API at its path, here /books.\n[resource.books]\n");
    named(&mut out, "resource.*.");
    out.push_str(FIELDS);
    out.push_str("\n# A key that clients show; access names it as key:ci.\n# [auth.keys.ci]\n");
    named(&mut out, "auth.keys.*.");
    out.push_str("\n# A user with a password; access names it as basic:ann.\n# [auth.users.ann]\n");
    named(&mut out, "auth.users.*.");
    out
}

/// Whether a table may be left out.
fn is_optional(table: &str) -> bool {
    table == "auth.jwt"
}

/// The keys below `prefix`, except for those of a folder, which has a table of its own.
fn named(out: &mut String, prefix: &str) {
    for key in KEYS {
        let name = key.path.strip_prefix(prefix);
        if let Some(name) = name.filter(|name| !name.starts_with("files.")) {
            entry(out, key, name);
        }
    }
}

/// A key without a default is shown by an example, as a comment.
fn entry(out: &mut String, key: &Key, name: &str) {
    let mark = if key.has_default { "" } else { "# " };
    let applied = match key.applied {
        Applied::Live => "",
        Applied::Replaced => " (replaced)",
        Applied::Restart => " (restart)",
    };
    out.extend([
        "# ", key.doc, applied, "\n", mark, name, " = ", key.value, "\n",
    ]);
}
