//! `/reload`: reads the settings again (POST), or only tells what that would change (POST with `?dry_run=true`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, SystemTime};

use actix_web::http::Method;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answered, json_answer};
use crate::num::as_f64;
use crate::settings::NodeChange;
use crate::supervision::{AskError, ChildRef, Message, ReplyTo};
use crate::telemetry::{MetricSource, Rows};
use crate::wire::{Code, Incoming, Problem};

/// How long a reload may take: folders on disks that are away are waited for, and stored records compared with new rules.
pub(crate) const RELOAD_MAX: Duration = Duration::from_secs(600);

/// An order to read the settings again.
#[derive(Debug)]
pub(crate) struct ReloadOrder {
    /// Whether it is only told what would change.
    pub dry_run: bool,
    /// The file that is meant, without links, if whoever asks knows one.
    pub file: Option<PathBuf>,
    /// The answer to whoever waits for the outcome.
    pub reply: Option<ReplyTo<Reloaded, NotReloaded>>,
}

impl ReloadOrder {
    /// An order for whose outcome nobody waits.
    pub(crate) fn apply() -> Self {
        Self {
            dry_run: false,
            file: None,
            reply: None,
        }
    }
}

impl Message for ReloadOrder {
    fn kind(&self) -> &'static str {
        "reload"
    }
}

/// The outcome of a reload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    /// Whether the settings are in force now.
    pub applied: bool,
    /// The number of the settings that are in force now.
    pub generation: u64,
    /// The nodes that changed, or would change.
    pub changes: Vec<NodeChange>,
    /// Findings in the settings that are worth a look.
    pub warnings: Vec<String>,
    /// The URL of the admin listener from now on, if that has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
}

/// The reason for which nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotReloaded {
    /// The settings have faults; all of them are told.
    #[error("the settings are wrong, and nothing has changed: {}", .0.join("; "))]
    Faulty(Vec<String>),
    /// Some of the changes can't be made while the daemon runs; all of them are told.
    #[error("nothing has changed, because the daemon must be started again for this: {}", .0.join("; "))]
    NeedsRestart(Vec<String>),
    /// Something new can't be used; all of it is told.
    #[error("nothing has changed, because something new can't be used: {}", .0.join("; "))]
    Unusable(Vec<String>),
    /// Another file is meant than the one that the daemon reads.
    #[error("nothing has changed, because the daemon runs with {runs}, and not with {asked}")]
    OtherFile {
        /// The file that is meant.
        asked: String,
        /// The file that the daemon reads.
        runs: String,
    },
    /// Stored records don't fit the new settings; all findings are told.
    #[error("nothing has changed, because stored records do not fit the new settings: {}", .0.join("; "))]
    Misfits(Vec<String>),
    /// It can't be done at this time.
    #[error("nothing has changed: {0}")]
    NotNow(String),
    /// Whoever asked has given up.
    #[error("nothing has changed, because nobody waits for it any more")]
    Expired,
}

impl NotReloaded {
    /// Something can't be used, for this reason.
    pub(crate) fn unusable(reason: impl std::error::Error) -> Self {
        Self::Unusable(vec![reason.to_string()])
    }

    /// One line for each reason.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Faulty(lines) | Self::Unusable(lines) | Self::Misfits(lines) => lines.clone(),
            Self::NotNow(reason) => vec![reason.clone()],
            Self::NeedsRestart(lines) => {
                let restart = |line| format!("{line}: start the daemon again for this");
                lines.iter().map(restart).collect()
            }
            Self::OtherFile { asked, runs } => vec![format!(
                "the daemon runs with {runs}, and not with {asked}: name that file, or start the daemon with this one"
            )],
            Self::Expired => vec![self.to_string()],
        }
    }
}

impl From<NotReloaded> for Problem {
    fn from(refused: NotReloaded) -> Self {
        let code = match &refused {
            NotReloaded::Faulty(_) | NotReloaded::Unusable(_) | NotReloaded::Misfits(_) => {
                Code::InvalidSettings
            }
            NotReloaded::NotNow(_) => Code::Unavailable,
            NotReloaded::NeedsRestart(_) => Code::NeedsRestart,
            NotReloaded::OtherFile { .. } => Code::InvalidParameter,
            NotReloaded::Expired => return Problem::new(Code::Deadline),
        };
        let problem = Problem::new(code).detail(refused.to_string());
        problem.extension("reasons", json!(refused.lines()))
    }
}

