//! Computes when the next backup is due, and when the newest one is verified. Moments are in seconds since 1970.

use std::time::Duration;

use crate::settings::DrillInterval;

/// The wait after the first failure; after each further one it is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Drills that are due within this time are made with the backup that is there.
const DRILL_SLACK: u64 = 600;

/// The attempts since the last backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BackupFailures {
    pub(super) count: u32,
    /// The moment of the last one.
    pub(super) last: u64,
}

/// The time to wait after so many failures in a row.
pub(super) fn wait_after(failures: u32, every: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let wait = FIRST_WAIT.saturating_mul(1 << doublings);
    wait.min(LONGEST_WAIT).min(every)
}

/// The moment of the next backup. One from the future was made when the clock was wrong, and does not count.
pub(super) fn next_backup(
    newest: Option<u64>,
    every: Duration,
    failures: BackupFailures,
    now: u64,
) -> u64 {
    let seconds = every.as_secs();
    let newest = newest.filter(|taken| *taken <= now);
    let due = newest.map_or(now, |taken| taken.saturating_add(seconds));
    if failures.count == 0 {
        return due;
    }
    let again = failures.last.min(now) + wait_after(failures.count, every).as_secs();
    due.max(again)
}

/// Whether a backup that was just made is verified, if `verified` is the moment of the newest one that was.
pub(super) fn drill_is_due(drill: DrillInterval, verified: Option<u64>, now: u64) -> bool {
    let days = match drill {
        DrillInterval::Each => return true,
        DrillInterval::Never => return false,
        DrillInterval::Daily => 1,
        DrillInterval::Weekly => 7,
        DrillInterval::Monthly => 30,
    };
    let recent = |at: u64| at <= now && now + DRILL_SLACK < at + days * 24 * 3600;
    !verified.is_some_and(recent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(6 * 3600);
    const NOW: u64 = 1_795_959_600;

    #[test]
    fn the_next_one_is_due_a_period_after_the_newest() {
        let none = BackupFailures::default();
        let failed = |count, ago: u64| BackupFailures {
            count,
            last: NOW - ago,
        };
        let hour = 3600;
        for (newest, failures, due) in [
            (None, none, NOW),
            (Some(NOW), none, NOW + 6 * hour),
            (Some(NOW - 2 * hour), none, NOW + 4 * hour),
            // It was missed while the daemon did not run.
            (Some(NOW - 9 * hour), none, NOW - 3 * hour),
            // The clock was wrong.
            (Some(NOW + 900 * hour), none, NOW),
            (None, failed(1, 0), NOW + 10),
            (None, failed(1, 4), NOW + 6),
            (Some(NOW - 9 * hour), failed(3, 0), NOW + 40),
            (Some(NOW - 9 * hour), failed(99, 0), NOW + hour),
            (Some(NOW - 9 * hour), failed(1, hour), NOW - 3 * hour),
        ] {
            let next = next_backup(newest, EVERY, failures, NOW);
            assert_eq!(next.max(NOW), due.max(NOW), "{newest:?} {failures:?}");
        }
    }

    #[test]
    fn failures_are_not_tried_again_less_often_than_backups_are_made() {
        let second = Duration::from_secs(1);
        assert_eq!(wait_after(30, second), second);
        assert_eq!(wait_after(u32::MAX, EVERY), LONGEST_WAIT);
    }

    #[test]
    fn a_drill_is_due_by_the_newest_one_that_was_verified() {
        let day = 24 * 3600;
        for (drill, verified, due) in [
            (DrillInterval::Each, Some(NOW), true),
            (DrillInterval::Never, None, false),
            (DrillInterval::Daily, None, true),
            (DrillInterval::Daily, Some(NOW - day / 2), false),
            (DrillInterval::Daily, Some(NOW - day + 5), true),
            (DrillInterval::Weekly, Some(NOW - 6 * day), false),
            (DrillInterval::Weekly, Some(NOW - 7 * day), true),
            (DrillInterval::Monthly, Some(NOW - 29 * day), false),
            (DrillInterval::Monthly, Some(NOW - 31 * day), true),
            (DrillInterval::Daily, Some(NOW + 900 * day), true),
        ] {
            assert_eq!(
                drill_is_due(drill, verified, NOW),
                due,
                "{drill:?} {verified:?}"
            );
        }
    }
}
