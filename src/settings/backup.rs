//! `[backup]`: where backups go, how often one is made, which are kept, and how they are verified.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// `[backup]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupSettings {
    /// Without a place there are no backups.
    #[serde(default)]
    pub to: Option<BackupTo>,
    /// The time from one to the next.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
    /// The rules by which backups are kept.
    #[serde(default)]
    pub keep: KeepSettings,
    /// The time from one that is restored and compared to the next.
    pub drill: DrillInterval,
    /// The folder in which that is done; without it, the data folder.
    #[serde(default)]
    pub scratch: Option<PathBuf>,
    /// The server for `s3://`, if it is not Amazon's.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The region of the bucket.
    pub region: String,
    /// The file of the credentials for `s3://`; without it, they are in the environment.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
}

/// `backup.keep`: of how many backups, hours, days and so on one is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepSettings {
    /// The newest ones.
    pub last: usize,
    /// The newest of an hour.
    pub hourly: usize,
    /// The newest of a day.
    pub daily: usize,
    /// The newest of a week.
    pub weekly: usize,
    /// The newest of a month.
    pub monthly: usize,
    /// The newest of a year.
    pub yearly: usize,
}

impl KeepSettings {
    /// The rules where none was written.
    const UNWRITTEN: Self = Self {
        last: 7,
        hourly: 0,
        daily: 7,
        weekly: 4,
        monthly: 12,
        yearly: 0,
    };

    /// The same, or what holds where none was written.
    #[must_use]
    pub fn or_unwritten(self) -> Self {
        if self == Self::default() {
            Self::UNWRITTEN
        } else {
            self
        }
    }
}

/// `backup.drill`
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrillInterval {
    /// Each backup.
    Each,
    /// One a day.
    Daily,
    /// One a week.
    Weekly,
    /// One in thirty days.
    Monthly,
    /// None.
    Never,
}

/// A place for backups.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum BackupTo {
    /// A folder.
    Folder(PathBuf),
    /// A bucket of a server that speaks the protocol of Amazon S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix of the names of all objects, without slashes around it; it may be empty.
        prefix: String,
    },
}

/// The error of a text that is no [`BackupTo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place for backups; write a folder, or s3://BUCKET/PREFIX")]
pub struct NoBackupTo;

impl FromStr for BackupTo {
    type Err = NoBackupTo;

    fn from_str(text: &str) -> Result<Self, NoBackupTo> {
        let Some(rest) = text.strip_prefix("s3://") else {
            let fits = !text.is_empty() && !text.contains('\0') && !text.contains("://");
            return fits.then(|| Self::Folder(text.into())).ok_or(NoBackupTo);
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let prefix = prefix.trim_matches('/');
        let visible = |c: char| c.is_ascii_graphic() && !"%?#\\".contains(c);
        let odd = |part: &str| matches!(part, "." | "..");
        if bucket.is_empty() || !bucket.chars().all(plain) || !prefix.chars().all(visible) {
            return Err(NoBackupTo);
        }
        if prefix.contains("//") || prefix.split('/').any(odd) {
            return Err(NoBackupTo);
        }
        Ok(Self::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl TryFrom<String> for BackupTo {
    type Error = NoBackupTo;

    fn try_from(text: String) -> Result<Self, NoBackupTo> {
        text.parse()
    }
}

impl std::fmt::Display for BackupTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        for (text, shown) in [
            ("/backup/perennial", Some("/backup/perennial")),
            ("backups", Some("backups")),
            ("s3://bucket", Some("s3://bucket")),
            ("s3://bucket/", Some("s3://bucket")),
            ("s3://my-bucket/a/b/", Some("s3://my-bucket/a/b")),
            ("", None),
            ("s3://", None),
            ("s3:///prefix", None),
            ("s3://bucket/a//b", None),
            ("s3://bucket/../b", None),
            ("s3://user:key@bucket/a", None),
            ("https://example.org/a", None),
        ] {
            let read = text.parse::<BackupTo>().ok().map(|to| to.to_string());
            assert_eq!(read.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_kept_and_nothing_else() {
        let hourly = KeepSettings {
            hourly: 3,
            ..KeepSettings::default()
        };
        assert_eq!(hourly.or_unwritten(), hourly);
        assert_eq!(KeepSettings::default().or_unwritten().daily, 7);
    }
}