/// Which settings are in force, and how the last attempt to read them again ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReloadStatus {
    /// 1 at the start, and one more for each reload that changed something.
    pub generation: u64,
    /// The file, or what stands for it.
    pub file: String,
    /// The same for equal settings.
    pub hash: String,
    /// Since when they are in force.
    #[serde(with = "rfc3339")]
    pub since: SystemTime,
    /// The time of the last attempt that had an outcome.
    #[serde(with = "rfc3339")]
    pub last_reload: SystemTime,
    /// Its outcome.
    pub last_outcome: ReloadOutcome,
    /// The reason for which it changed nothing, if it was refused.
    pub last_error: Option<String>,
    /// The last time at which the file was what is in force.
    #[serde(with = "rfc3339")]
    pub last_success: SystemTime,
}

/// The outcome of an attempt to read the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReloadOutcome {
    /// They were read at the start.
    Started,
    /// They were put in force.
    Applied,
    /// They were in force already.
    Unchanged,
    /// They were refused.
    Refused,
}

impl ReloadStatus {
    /// The status at the start.
    pub(crate) fn first(file: String, hash: String) -> Self {
        let now = SystemTime::now();
        Self {
            generation: 1,
            file,
            hash,
            since: now,
            last_reload: now,
            last_outcome: ReloadOutcome::Started,
            last_error: None,
            last_success: now,
        }
    }

    /// Notes how an attempt at this time ended.
    pub(crate) fn note(&mut self, outcome: &Result<Reloaded, NotReloaded>, now: SystemTime) {
        self.last_reload = now;
        self.last_error = outcome.as_ref().err().map(ToString::to_string);
        self.last_outcome = match outcome {
            Ok(reloaded) if reloaded.changes.is_empty() => ReloadOutcome::Unchanged,
            Ok(_) => ReloadOutcome::Applied,
            Err(_) => ReloadOutcome::Refused,
        };
        if outcome.is_ok() {
            self.last_success = now;
        }
    }

    /// One line about what is in force, and one about the last attempt, if there was one.
    pub(crate) fn lines(&self) -> Vec<String> {
        let time = humantime::format_rfc3339_seconds;
        let in_force = format!(
            "generation {} of {}, hash {}, in force since {}",
            self.generation,
            self.file,
            self.hash,
            time(self.since)
        );
        let last = match (self.last_outcome, &self.last_error) {
            (ReloadOutcome::Started, _) => None,
            (ReloadOutcome::Applied, _) => Some("applied".to_owned()),
            (ReloadOutcome::Unchanged, _) => Some("nothing had changed".to_owned()),
            (ReloadOutcome::Refused, error) => {
                Some(format!("refused: {}", error.as_deref().unwrap_or_default()))
            }
        };
        let last = last.map(|last| format!("last read {}: {last}", time(self.last_reload)));
        std::iter::once(in_force).chain(last).collect()
    }
}

mod rfc3339 {
    use std::time::SystemTime;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_rfc3339_seconds(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}

/// The way to the child that reads the settings again.
#[derive(Debug)]
pub(crate) struct Reloads {
    /// The child; `None` if the settings came from a program.
    pub child: Option<ChildRef<ReloadOrder>>,
    /// The settings in force, as far as they are told.
    pub status: Mutex<ReloadStatus>,
    /// Reloads that have begun, dry runs left out.
    pub begun: AtomicU64,
    /// Whether one of them has not ended.
    pub under_way: AtomicBool,
}

impl Reloads {
    /// A way to `child`.
    pub(crate) fn new(child: Option<ChildRef<ReloadOrder>>, status: ReloadStatus) -> Self {
        Self {
            child,
            status: Mutex::new(status),
            begun: AtomicU64::new(0),
            under_way: AtomicBool::new(false),
        }
    }

