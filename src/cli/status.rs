//! `perennial status`: the tree of a running daemon, as text.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Exit, admin_client, complain, print};
use crate::admin::ReloadStatus;
use crate::incidents::Incident;
use crate::supervision::{ExitView, NodeView};

/// The most incidents that are shown; `/incidents` has all that are kept.
const INCIDENTS_SHOWN: usize = 5;

pub(super) fn run(admin: &str, json: bool) -> Exit {
    let body = match admin_client::get(admin, "/supervisor") {
        Ok(body) => body,
        Err(error) => return complain(&error, Exit::Unavailable),
    };
    let drawn = if json {
        serde_json::from_slice(&body).map(|tree: Value| format!("{tree:#}\n"))
    } else {
        serde_json::from_slice(&body)
            .map(|root| text(&root) + &told(&body) + &readiness(admin) + &incidents(admin))
    };
    match drawn {
        Ok(drawn) => print(&drawn),
        Err(error) => complain(&error, Exit::Failed),
    }
}

/// The settings in force, how they were last read, and how far back the store can be restored.
fn told(supervisor: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct ToldOfDaemon {
        settings: Option<ReloadStatus>,
        store: Option<Oldest>,
        #[serde(default)]
        listeners: Vec<ListenerUrl>,
        #[serde(default)]
        certificates: Vec<CertificateInForce>,
    }
    #[derive(serde::Deserialize)]
    struct ListenerUrl {
        url: String,
        tls: bool,
    }
    #[derive(serde::Deserialize)]
    struct CertificateInForce {
        name: String,
        hosts: Vec<String>,
        until: String,
    }
    #[derive(serde::Deserialize)]
    struct Oldest {
        oldest_change: u64,
        oldest_time: Option<String>,
    }
    let Ok(ToldOfDaemon {
        settings,
        store,
        listeners,
        certificates,
    }) = serde_json::from_slice(supervisor)
    else {
        return String::new();
    };
    let urls = listeners.into_iter().map(|ListenerUrl { url, tls }| {
        // The URL of a unix socket does not say it.
        let tls = if tls && !url.starts_with("https") {
            " (TLS)"
        } else {
            ""
        };
        format!("{url}{tls}")
    });
    let urls: Vec<_> = urls.collect();
    let listening = (!urls.is_empty()).then(|| format!("listening: {}\n", urls.join(", ")));
    let certificates = certificates.into_iter().map(|certificate| {
        let CertificateInForce { name, hosts, until } = certificate;
        format!("certificate {name}: {}, until {until}\n", hosts.join(", "))
    });
    let certificates: String = certificates.collect();
    let settings = settings.map(|settings| format!("settings: {}\n", settings.lines().join("\n")));
    let store = store.map(|oldest| {
        let time = oldest.oldest_time;
        let time = time.map_or_else(String::new, |time| format!(", of {time}"));
        let change = oldest.oldest_change;
        format!("store: can be restored to any change from {change} on{time}\n")
    });
    let lines = [settings, listening, Some(certificates), store];
    let lines: String = lines.into_iter().flatten().collect();
    if lines.is_empty() {
        lines
    } else {
        format!("\n{lines}")
    }
}

/// The parts that can't serve, and the work that is under way.
fn readiness(admin: &str) -> String {
    let body = match admin_client::get(admin, "/readyz") {
        Ok(body) => body,
        Err(error) => return format!("\n{error}\n"),
    };
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let doing = answer.get("doing").and_then(Value::as_object);
    let mut out = String::new();
    for (part, doing) in doing.into_iter().flatten() {
        let doing = doing.as_str().unwrap_or_default();
        // Writing into a String does not fail.
        let _infallible = writeln!(out, "\n{part}: {doing}");
    }
    out
}

