//! Shows on stderr how far a transfer is: a bar on a terminal, elsewhere a line from time to time.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::cli::say;

/// The time between two lines where stderr is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(5);

/// The display of a transfer's progress.
pub(super) struct Meter {
    name: String,
    bar: Option<ProgressBar>,
    total: Option<u64>,
    told: Instant,
}

impl Meter {
    /// A meter of something that has `total` parts, if that is known.
    pub(super) fn new(name: &str, total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = match total {
                Some(_) => "{msg} {wide_bar} {percent:>3} % {eta:>4}",
                None => "{spinner} {msg}",
            };
            let style = ProgressStyle::with_template(template);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            bar.with_style(style)
        });
        Self {
            name: name.to_owned(),
            bar,
            total,
            told: Instant::now(),
        }
    }

    /// Shows that `done` parts are done, which are so many records.
    pub(super) fn show(&mut self, done: u64, records: u64) {
        let text = format!("{}: {records} records", self.name);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(text);
        } else if self.told.elapsed() >= LINES_EVERY {
            self.told = Instant::now();
            match self.total {
                Some(total) => say(format_args!("{text}, {} %", done * 100 / total.max(1))),
                None => say(text),
            }
        }
    }

    /// Prints a line to stderr.
    pub(super) fn say(&self, text: impl std::fmt::Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    /// Removes the bar.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
