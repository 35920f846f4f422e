//! `perennial call`: sends the requests of a file at the same time, each for itself or as a group that fails as a whole.

mod requests;

use std::fmt::Write as _;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::{Stream as _, StreamExt as _, stream};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::asking::{Asking, RequestEnd, Timed, milliseconds};
use super::{Exit, complain, print, say};
use crate::num::as_u64;
use requests::{CallFile, PreparedCall, Together};

/// The most bytes of an answer that `--json` prints.
const BODY_BYTES_MAX: usize = 1 << 20;
/// The most characters of an answer that tell why a request failed.
const CAUSE_CHARACTERS_MAX: usize = 200;

/// `perennial call`
#[derive(Debug, clap::Args)]
pub(super) struct CallArgs {
    /// The requests, as TOML or JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The effect of a failed request on the others, instead of the file's mode: with gather they go on, with group they are cancelled
    #[arg(long, value_enum)]
    mode: Option<Together>,
    /// The beginning of URLs that are only a path, instead of the file's base
    #[arg(long, value_name = "URL", value_parser = super::asking::web_url)]
    base: Option<reqwest::Url>,
    /// The number of requests that wait for their answers at a time
    #[arg(short, long, value_name = "COUNT", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    concurrency: u16,
    /// The time that each request may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print JSON, with the answers
    #[arg(long)]
    json: bool,
}

/// The end of one request of the file.
#[derive(Debug, Clone)]
enum Called {
    /// It was answered as it should be.
    Good(Timed),
    /// It was not, for this reason.
    Failed(Timed, String),
    /// Another request of its group failed first. If it was under way, nobody knows whether it was carried out.
    Cancelled { begun: bool },
}

impl CallArgs {
    pub(super) fn run(self) -> Exit {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) => return self.refuse(&error),
        };
        let prepared = CallFile::parse(&text).and_then(|file| {
            let together = self.mode.unwrap_or(file.mode);
            Ok((together, file.prepare(self.base.as_ref())?))
        });
        let (together, calls) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return self.refuse(&error),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.call(together, &calls)),
            Err(error) => complain(&error, Exit::Failed),
        }
    }

    fn refuse(&self, error: &dyn std::fmt::Display) -> Exit {
        say(format_args!("perennial: {}: {error}", self.file.display()));
        Exit::Config
    }

    async fn call(&self, together: Together, calls: &[PreparedCall]) -> Exit {
        let asking = match Asking::new(self.timeout, BODY_BYTES_MAX) {
            Ok(asking) => asking,
            Err(error) => return complain(&error, Exit::Failed),
        };
        let bar = ProgressBar::new(as_u64(calls.len()));
        let begun = Instant::now();
        let ends = send(&asking, together, calls, self.concurrency.into(), &bar).await;
        bar.finish_and_clear();
        let printed = print(&if self.json {
            format!("{:#}\n", as_json(together, calls, &ends))
        } else {
            table(calls, &ends, begun.elapsed())
        });
        printed.and_then(|| exit(&ends))
    }
}

/// Sends all requests, and returns how each ended. In a group, the first failure cancels all that have not ended by then.
async fn send(
    asking: &Asking,
    together: Together,
    calls: &[PreparedCall],
    at_a_time: usize,
    bar: &ProgressBar,
) -> Vec<Called> {
    let begun = Instant::now();
    let mut ends: Vec<_> = calls
        .iter()
        .map(|_| Called::Cancelled { begun: false })
        .collect();
    let started = std::cell::RefCell::new(vec![false; calls.len()]);
    let sent = stream::iter(calls.iter().enumerate()).map(|(index, call)| {
        let started = &started;
        async move {
            if let Some(started) = started.borrow_mut().get_mut(index) {
                *started = true;
            }
            let timed = asking.ask(call.request(), begun).await;
            (index, call.judge(timed))
        }
    });
    let mut sent = pin!(sent.buffer_unordered(at_a_time));
    let mut failed = false;
    loop {
        // After a failure, what has ended at the same moment counts, too.
        let next = poll_fn(|cx| match sent.as_mut().poll_next(cx) {
            Poll::Pending if failed => Poll::Ready(None),
            next @ (Poll::Ready(_) | Poll::Pending) => next,
        });
        let Some((index, end)) = next.await else {
            break;
        };
        bar.inc(1);
        failed |= together == Together::Group && matches!(end, Called::Failed(..));
        if let Some(place) = ends.get_mut(index) {
            *place = end;
        }
    }
    for (end, started) in ends.iter_mut().zip(started.borrow().iter()) {
        if let Called::Cancelled { begun } = end {
            *begun = *started;
        }
    }
    ends
}