    pub(super) async fn answer(&self, request: &Incoming) -> Answered {
        if request.method() != Method::POST {
            return Err(Problem::not_allowed("POST"));
        }
        let (dry_run, file) = asked(request.query())?;
        let Some(child) = &self.child else {
            let detail = "the program that the daemon is a part of has no settings file";
            return Err(Problem::new(Code::NotFound).detail(detail));
        };
        let order = |reply| ReloadOrder {
            dry_run,
            file,
            reply: Some(reply),
        };
        match child.ask(order, RELOAD_MAX).await {
            Ok(reloaded) => Ok(json_answer(&json!(reloaded))),
            Err(AskError::Rejected(refused)) => Err(refused.into()),
            Err(error) => {
                let code = match error {
                    AskError::Overloaded { .. } => Code::Overloaded,
                    AskError::Expired => Code::Deadline,
                    AskError::ShuttingDown => Code::ShuttingDown,
                    AskError::OutcomeUnknown => Code::OutcomeUnknown,
                    AskError::Rejected(_)
                    | AskError::Crashed { .. }
                    | AskError::Hung { .. }
                    | AskError::Lost => Code::Internal,
                };
                let generation = self.status.lock().generation;
                let detail =
                    format!("{error}; generation {generation} of the settings is in force");
                Err(Problem::new(code).detail(detail))
            }
        }
    }

    /// The status, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        self.status.lock().lines()
    }

    /// The status, for `/supervisor`.
    pub(super) fn view(&self) -> Value {
        json!(*self.status.lock())
    }
}

/// Whether it is a dry run, and the file that is meant.
fn asked(query: &str) -> Result<(bool, Option<PathBuf>), Problem> {
    let (mut dry_run, mut file) = (false, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("dry_run", "false")) => dry_run = false,
            Some(("dry_run", "true")) => dry_run = true,
            Some(("file", path)) => {
                let bytes: Vec<u8> = percent_decode_str(path).collect();
                file = Some(PathBuf::from(OsString::from_vec(bytes)));
            }
            _ => {
                let detail =
                    "write ?dry_run=true, ?file=FILE, both with & between them, or no query";
                return Err(Problem::new(Code::InvalidParameter).detail(detail));
            }
        }
    }
    Ok((dry_run, file))
}

impl MetricSource for Arc<Reloads> {
    fn write(&self, rows: &mut Rows<'_>) {
        let status = self.status.lock().clone();
        let last_success = status.last_success.duration_since(SystemTime::UNIX_EPOCH);
        rows.gauge(
            "perennial_config_generation",
            "The number of the settings in force: 1 at the start, and one more for each reload that changed something",
            as_f64(status.generation),
        );
        rows.gauge(
            "perennial_config_last_reload_successful",
            "1 if the last reload was carried out or had nothing to do, 0 if it was refused",
            if status.last_error.is_none() {
                1.0
            } else {
                0.0
            },
        );
        rows.gauge(
            "perennial_config_last_reload_success_timestamp_seconds",
            "When the file was last read and had the settings that are in force",
            last_success.unwrap_or_default().as_secs_f64(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reloaded(changes: Vec<NodeChange>) -> Reloaded {
        Reloaded {
            admin: None,
            applied: true,
            generation: 2,
            changes,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_status_tells_every_outcome_and_the_time_of_the_last_success() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let change = json!({ "node": "limits", "change": "live", "keys": [] });
        let change: NodeChange = serde_json::from_value(change).unwrap();
        let mut status = ReloadStatus::first("a.toml".to_owned(), "12".to_owned());
        status.since = at(1);
        let first = "generation 1 of a.toml, hash 12, in force since 1970-01-01T00:00:01Z";
        assert_eq!(status.lines(), [first]);
        let wrong = NotReloaded::Faulty(vec!["a.toml:1:1: wrong".to_owned()]);
        for (seconds, outcome, success, told) in [
            (10, Ok(reloaded(vec![change])), 10, "applied"),
            (
                20,
                Err(wrong),
                10,
                "refused: the settings are wrong, and nothing has changed: a.toml:1:1: wrong",
            ),
            (30, Ok(reloaded(Vec::new())), 30, "nothing had changed"),
        ] {
            status.note(&outcome, at(seconds));
            assert_eq!(status.last_success, at(success));
            let told = format!("last read 1970-01-01T00:00:{seconds}Z: {told}");
            assert_eq!(status.lines(), [first.to_owned(), told]);
        }
        let read: ReloadStatus = serde_json::from_value(json!(status)).unwrap();
        assert_eq!(read.last_success, at(30));
    }

    #[test]
    fn a_query_is_read_whole_or_refused() {
        for (query, dry_run, file) in [
            ("", false, None),
            ("dry_run=true", true, None),
            ("file=%2Fa%20b&dry_run=true", true, Some("/a b")),
        ] {
            assert_eq!(asked(query).unwrap(), (dry_run, file.map(PathBuf::from)));
        }
        for query in ["dry_run", "dry_run=1", "force=true"] {
            assert!(asked(query).is_err(), "{query}");
        }
    }
}
