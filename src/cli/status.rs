//! `perennial status`: the tree of a running daemon, as text.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Exit, admin_client, complain, print};

pub(super) fn run(admin: &str, json: bool) -> Exit {
    let body = match admin_client::get(admin, "/supervisor") {
        Ok(body) => body,
        Err(error) => {
            complain(&error);
            return Exit::Unavailable;
        }
    };
    match serde_json::from_slice::<Value>(&body) {
        Ok(tree) => {
            let drawn = if json {
                format!("{tree:#}\n")
            } else {
                text(&tree)
            };
            print(&drawn)
        }
        Err(error) => {
            complain(&error);
            Exit::Failed
        }
    }
}

/// The tree with one line a node.
fn text(root: &Value) -> String {
    let mut rows = Vec::new();
    collect(root, "", "", &mut rows);
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for (name, facts) in rows {
        // Writing into a String does not fail.
        let _infallible = writeln!(out, "{name:width$}  {facts}");
    }
    let mut exits = Vec::new();
    collect_exits(root, &mut exits);
    // The times are in RFC 3339 and UTC, so their order is that of their texts.
    exits.sort();
    if !exits.is_empty() {
        out.push_str("\nlast exits:\n");
    }
    for exit in exits {
        out.push_str(&exit);
        out.push('\n');
    }
    out
}

fn collect(node: &Value, before: &str, below: &str, rows: &mut Vec<(String, String)>) {
    let name = node.get("name").and_then(Value::as_str).unwrap_or("?");
    rows.push((format!("{before}{name}"), facts(node)));
    let children = node
        .get("children")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    for (n, child) in children.iter().enumerate() {
        let (mark, pad) = if n + 1 == children.len() {
            ("`-- ", "    ")
        } else {
            ("|-- ", "|   ")
        };
        collect(
            child,
            &format!("{below}{mark}"),
            &format!("{below}{pad}"),
            rows,
        );
    }
}

/// One line for each exit that the daemon remembers, the time first.
fn collect_exits(node: &Value, lines: &mut Vec<String>) {
    let list = |key: &str| {
        node.get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let word = |of: &Value, key: &str| {
        let word = of.get(key).and_then(Value::as_str);
        word.unwrap_or("?").to_owned()
    };
    for exit in list("exits") {
        let delay = exit.get("restart_delay_seconds").and_then(Value::as_f64);
        let next = delay.map_or_else(
            || "not restarted for it".to_owned(),
            |delay| format!("restarted after {delay:.3}s"),
        );
        lines.push(format!(
            "{}  {}  life {}  {}, {next}",
            word(exit, "at"),
            word(node, "name"),
            exit.get("generation").and_then(Value::as_u64).unwrap_or(0),
            word(exit, "reason"),
        ));
    }
    for child in list("children") {
        collect_exits(child, lines);
    }
}

fn facts(node: &Value) -> String {
    let word = |key: &str| {
        node.get(key)
            .and_then(Value::as_str)
            .unwrap_or("?")
            .to_owned()
    };
    let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or(0);
    let restarts: u64 = node
        .get("restarts")
        .and_then(Value::as_object)
        .map_or(0, |by_cause| {
            by_cause.values().filter_map(Value::as_u64).sum()
        });
    let mut facts = format!("{:8}", word("state"));
    if let Some(up) = node.get("up_seconds").and_then(Value::as_f64) {
        let _infallible = write!(facts, "  up {up:.1}s");
    }
    let _infallible = write!(facts, "  life {}", number(node.get("generation")));
    let _infallible = write!(facts, "  restarts {restarts}");
    if let Some(slot) = node.get("slot") {
        let _infallible = write!(facts, "  queue {}", number(slot.get("queue_messages")));
    }
    if let Some(last) = node.get("last_exit").and_then(Value::as_str) {
        let _infallible = write!(facts, "  last: {last}");
        if let Some(at) = node.get("last_exit_at").and_then(Value::as_str) {
            let _infallible = write!(facts, " ({at})");
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_drawn_with_a_line_a_node() {
        let leaf =
            |name: &str| serde_json::json!({"name": name, "state": "running", "generation": 1});
        let tree = serde_json::json!({"name": "root", "state": "running", "generation": 1,
            "children": [{"name": "a", "state": "running", "generation": 1, "children": [leaf("b")]}, leaf("c")]});
        let text = text(&tree);
        let starts = ["root ", "|-- a ", "|   `-- b ", "`-- c "];
        assert!(
            text.lines()
                .zip(starts)
                .all(|(line, start)| line.starts_with(start)),
            "{text}"
        );
        assert_eq!(text.lines().count(), starts.len());
    }

    #[test]
    fn exits_are_listed_below_the_tree_in_the_order_of_their_times() {
        let exit = |at: &str, reason: &str, delay: Option<f64>| {
            serde_json::json!({"at": at, "generation": 3,
            "cause": "panic", "reason": reason, "restart_delay_seconds": delay})
        };
        let late = exit("2026-11-28T19:00:01.000Z", "panic: late", Some(0.01));
        let early = exit("2026-11-28T18:59:59.500Z", "shutdown", None);
        let tree = serde_json::json!({"name": "root", "state": "running", "generation": 1, "children": [
            {"name": "a", "state": "running", "generation": 4, "last_exit": "panic: late",
             "last_exit_at": "2026-11-28T19:00:01.000Z", "exits": [late]},
            {"name": "b", "state": "ended", "generation": 3, "exits": [early]}]});
        let text = text(&tree);
        assert!(
            text.contains("last: panic: late (2026-11-28T19:00:01.000Z)"),
            "{text}"
        );
        let listed: Vec<_> = text
            .lines()
            .skip_while(|line| *line != "last exits:")
            .skip(1)
            .collect();
        assert_eq!(
            listed,
            [
                "2026-11-28T18:59:59.500Z  b  life 3  shutdown, not restarted for it",
                "2026-11-28T19:00:01.000Z  a  life 3  panic: late, restarted after 0.010s",
            ]
        );
    }
}