impl PreparedCall {
    /// The end of the call.
    fn judge(&self, timed: Timed) -> Called {
        let cause = match &timed.ended {
            RequestEnd::Failed { failure, error } => Some(format!("{}: {error}", failure.label())),
            RequestEnd::Answered { status, body, .. } => {
                let good = self
                    .expect
                    .map_or(*status < 400, |wanted| *status == wanted);
                (!good).then(|| cause(*status, self.expect, body))
            }
        };
        match cause {
            None => Called::Good(timed),
            Some(cause) => Called::Failed(timed, cause),
        }
    }
}

/// The reason why an answer is a failure: what was expected, and what the answer says.
fn cause(status: u16, expected: Option<u16>, body: &[u8]) -> String {
    let mut cause = match expected {
        Some(expected) => format!("{status} instead of {expected}"),
        None => status.to_string(),
    };
    let text = String::from_utf8_lossy(body);
    let detail = serde_json::from_slice::<Value>(body).ok();
    let detail = detail.and_then(|problem| problem.get("detail")?.as_str().map(str::to_owned));
    let detail = detail.unwrap_or_else(|| text.lines().next().unwrap_or_default().to_owned());
    let shown: String = detail
        .chars()
        .filter(|c| !c.is_control())
        .take(CAUSE_CHARACTERS_MAX)
        .collect();
    if !shown.is_empty() {
        let _never_fails = write!(cause, ": {shown}");
    }
    cause
}

impl Called {
    /// Its columns: the outcome, the time, and what more there is to say.
    fn columns(&self) -> (String, String, String) {
        let took = |timed: &Timed| format!("{:.1} ms", milliseconds(timed.took));
        match self {
            Self::Good(timed) => match &timed.ended {
                RequestEnd::Answered { status, bytes, .. } => {
                    (status.to_string(), took(timed), format!("{bytes} bytes"))
                }
                RequestEnd::Failed { error, .. } => {
                    ("failed".to_owned(), took(timed), error.clone())
                }
            },
            Self::Failed(timed, cause) => ("failed".to_owned(), took(timed), cause.clone()),
            Self::Cancelled { begun: true } => (
                "cancelled".to_owned(),
                String::new(),
                "under way: it may have been carried out".to_owned(),
            ),
            Self::Cancelled { begun: false } => {
                ("cancelled".to_owned(), String::new(), "not sent".to_owned())
            }
        }
    }
}

/// A line for each request, and one for all.
fn table(calls: &[PreparedCall], ends: &[Called], took: Duration) -> String {
    let widest = calls.iter().map(|call| call.name.chars().count()).max();
    let widest = widest.unwrap_or_default().min(60);
    let mut out = String::new();
    for (call, end) in calls.iter().zip(ends) {
        let (outcome, took, more) = end.columns();
        let _never_fails = writeln!(
            out,
            "{:<widest$}  {outcome:<9}  {took:>11}  {more}",
            call.name
        );
    }
    let count = |wanted: fn(&Called) -> bool| ends.iter().filter(|end| wanted(end)).count();
    let good = count(|end| matches!(end, Called::Good(_)));
    let failed = count(|end| matches!(end, Called::Failed(..)));
    let cancelled = count(|end| matches!(end, Called::Cancelled { .. }));
    let took = milliseconds(took);
    let _never_fails = writeln!(
        out,
        "{good} good, {failed} failed, {cancelled} cancelled, in {took:.1} ms"
    );
    out
}

