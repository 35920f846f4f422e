//! The operator's page: whether the daemon is ready, and every child. A script refreshes it; without the script it is a
//! page like any other.

use std::fmt::{self, Write as _};

use super::readiness::Part;
use crate::supervision::NodeView;
use crate::wire::escape_html;

/// The page loads nothing from elsewhere, and no other page may frame it.
pub(super) const SECURITY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The files that the page loads: path, type, content.
pub(super) const ASSETS: [(&str, &str, &str); 2] = [
    (
        "/page.css",
        "text/css; charset=utf-8",
        include_str!("page/page.css"),
    ),
    (
        "/page.js",
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    ),
];

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Perennial: what runs</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<header>
<h1>What runs</h1>
<nav aria-label="For programs">
<ul>
<li><a href="/readyz">/readyz</a></li>
<li><a href="/livez">/livez</a></li>
<li><a href="/supervisor">/supervisor</a></li>
<li><a href="/incidents">/incidents</a></li>
<li><a href="/metrics">/metrics</a></li>
</ul>
</nav>
<p id="age">As of when this page was loaded.</p>
</header>
<main>
"#;
const FOOT: &str = "</main>\n</body>\n</html>\n";

/// The page for this moment.
pub(super) fn html(root: Option<&NodeView>, parts: &[Part], settings: &[String]) -> String {
    let mut out = HEAD.to_owned();
    // Writing into a String does not fail.
    let _infallible = readiness(&mut out, parts);
    out.push_str("<h2>Settings</h2>\n");
    for line in settings {
        out.extend(["<p>", &escape_html(line), "</p>\n"]);
    }
    out.push_str("<h2>Supervisors and children</h2>\n<ul class=\"tree\">\n");
    let _infallible = root.map(|root| item(&mut out, root));
    out.push_str("</ul>\n");
    out.push_str(FOOT);
    out
}

fn readiness(out: &mut String, parts: &[Part]) -> fmt::Result {
    let faults: Vec<_> = parts
        .iter()
        .filter_map(|part| Some((&part.name, part.fault.as_ref()?)))
        .collect();
    out.push_str("<h2>Readiness</h2>\n");
    if parts.is_empty() {
        out.push_str("<p class=\"state starting\">Starting</p>\n");
    } else if faults.is_empty() {
        out.push_str("<p class=\"state good\">Ready: every part can serve.</p>\n");
    } else {
        out.push_str("<p class=\"state bad\">Not ready</p>\n<ul>\n");
        for (name, fault) in faults {
            writeln!(
                out,
                "<li>{}: {}</li>",
                escape_html(name),
                escape_html(fault)
            )?;
        }
        out.push_str("</ul>\n");
    }
    let busy = |part: &&Part| part.doing.is_some();
    for part in parts.iter().filter(busy) {
        let doing = part.doing.as_deref().unwrap_or_default();
        let (name, doing) = (escape_html(&part.name), escape_html(doing));
        writeln!(out, "<p>{name}: {doing}</p>")?;
    }
    Ok(())
}

/// A child, with those below it.
fn item(out: &mut String, node: &NodeView) -> fmt::Result {
    writeln!(
        out,
        "<li><div class=\"node\"><strong class=\"name\">{}</strong>\n<span class=\"state {state}\">{state}</span>",
        escape_html(&node.name),
        state = node.state,
    )?;
    let up = node.up_seconds.map_or_else(|| "-".to_owned(), duration);
    if let Some(change) = node.change {
        writeln!(out, "<span class=\"change\">{}</span>", change.as_str())?;
    }
    let queue = node.slot.as_ref();
    let queue = queue.map_or_else(|| "-".to_owned(), |slot| slot.queue_messages.to_string());
    for (term, value) in [
        ("up", up),
        ("generation", node.generation.to_string()),
        ("restarts", node.restarts_total().to_string()),
        ("queue", queue),
    ] {
        writeln!(out, "<dl><dt>{term}</dt> <dd>{value}</dd></dl>")?;
    }
    if let Some(last) = &node.last_exit {
        let last = escape_html(last);
        writeln!(
            out,
            "<span class=\"last\">the incarnation before ended: {last}</span>"
        )?;
    }
    out.push_str("</div>\n");
    if !node.children.is_empty() {
        out.push_str("<ul>\n");
        for child in &node.children {
            item(out, child)?;
        }
        out.push_str("</ul>\n");
    }
    out.write_str("</li>\n")
}

/// Seconds as people read them: `12 s`, `5 min`, `3 h`, `8 d`.
fn duration(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= 2.0 * unit);
    let (unit, name) = unit.unwrap_or((1.0, "s"));
    format!("{:.0} {name}", (seconds / unit).floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_it_has_at_least_two_of() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (119.9, "119 s"),
            (120.0, "2 min"),
            (7_200.0, "2 h"),
            (200_000.0, "2 d"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn what_a_part_says_is_text_and_not_html() {
        let part = |name: &str, fault: Option<&str>| Part {
            name: name.to_owned(),
            fault: fault.map(str::to_owned),
            doing: fault.map(|_| "mending <it>".to_owned()),
        };
        let page = html(
            None,
            &[part("storage", Some("<b>&")), part("listeners", None)],
            &["of <a>".to_owned()],
        );
        assert!(page.contains("<p>of &lt;a&gt;</p>"), "{page}");
        assert!(page.contains("<li>storage: &lt;b&gt;&amp;</li>"), "{page}");
        assert!(
            page.contains("<p>storage: mending &lt;it&gt;</p>"),
            "{page}"
        );
        assert!(!page.contains("<li>listeners"), "{page}");
        assert!(html(None, &[part("storage", None)], &[]).contains("Ready"));
        assert!(html(None, &[], &[]).contains("Starting"));
    }
}
