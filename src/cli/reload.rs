//! `perennial reload`: has the running daemon read its settings again.

use super::admin_client::{AdminAnswer, AdminClient, ClientError};
use super::{Exit, complain, print, say};
use crate::admin::Reloaded;

pub(super) fn run(admin: &str, dry_run: bool) -> Exit {
    let query = if dry_run { "?dry_run=true" } else { "" };
    let path = format!("/reload{query}");
    let answer = AdminClient::new(admin).post(&path, b"");
    match answer.and_then(AdminAnswer::json) {
        Ok(reloaded) => print(&text(&reloaded)),
        Err(ClientError::Refused { reasons, .. }) if !reasons.is_empty() => {
            reasons.iter().for_each(say);
            say("nothing has changed");
            Exit::Config
        }
        Err(error @ ClientError::Refused { .. }) => complain(&error, Exit::Failed),
        Err(error) => complain(&error, Exit::Unavailable),
    }
}

/// A line for each change, and one for the outcome.
fn text(reloaded: &Reloaded) -> String {
    let warnings = reloaded.warnings.iter();
    let mut lines: Vec<_> = warnings.map(|line| format!("{line} (a warning)")).collect();
    lines.extend(reloaded.changes.iter().map(ToString::to_string));
    let generation = reloaded.generation;
    lines.push(match (reloaded.changes.is_empty(), reloaded.applied) {
        (true, _) => format!("nothing to change: generation {generation} is in force"),
        (false, true) => format!("applied: generation {generation} is in force"),
        (false, false) => format!("not applied: generation {generation} stays in force"),
    });
    lines.join("\n") + "\n"
}
