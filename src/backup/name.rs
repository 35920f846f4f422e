//! The name of a backup: it says of which store and when it was made, so that backups are sorted, and thinned out, without
//! reading them.

use std::fmt;
use std::str::FromStr;

use time::{Date, Month, OffsetDateTime, Time};

/// `perennial-STORE-20261129T134000Z-CHANGE.backup`; STORE is the end of the number of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BackupName {
    /// The second in which it was begun, since 1970.
    pub(crate) taken: u64,
    /// The last change that it has.
    pub(crate) change: u64,
    /// The last 48 bits of the number of the store.
    pub(crate) store: u64,
}

/// The digits of the number of a store in a name.
const STORE_DIGITS: usize = 12;

/// The part of the number of a store that is in names.
pub(super) fn store_part(store: u128) -> u64 {
    u64::try_from(store & 0xFFFF_FFFF_FFFF).unwrap_or_default()
}

impl BackupName {
    /// Its moment.
    pub(super) fn moment(self) -> OffsetDateTime {
        let taken = i64::try_from(self.taken).unwrap_or_default();
        OffsetDateTime::from_unix_timestamp(taken).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.moment();
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second) = at.to_hms();
        let (store, change) = (self.store, self.change);
        write!(
            f,
            "perennial-{store:012x}-{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-{change}.backup"
        )
    }
}

/// The error of a text that is not the name of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a backup")]
pub(crate) struct NotBackupName;

impl FromStr for BackupName {
    type Err = NotBackupName;

    fn from_str(text: &str) -> Result<Self, NotBackupName> {
        let read = || {
            let inner = text.strip_prefix("perennial-")?.strip_suffix(".backup")?;
            let mut parts = inner.split('-');
            let store = parts.next().filter(|store| store.len() == STORE_DIGITS)?;
            let store = u64::from_str_radix(store, 16).ok()?;
            let taken = seconds(parts.next()?)?;
            let change = parts.next()?.parse().ok()?;
            let name = Self {
                taken,
                change,
                store,
            };
            // Only what is written here counts as one that was written here.
            (parts.next().is_none() && name.to_string() == text).then_some(name)
        };
        read().ok_or(NotBackupName)
    }
}

/// The moment of `20261129T134000Z`.
fn seconds(text: &str) -> Option<u64> {
    let digits = |from: usize, length: usize| text.get(from..from + length)?.parse::<u8>().ok();
    let year = text.get(..4)?.parse().ok()?;
    let month = Month::try_from(digits(4, 2)?).ok()?;
    let day = Date::from_calendar_date(year, month, digits(6, 2)?).ok()?;
    let time = Time::from_hms(digits(9, 2)?, digits(11, 2)?, digits(13, 2)?).ok()?;
    let moment = day.with_time(time).assume_utc();
    u64::try_from(moment.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let store = store_part(0x1234_5678_9ABC_DEF0_1234_5678_9ABC_DEF0);
        let name = BackupName {
            taken: 1_795_959_600,
            change: 42,
            store,
        };
        let text = "perennial-56789abcdef0-20261129T134000Z-42.backup";
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse(), Ok(name));
        let first = BackupName {
            taken: 0,
            change: 0,
            store: 1,
        };
        assert_eq!(first.to_string().parse(), Ok(first));
    }

    #[test]
    fn a_file_with_another_name_is_no_backup() {
        for text in [
            "",
            "perennial.backup",
            "perennial-56789abcdef0-20261129T134000Z-42.backup.verified",
            "perennial-56789abcdef0-20261129T134000Z-042.backup",
            "perennial-56789ABCDEF0-20261129T134000Z-42.backup",
            "perennial-56789abcdef0-20261329T134000Z-42.backup",
            "perennial-56789abcdef0-20261129T134000Z-42-1.backup",
            "perennial-56789abcdef0-20261129x134000Z-42.backup",
            "holiday-56789abcdef0-20261129T134000Z-42.backup",
        ] {
            assert_eq!(text.parse::<BackupName>(), Err(NotBackupName), "{text}");
        }
    }
}
