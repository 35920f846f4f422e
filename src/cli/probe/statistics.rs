//! The distribution of the times of many requests. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::asking::{Failure, RequestEnd, Timed, milliseconds};

/// The requests as a whole.
#[derive(Debug, PartialEq)]
pub(super) struct Distribution {
    seconds: f64,
    /// Answers in a second.
    rate: f64,
    bytes: u64,
    statuses: BTreeMap<u16, u32>,
    /// The requests without an answer by their reason, and the error of the first of each.
    failures: BTreeMap<Failure, (u32, String)>,
    /// The times of those with an answer.
    times: Option<Times>,
}

/// Times, of which so many in a hundred are not longer.
#[derive(Debug, PartialEq)]
struct Times {
    min: Duration,
    p50: Duration,
    p90: Duration,
    p99: Duration,
    max: Duration,
}

impl Distribution {
    /// Of all requests, which took so long together.
    pub(super) fn of(all: &[Timed], together: Duration) -> Self {
        let mut whole = Self {
            seconds: together.as_secs_f64(),
            rate: 0.0,
            bytes: 0,
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            times: None,
        };
        let mut times = Vec::new();
        for timed in all {
            match &timed.ended {
                RequestEnd::Answered { status, bytes, .. } => {
                    *whole.statuses.entry(*status).or_default() += 1;
                    whole.bytes += bytes;
                    times.push(timed.took);
                }
                RequestEnd::Failed { failure, error } => {
                    let known = whole.failures.entry(*failure);
                    known.or_insert_with(|| (0, error.clone())).0 += 1;
                }
            }
        }
        let answered: u32 = whole.statuses.values().sum();
        if whole.seconds > 0.0 {
            whole.rate = f64::from(answered) / whole.seconds;
        }
        whole.times = Times::of(times);
        whole
    }

    pub(super) fn json(&self) -> Value {
        let failures = self.failures.iter().map(|(failure, (count, error))| {
            let told = json!({"count": count, "first_error": error});
            (failure.label().to_owned(), told)
        });
        let times = self.times.as_ref().map(|times| {
            let times = times.named();
            let times = times.map(|(name, time)| (name.to_owned(), milliseconds(time).into()));
            times.into_iter().collect::<serde_json::Map<_, _>>()
        });
        json!({
            "seconds": self.seconds,
            "answers_per_second": self.rate,
            "bytes": self.bytes,
            "statuses": self.statuses,
            "failures": failures.collect::<serde_json::Map<_, _>>(),
            "milliseconds": times,
        })
    }
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).copied()
        };
        Some(Self {
            min: at(0)?,
            p50: at(50)?,
            p90: at(90)?,
            p99: at(99)?,
            max: at(100)?,
        })
    }

    const fn named(&self) -> [(&'static str, Duration); 5] {
        [
            ("min", self.min),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("max", self.max),
        ]
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rate) = (self.seconds, self.rate);
        writeln!(
            f,
            "{seconds:.2} s, {rate:.0} answers a second, {} bytes",
            self.bytes
        )?;
        for (status, count) in &self.statuses {
            writeln!(f, "{count:>8}  {status}")?;
        }
        for (failure, (count, error)) in &self.failures {
            writeln!(f, "{count:>8}  {}, such as: {error}", failure.label())?;
        }
        for (name, time) in self.times.iter().flat_map(Times::named) {
            writeln!(f, "{name:>8}  {:.2} ms", milliseconds(time))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(milliseconds: u64, ended: RequestEnd) -> Timed {
        Timed {
            at: Duration::ZERO,
            took: Duration::from_millis(milliseconds),
            ended,
        }
    }

    fn answered(milliseconds: u64, status: u16) -> Timed {
        let body = Vec::new();
        timed(
            milliseconds,
            RequestEnd::Answered {
                status,
                bytes: 10,
                body,
            },
        )
    }

    #[test]
    fn so_many_in_a_hundred_are_not_longer() {
        for (count, wanted) in [
            (1_u64, [1, 1, 1, 1, 1]),
            (2, [1, 1, 2, 2, 2]),
            (10, [1, 5, 9, 10, 10]),
            (100, [1, 50, 90, 99, 100]),
            (1000, [1, 500, 900, 990, 1000]),
        ] {
            let times = (1..=count).rev().map(Duration::from_millis).collect();
            let times = Times::of(times).unwrap().named().map(|(_, time)| time);
            assert_eq!(times, wanted.map(Duration::from_millis), "{count}");
        }
        assert_eq!(Times::of(Vec::new()), None);
    }

    #[test]
    fn answers_and_failures_are_counted_by_kind() {
        let failed = |failure, error: &str| {
            let error = error.to_owned();
            timed(9000, RequestEnd::Failed { failure, error })
        };
        let all = [
            answered(4, 200),
            answered(2, 503),
            failed(Failure::TimedOut, "first"),
            answered(6, 200),
            failed(Failure::TimedOut, "second"),
            failed(Failure::NotConnected, "refused"),
        ];
        let whole = Distribution::of(&all, Duration::from_secs(2));
        let text = "2.00 s, 2 answers a second, 30 bytes
       2  200
       1  503
       1  not connected, such as: refused
       2  timed out, such as: first
     min  2.00 ms
     p50  4.00 ms
     p90  6.00 ms
     p99  6.00 ms
     max  6.00 ms
";
        assert_eq!(whole.to_string(), text);
        let json = whole.json();
        assert_eq!(json["statuses"], json!({"200": 2, "503": 1}));
        assert_eq!(json["failures"]["timed out"]["count"], 2);
        assert_eq!(json["milliseconds"]["p50"], 4.0);
        let none = Distribution::of(&all[5..], Duration::from_secs(1));
        assert_eq!(none.json()["milliseconds"], Value::Null);
        assert_eq!(
            none.to_string(),
            "1.00 s, 0 answers a second, 0 bytes\n       1  not connected, such as: refused\n"
        );
    }
}
