//! `perennial probe`: sends concurrent requests, and prints how long they took.

mod statistics;

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use tokio::time::Instant;

use super::asking::{Asking, RequestEnd, Timed, web_url};
use super::{Exit, complain, print};
use crate::num::as_usize;
use statistics::Distribution;

/// `perennial probe`
#[derive(Debug, clap::Args)]
pub(super) struct ProbeArgs {
    /// The URL, such as <http://localhost:3000/books>; https too
    #[arg(value_name = "URL", value_parser = web_url)]
    url: reqwest::Url,
    /// The number of requests, each of which is remembered
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: u32,
    /// The number of requests in flight at a time
    #[arg(short, long, value_name = "COUNT", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// The method
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    method: reqwest::Method,
    /// The time that each request may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print a line for each request when it ends, and no distribution
    #[arg(long)]
    each: bool,
    /// Print JSON: an object, or one for each request
    #[arg(long)]
    json: bool,
}

impl ProbeArgs {
    pub(super) fn run(self) -> Exit {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.send_all()),
            Err(error) => complain(&error, Exit::Failed),
        }
    }

    async fn send_all(self) -> Exit {
        let asking = match Asking::new(self.timeout, 0) {
            Ok(asking) => asking,
            Err(error) => return complain(&error, Exit::Failed),
        };
        let bar = ProgressBar::new(self.requests.into());
        let begun = Instant::now();
        let asked = stream::iter(0..self.requests).map(|_| {
            let request = reqwest::Request::new(self.method.clone(), self.url.clone());
            asking.ask(request, begun)
        });
        let mut asked = asked.buffer_unordered(as_usize(self.concurrency.into()));
        let mut all = Vec::new();
        let mut printed = Exit::Ok;
        while let Some(timed) = asked.next().await {
            if self.each {
                let line = self.line(&timed);
                printed = bar.suspend(|| print(&line));
                if printed != Exit::Ok {
                    break;
                }
            }
            bar.inc(1);
            all.push(timed);
        }
        bar.finish_and_clear();
        let whole = Distribution::of(&all, begun.elapsed());
        if !self.each {
            printed = print(&self.summary(&whole));
        }
        if printed == Exit::Ok {
            exit(&all)
        } else {
            printed
        }
    }

    fn line(&self, timed: &Timed) -> String {
        if self.json {
            format!("{}\n", timed.json())
        } else {
            format!("{timed}\n")
        }
    }

    fn summary(&self, whole: &Distribution) -> String {
        if self.json {
            format!("{:#}\n", whole.json())
        } else {
            format!(
                "{} requests to {}, {} at a time\n{whole}",
                self.requests, self.url, self.concurrency
            )
        }
    }
}

/// 0 if each request was answered without an error, 69 if none was answered at all.
fn exit(all: &[Timed]) -> Exit {
    if all.iter().all(Timed::is_good) {
        Exit::Ok
    } else if all
        .iter()
        .all(|timed| matches!(timed.ended, RequestEnd::Failed { .. }))
    {
        Exit::Unavailable
    } else {
        Exit::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::asking::Failure;

    #[test]
    fn the_exit_code_tells_whether_all_some_or_none_were_answered_well() {
        let good = RequestEnd::Answered {
            status: 200,
            bytes: 1,
            body: Vec::new(),
        };
        let bad = RequestEnd::Answered {
            status: 404,
            bytes: 1,
            body: Vec::new(),
        };
        let failed = RequestEnd::Failed {
            failure: Failure::NotConnected,
            error: "refused".to_owned(),
        };
        for (ends, wanted) in [
            (vec![&good, &good], Exit::Ok),
            (vec![&good, &bad], Exit::Failed),
            (vec![&bad, &bad], Exit::Failed),
            (vec![&good, &failed], Exit::Failed),
            (vec![&bad, &failed], Exit::Failed),
            (vec![&failed, &failed], Exit::Unavailable),
        ] {
            let all: Vec<_> = ends
                .into_iter()
                .map(|ended| Timed {
                    at: Duration::ZERO,
                    took: Duration::ZERO,
                    ended: ended.clone(),
                })
                .collect();
            assert_eq!(exit(&all), wanted, "{all:?}");
        }
    }
}
