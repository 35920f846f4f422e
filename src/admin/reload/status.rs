//! The status of the settings: those in force, and the outcome of the last reload.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::outcome::{NotReloaded, Reloaded};

/// The settings in force, and the outcome of the last reload.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::settings::NodeChange;

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
}