/// The last incidents, if the daemon tells of any.
fn incidents(admin: &str) -> String {
    #[derive(Default, serde::Deserialize)]
    struct Listed {
        incidents: Vec<Incident>,
    }
    let body = admin_client::get(admin, "/incidents").unwrap_or_default();
    let listed: Listed = serde_json::from_slice(&body).unwrap_or_default();
    let newest = listed.incidents.len().saturating_sub(INCIDENTS_SHOWN);
    let mut out = String::new();
    for incident in listed.incidents.iter().skip(newest) {
        if out.is_empty() {
            out.push_str("\nlast incidents:\n");
        }
        out.push_str(&incident_line(incident));
    }
    out
}

fn incident_line(incident: &Incident) -> String {
    let file = incident.file.as_ref();
    let file = file.map_or_else(String::new, |file| format!(" ({file})"));
    let lasted = if incident.seconds > 0.0 {
        format!(" after {:.3}s", incident.seconds)
    } else {
        String::new()
    };
    format!(
        "{}  {}  {}{file}; {}{lasted}\n",
        incident.at, incident.part, incident.what, incident.done
    )
}

/// The tree with one line a node.
fn text(root: &NodeView) -> String {
    let mut rows = Vec::new();
    collect(root, "", "", &mut rows);
    let lengths = rows.iter().map(|(name, _)| name.chars().count());
    let width = lengths.max().unwrap_or(0);
    let mut out = String::new();
    for (name, facts) in rows {
        // Writing into a String does not fail.
        let _infallible = writeln!(out, "{name:width$}  {facts}");
    }
    let nodes = root.walk().into_iter();
    let exits = nodes.flat_map(|node| node.exits.iter().map(|exit| exit_line(node, exit)));
    let mut exits: Vec<_> = exits.collect();
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

fn collect(node: &NodeView, before: &str, below: &str, rows: &mut Vec<(String, String)>) {
    rows.push((format!("{before}{}", node.name), facts(node)));
    for (n, child) in node.children.iter().enumerate() {
        let (mark, pad) = if n + 1 == node.children.len() {
            ("`-- ", "    ")
        } else {
            ("|-- ", "|   ")
        };
        let (before, below) = (format!("{below}{mark}"), format!("{below}{pad}"));
        collect(child, &before, &below, rows);
    }
}

/// The line of one exit, the time first.
fn exit_line(node: &NodeView, exit: &ExitView) -> String {
    let next = exit.restart_delay_seconds.map_or_else(
        || "not restarted for it".to_owned(),
        |delay| format!("restarted after {delay:.3}s"),
    );
    format!(
        "{}  {}  generation {}  {}, {next}",
        exit.at, node.name, exit.generation, exit.reason,
    )
}

fn facts(node: &NodeView) -> String {
    let mut facts = format!("{:8}", node.state);
    if let Some(up) = node.up_seconds {
        let _infallible = write!(facts, "  up {up:.1}s");
    }
    let restarts = node.restarts_total();
    let _infallible = write!(
        facts,
        "  generation {}  restarts {restarts}",
        node.generation
    );
    if let Some(slot) = &node.slot {
        let _infallible = write!(facts, "  queue {}", slot.queue_messages);
    }
    if let Some(change) = node.change {
        let _infallible = write!(facts, "  {}", change.as_str());
    }
    if let Some(last) = &node.last_exit {
        let _infallible = write!(facts, "  last: {last}");
        if let Some(at) = &node.last_exit_at {
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
            "children": [{"name": "a", "state": "running", "generation": 1, "children": [leaf("b")]},
                {"name": "c", "state": "stopping", "change": "removed"}]});
        let text = text(&serde_json::from_value(tree).unwrap());
        let starts = ["root ", "|-- a ", "|   `-- b ", "`-- c "];
        assert!(
            text.lines()
                .zip(starts)
                .all(|(line, start)| line.starts_with(start)),
            "{text}"
        );
        assert_eq!(text.lines().count(), starts.len());
        assert!(text.ends_with("restarts 0  being removed\n"), "{text}");
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
        let text = text(&serde_json::from_value(tree).unwrap());
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
                "2026-11-28T18:59:59.500Z  b  generation 3  shutdown, not restarted for it",
                "2026-11-28T19:00:01.000Z  a  generation 3  panic: late, restarted after 0.010s",
            ]
        );
    }
}
