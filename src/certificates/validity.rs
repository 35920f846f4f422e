//! The time for which a certificate is valid (RFC 5280 section 4.1.2.5), which no library at hand tells. Pure.

use std::time::SystemTime;

use time::{Date, Month, OffsetDateTime, Time};

/// The tags of DER that are met on the way.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The time for which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Validity {
    /// That of a certificate in DER; `None` if it can't be found there.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (certificate, _) = of_kind(der, SEQUENCE)?;
        let (mut rest, _) = of_kind(certificate, SEQUENCE)?;
        if let Some((_, behind)) = of_kind(rest, VERSION) {
            rest = behind;
        }
        // The number, the algorithm and who has signed it.
        for _ in 0..3 {
            (_, _, rest) = value(rest)?;
        }
        let (times, _) = of_kind(rest, SEQUENCE)?;
        let (kind, not_before, rest) = value(times)?;
        let not_before = moment(kind, not_before)?;
        let (kind, not_after, _) = value(rest)?;
        let not_after = moment(kind, not_after)?;
        Some(Self {
            not_before,
            not_after,
        })
    }
}

/// The tag and the content of the first value, and what is behind it.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let add = |length: usize, byte: &u8| length << 8 | usize::from(*byte);
            (bytes.iter().fold(0, add), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((kind, content, rest))
}

fn of_kind(der: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = value(der)?;
    (found == kind).then_some((content, rest))
}

fn moment(kind: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match kind {
        // Two digits of the year: from 1950 to 2049.
        UTC_TIME if text < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let year = text.get(..4)?.parse().ok()?;
    let month = Month::try_from(number(4, 6)?).ok()?;
    let date = Date::from_calendar_date(year, month, number(6, 8)?).ok()?;
    let time = Time::from_hms(number(8, 10)?, number(10, 12)?, number(12, 14)?).ok()?;
    Some(OffsetDateTime::new_utc(date, time).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: u8, text: &str) -> Option<String> {
        let moment = moment(kind, text.as_bytes())?;
        Some(humantime::format_rfc3339_seconds(moment).to_string())
    }

    #[test]
    fn times_are_read_in_both_ways_in_which_they_are_written() {
        for (kind, text, read) in [
            (UTC_TIME, "261201040506Z", Some("2026-12-01T04:05:06Z")),
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "700101000000Z", Some("1970-01-01T00:00:00Z")),
            (
                GENERALIZED_TIME,
                "20500101000000Z",
                Some("2050-01-01T00:00:00Z"),
            ),
            (UTC_TIME, "2612010405Z", None),
            (UTC_TIME, "261301040506Z", None),
            (UTC_TIME, "261201040506", None),
            (SEQUENCE, "261201040506Z", None),
        ] {
            assert_eq!(told(kind, text).as_deref(), read, "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        for wrong in [
            &[][..],
            &[SEQUENCE],
            &[SEQUENCE, 0x85, 1, 1, 1, 1, 1],
            &[SEQUENCE, 2, SEQUENCE, 0],
            &[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(Validity::read(wrong), None, "{wrong:?}");
        }
    }
}
