//! `/reload`: reads the settings again (POST), or only tells what that would change (POST with `?dry_run=true`).

mod outcome;
mod status;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, SystemTime};

use actix_web::http::Method;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{Answered, json_answer};
use crate::num::as_f64;
use crate::supervision::{AskError, ChildRef, Message, ReplyTo};
use crate::telemetry::{MetricSource, Rows};
use crate::wire::{Code, Incoming, Problem};
pub(crate) use outcome::{NotReloaded, Reloaded};
pub(crate) use status::ReloadStatus;

/// The longest time that a reload may take: folders on disks that are away are waited for, and stored records compared with new
/// rules.
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
                Err(Problem::new(code).detail(self.without_outcome(&error)))
            }
        }
    }

    /// The detail of an order that has no outcome.
    fn without_outcome(&self, error: &AskError<NotReloaded>) -> String {
        if *error == AskError::OutcomeUnknown {
            // It is decided, and may be put in force at this moment.
            return "the order may or may not have been carried out: `perennial status` tells its outcome in a moment".to_owned();
        }
        let generation = self.status.lock().generation;
        format!("{error}; generation {generation} of the settings is in force")
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
