//! The operator's page: the tree, as a table that reloads itself.

use std::fmt::Write as _;

use crate::supervision::NodeView;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2>\
<meta name=viewport content=\"width=device-width\"><title>Perennial: what runs</title><style>\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}\
.running{color:#2a8a3e}.backoff,.down,.ended{color:#c33}.starting,.stopping{color:#b80}td.n{text-align:right}\
</style><h1>What runs</h1><p><a href=/supervisor>/supervisor</a> &middot; <a href=/readyz>/readyz</a> &middot; \
<a href=/livez>/livez</a> &middot; <a href=/metrics>/metrics</a></p><table>\
<tr><th>Part<th>State<th>Up<th>Life<th>Restarts<th>Queue<th>Last exit</tr>";

/// The page for this moment.
pub(super) fn html(root: Option<&NodeView>) -> String {
    let mut out = HEAD.to_owned();
    if let Some(root) = root {
        rows(&mut out, root, 0);
    }
    out.push_str("</table></html>");
    out
}

fn rows(out: &mut String, node: &NodeView, depth: usize) {
    let up = node
        .up_seconds
        .map(|up| format!("{up:.0} s"))
        .unwrap_or_default();
    let queue = node
        .slot
        .as_ref()
        .map(|slot| slot.queue_messages.to_string())
        .unwrap_or_default();
    let last = node.last_exit.as_deref().unwrap_or_default();
    // Writing into a String does not fail.
    let _infallible = write!(
        out,
        "<tr><td style=\"padding-left:{}rem\">{}<td class={state}>{state}<td>{up}<td>{}<td>{}<td>{queue}<td>{}</tr>",
        depth * 2,
        escape(&node.name),
        node.generation,
        node.restarts_total(),
        escape(last),
        state = node.state,
    );
    for child in &node.children {
        rows(out, child, depth + 1);
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
