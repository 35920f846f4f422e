//! `perennial reload`: has the running daemon read its settings again.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use super::admin_client::{AdminAnswer, AdminClient, ClientError};
use super::{Exit, complain, print, say};
use crate::admin::{RELOAD_MAX, Reloaded};

/// The time limit for the answer: that of the reload, and a little for its last step and the way.
const PATIENCE: Duration = RELOAD_MAX.saturating_add(Duration::from_secs(60));

/// Has the daemon at `admin` read its settings again, which is refused if that is another file than `file`.
pub(super) fn run(admin: &str, dry_run: bool, file: Option<&Path>) -> Exit {
    let file = file.map(|file| percent_encode(file.as_os_str().as_bytes(), NON_ALPHANUMERIC));
    let file = file.map_or_else(String::new, |file| format!("&file={file}"));
    let path = format!("/reload?dry_run={dry_run}{file}");
    let answer = AdminClient::with_patience(admin, PATIENCE).post(&path, b"");
    match answer.and_then(AdminAnswer::json) {
        Ok(reloaded) => print(&text(&reloaded)),
        Err(error) if !error.reasons().is_empty() => {
            error.reasons().iter().for_each(say);
            say("nothing has changed");
            if error.asks_for_patience() {
                Exit::TryAgain
            } else {
                Exit::Config
            }
        }
        Err(error @ ClientError::Refused { .. }) => complain(&error, Exit::Failed),
        Err(error) => complain(&error, error.exit()),
    }
}

/// A line for each change, and one for the outcome.
fn text(reloaded: &Reloaded) -> String {
    let warnings = reloaded.warnings.iter();
    let mut lines: Vec<_> = warnings.map(|line| format!("{line} (a warning)")).collect();
    lines.extend(reloaded.changes.iter().map(ToString::to_string));
    if let Some(admin) = &reloaded.admin {
        lines.push(format!("the admin listener is at {admin} from now on"));
    }
    let generation = reloaded.generation;
    lines.push(match (reloaded.changes.is_empty(), reloaded.applied) {
        (true, _) => format!("nothing to change: generation {generation} is in force"),
        (false, true) => format!("applied: generation {generation} is in force"),
        (false, false) => format!("not applied: generation {generation} stays in force"),
    });
    lines.join("\n") + "\n"
}
