//! `/reload`: reads the settings again (POST), or only tells what that would change (POST with `?dry_run=true`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::http::Method;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answered, json_answer};
use crate::num::as_f64;
use crate::settings::NodeChange;
use crate::supervision::{AskError, ChildRef, Message, ReplyTo};
use crate::telemetry::{MetricSource, Rows};
use crate::wire::{Code, Incoming, Problem};

/// How long a reload may take: folders on disks that are away are waited for.
const RELOAD_MAX: Duration = Duration::from_secs(60);

/// An order to read the settings again.
#[derive(Debug)]
pub(crate) struct ReloadOrder {
    /// Whether it is only told what would change.
    pub dry_run: bool,
    /// The answer to whoever waits for the outcome.
    pub reply: Option<ReplyTo<Reloaded, NotReloaded>>,
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
            Self::Faulty(lines) | Self::Unusable(lines) => lines.clone(),
            Self::NeedsRestart(lines) => {
                let restart = |line| format!("{line}: start the daemon again for this");
                lines.iter().map(restart).collect()
            }
            Self::Expired => vec![self.to_string()],
        }
    }
}

impl From<NotReloaded> for Problem {
    fn from(refused: NotReloaded) -> Self {
        let code = match &refused {
            NotReloaded::Faulty(_) | NotReloaded::Unusable(_) => Code::InvalidSettings,
            NotReloaded::NeedsRestart(_) => Code::NeedsRestart,
            NotReloaded::Expired => return Problem::new(Code::Deadline),
        };
        let problem = Problem::new(code).detail(refused.to_string());
        problem.extension("reasons", json!(refused.lines()))
    }
}

/// Which settings are in force, and how the last attempt to read them again ended.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReloadStatus {
    /// 1 at the start, and one more for each reload that changed something.
    pub generation: u64,
    /// The file, or what stands for it.
    pub file: String,
    /// The same for equal settings.
    pub hash: String,
    /// Since when they are in force.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// The time of the last attempt that had an outcome.
    #[serde(serialize_with = "rfc3339")]
    pub last_reload: SystemTime,
    /// The reason for which it changed nothing, if it was refused.
    pub last_error: Option<String>,
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_rfc3339_seconds(*time))
}

/// The way to the child that reads the settings again.
#[derive(Debug)]
pub(crate) struct Reloads {
    /// The child; `None` if the settings came from a program.
    pub child: Option<ChildRef<ReloadOrder>>,
    /// The settings in force, as far as they are told.
    pub status: Mutex<ReloadStatus>,
}

impl Reloads {
    /// A way to `child`.
    pub(crate) fn new(child: Option<ChildRef<ReloadOrder>>, status: ReloadStatus) -> Self {
        Self {
            child,
            status: Mutex::new(status),
        }
    }

    pub(super) async fn answer(&self, request: &Incoming) -> Answered {
        if request.method() != Method::POST {
            return Err(Problem::not_allowed("POST"));
        }
        let dry_run = match request.query() {
            "" | "dry_run=false" => false,
            "dry_run=true" => true,
            _ => {
                let detail = "write ?dry_run=true, or no query";
                return Err(Problem::new(Code::InvalidParameter).detail(detail));
            }
        };
        let Some(child) = &self.child else {
            let detail = "the program that the daemon is a part of has no settings file";
            return Err(Problem::new(Code::NotFound).detail(detail));
        };
        let order = |reply| ReloadOrder {
            dry_run,
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

    /// The status, for `/supervisor`.
    pub(super) fn view(&self) -> Value {
        json!(*self.status.lock())
    }
}

impl MetricSource for Arc<Reloads> {
    fn write(&self, rows: &mut Rows<'_>) {
        let status = self.status.lock().clone();
        let since = status.since.duration_since(SystemTime::UNIX_EPOCH);
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
            "When the settings in force were read",
            since.unwrap_or_default().as_secs_f64(),
        );
    }
}
