//! Chooses the backups that are removed: of each recent hour, day, week, month and year, as configured, the newest one is kept
//! (grandfather, father, son).

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::name::BackupName;
use crate::settings::KeepSettings;

/// The number of the period in which a moment is.
type PeriodOf = fn(OffsetDateTime) -> i64;

/// The backups that no rule keeps, of one store. The newest one that was verified is kept whatever the rules say, and as
/// long as there is none, the newest one.
pub(super) fn superfluous(
    mut found: Vec<BackupName>,
    newest_verified: Option<BackupName>,
    keep: KeepSettings,
) -> Vec<BackupName> {
    found.sort_unstable_by(|a, b| b.cmp(a));
    let mut kept: BTreeSet<BackupName> = found.iter().copied().take(keep.last).collect();
    let rules: [(usize, PeriodOf); 5] = [
        (keep.hourly, |at| at.unix_timestamp().div_euclid(3600)),
        (keep.daily, |at| at.date().to_julian_day().into()),
        // Day 0 was a Monday.
        (keep.weekly, |at| {
            at.date().to_julian_day().div_euclid(7).into()
        }),
        (keep.monthly, |at| {
            i64::from(at.year()) * 12 + i64::from(u8::from(at.month()))
        }),
        (keep.yearly, |at| at.year().into()),
    ];
    for (count, period_of) in rules {
        let mut periods = BTreeSet::new();
        for name in &found {
            let period = period_of(name.moment());
            if periods.len() < count && periods.insert(period) {
                kept.insert(*name);
            }
        }
    }
    kept.extend(newest_verified.or(found.first().copied()));
    found.retain(|name| !kept.contains(name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    /// Sunday, 29 November 2026, 13:40.
    const NOW: u64 = 1_795_959_600;
    const NONE: KeepSettings = KeepSettings {
        last: 0,
        hourly: 0,
        daily: 0,
        weekly: 0,
        monthly: 0,
        yearly: 0,
    };

    fn name(taken: u64) -> BackupName {
        BackupName {
            store: 1,
            taken,
            change: taken,
        }
    }

    /// The ages of those that are kept of backups of these ages, the youngest first.
    fn kept(ages: &[u64], verified: Option<u64>, keep: KeepSettings) -> Vec<u64> {
        let found: Vec<_> = ages.iter().map(|age| name(NOW - age)).collect();
        let verified = verified.map(|age| name(NOW - age));
        let gone = superfluous(found, verified, keep);
        let is_gone = |age: &&u64| gone.contains(&name(NOW - **age));
        let mut left: Vec<u64> = ages.iter().filter(|age| !is_gone(age)).copied().collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn each_rule_keeps_the_newest_of_its_periods() {
        let hourly: Vec<u64> = (0..24 * 400).map(|hour| hour * HOUR).collect();
        let rows: [(KeepSettings, &[u64]); 7] = [
            (KeepSettings { last: 3, ..NONE }, &[0, 1, 2]),
            (KeepSettings { hourly: 3, ..NONE }, &[0, 1, 2]),
            // 13:40 today, then 23:40 of the days before.
            (KeepSettings { daily: 3, ..NONE }, &[0, 14, 38]),
            // Weeks end on Sunday.
            (KeepSettings { weekly: 3, ..NONE }, &[0, 158, 326]),
            (KeepSettings { monthly: 2, ..NONE }, &[0, 28 * 24 + 14]),
            (
                KeepSettings { yearly: 2, ..NONE },
                &[
                    0,
                    (31 + 28 + 31 + 30 + 31 + 30 + 31 + 31 + 30 + 31 + 28) * 24 + 14,
                ],
            ),
            (
                KeepSettings {
                    last: 1,
                    daily: 2,
                    hourly: 2,
                    ..NONE
                },
                &[0, 1, 14],
            ),
        ];
        for (keep, hours) in rows {
            let ages: Vec<u64> = hours.iter().map(|hours| hours * HOUR).collect();
            assert_eq!(kept(&hourly, None, keep), ages, "{keep:?}");
        }
    }

    #[test]
    fn periods_without_a_backup_do_not_count() {
        let ages = [0, 40 * DAY, 41 * DAY, 90 * DAY];
        let keep = KeepSettings { daily: 3, ..NONE };
        assert_eq!(kept(&ages, None, keep), [0, 40 * DAY, 41 * DAY]);
    }

    #[test]
    fn the_newest_verified_one_is_kept_whatever_the_rules_say() {
        let keep = KeepSettings { last: 1, ..NONE };
        let ages = [0, DAY, 2 * DAY, 400 * DAY];
        assert_eq!(kept(&ages, Some(400 * DAY), keep), [0, 400 * DAY]);
        assert_eq!(kept(&ages, Some(0), keep), [0]);
        assert_eq!(kept(&ages, None, NONE), [0]);
        assert!(kept(&[], None, NONE).is_empty());
    }

    #[test]
    fn a_year_of_thinning_after_each_backup_keeps_as_many_as_the_rules_say() {
        let keep = KeepSettings {
            last: 7,
            daily: 7,
            weekly: 4,
            monthly: 12,
            ..NONE
        };
        let mut found: Vec<BackupName> = Vec::new();
        for n in 0..4 * 800 {
            found.push(name(NOW + n * 6 * HOUR));
            let gone = superfluous(found.clone(), found.last().copied(), keep);
            found.retain(|name| !gone.contains(name));
        }
        // The newest one is in all four, and some of the others are in two.
        assert!((18..=27).contains(&found.len()), "{}", found.len());
        let oldest = found.iter().min().unwrap().taken;
        let newest = found.iter().max().unwrap().taken;
        assert!((newest - oldest) / DAY > 300, "{}", (newest - oldest) / DAY);
    }
}