/// The same as JSON, with the answers.
fn as_json(together: Together, calls: &[PreparedCall], ends: &[Called]) -> Value {
    let results = calls.iter().zip(ends).map(|(call, end)| {
        let mut result = match end {
            Called::Good(timed) | Called::Failed(timed, _) => timed.json(),
            Called::Cancelled { begun } => json!({"cancelled": true, "begun": begun}),
        };
        let mut more = vec![("name", Value::from(call.name.as_str()))];
        if let Called::Good(timed) | Called::Failed(timed, _) = end
            && let RequestEnd::Answered { body, bytes, .. } = &timed.ended
        {
            let value = serde_json::from_slice(body);
            let value = value.unwrap_or_else(|_| String::from_utf8_lossy(body).into());
            more.push(("body", value));
            if as_u64(body.len()) < *bytes {
                more.push(("body_cut", true.into()));
            }
        }
        if let Called::Failed(_, cause) = end {
            more.push(("failed", cause.as_str().into()));
        }
        if let Some(members) = result.as_object_mut() {
            members.extend(
                more.into_iter()
                    .map(|(name, value)| (name.to_owned(), value)),
            );
        }
        result
    });
    let results: Vec<_> = results.collect();
    json!({"mode": together.name(), "results": results})
}

/// 0 if all went well, 69 if none was answered at all.
fn exit(ends: &[Called]) -> Exit {
    let unanswered = |end: &Called| match end {
        Called::Failed(timed, _) => matches!(timed.ended, RequestEnd::Failed { .. }),
        Called::Cancelled { .. } => true,
        Called::Good(_) => false,
    };
    if ends.iter().all(|end| matches!(end, Called::Good(_))) {
        Exit::Ok
    } else if ends.iter().all(unanswered) {
        Exit::Unavailable
    } else {
        Exit::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Timed {
        Timed {
            at: Duration::ZERO,
            took: Duration::from_millis(2),
            ended: RequestEnd::Answered {
                status,
                bytes: 7,
                body: body.into(),
            },
        }
    }

    fn call(expect: Option<u16>) -> PreparedCall {
        let text = r#"[{"url": "http://localhost:1/books", "name": "books"}]"#;
        let file = CallFile::parse(text).unwrap();
        let mut calls = file.prepare(None).unwrap();
        let mut call = calls.remove(0);
        call.expect = expect;
        call
    }

    #[test]
    fn an_answer_is_judged_by_what_is_expected_or_by_its_status() {
        let problem = r#"{"detail":"there is no such record"}"#;
        for (expect, status, body, cause) in [
            (None, 200, "{}", None),
            (None, 404, problem, Some("404: there is no such record")),
            (None, 500, "broken\nmore", Some("500: broken")),
            (Some(404), 404, problem, None),
            (Some(201), 200, "", Some("200 instead of 201")),
        ] {
            let found = match call(expect).judge(answered(status, body)) {
                Called::Good(_) => None,
                Called::Failed(_, cause) => Some(cause),
                Called::Cancelled { .. } => Some(String::new()),
            };
            assert_eq!(found.as_deref(), cause, "{status}");
        }
    }

    #[test]
    fn the_table_and_the_exit_code_tell_how_all_ended() {
        let good = || Called::Good(answered(200, ""));
        let bad = || Called::Failed(answered(404, ""), "404".to_owned());
        let lost = || {
            let mut timed = answered(0, "");
            timed.ended = RequestEnd::Failed {
                failure: super::super::asking::Failure::TimedOut,
                error: "late".to_owned(),
            };
            Called::Failed(timed, "timed out: late".to_owned())
        };
        let cancelled = || Called::Cancelled { begun: true };
        for (ends, wanted) in [
            (vec![good(), good()], Exit::Ok),
            (vec![good(), bad()], Exit::Failed),
            (vec![bad(), cancelled()], Exit::Failed),
            (vec![lost(), cancelled()], Exit::Unavailable),
        ] {
            assert_eq!(exit(&ends), wanted, "{ends:?}");
        }
        let calls = [call(None), call(None), call(None)];
        let told = table(
            &calls,
            &[good(), bad(), cancelled()],
            Duration::from_millis(5),
        );
        assert_eq!(
            told,
            "books  200             2.0 ms  7 bytes\n\
             books  failed          2.0 ms  404\n\
             books  cancelled               under way: it may have been carried out\n\
             1 good, 1 failed, 1 cancelled, in 5.0 ms\n"
        );
    }
}
