//! A limit to the lines that each place in the code may log within a second: clients can cause events, but not fill a disk.
//! A line that is equal to the one before from the same place is left out too. What was left out is logged as a number. All lines
//! of an [`OUTCOME`] are written.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::metrics::Counter;

/// The name of events that each tell a part of the outcome of an order of the owner, such as one line for each route that a reload
/// adds: two orders may have the same outcome, and all of it is logged. No client can give such an order, and the settings bound
/// its lines.
pub(crate) const OUTCOME: &str = "outcome";
/// Lines that one place in the code may log within [`WINDOW`].
const LINES_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);
/// Characters of a message that are kept, to tell what was left out.
const EXAMPLE_MAX: usize = 120;

/// Counts the lines of each place in the code.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    places: Mutex<HashMap<Identifier, LineCount>>,
    /// Lines that were left out so far.
    pub(super) left_out: Counter,
}

#[derive(Debug)]
struct LineCount {
    level: Level,
    /// The beginning of the window.
    since: Instant,
    lines: u32,
    /// The hash of the last line in this window.
    last: Option<u64>,
    left_out: u64,
    /// The message of the first line that was left out.
    example: String,
}

impl LineCount {
    fn new(level: Level, now: Instant) -> Self {
        Self {
            level,
            since: now,
            lines: 0,
            last: None,
            left_out: 0,
            example: String::new(),
        }
    }

    /// Counts one more line, told by its hash; false if it is to be left out.
    fn admit(&mut self, now: Instant, line: u64) -> bool {
        if self.over(now) && self.left_out == 0 {
            *self = Self::new(self.level, now);
        }
        let equal = self.last.replace(line) == Some(line);
        let admitted = !equal && self.lines < LINES_MAX;
        if admitted {
            self.lines += 1;
        } else {
            self.left_out += 1;
        }
        admitted
    }

    fn over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

impl Limiter {
    fn admits(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        if metadata.name() == OUTCOME {
            return true;
        }
        let mut line = LineHash::default();
        event.record(&mut line);
        let mut places = self.places.lock();
        let place = places
            .entry(metadata.callsite())
            .or_insert_with(|| LineCount::new(*metadata.level(), now));
        let admitted = place.admit(now, line.0.finish());
        if !admitted {
            self.left_out.inc();
            if place.left_out == 1 {
                event.record(&mut MessageText(&mut place.example));
            }
        }
        admitted
    }

    /// Logs how many lines were left out in the windows that are over at `now`.
    pub(super) fn tell(&self, now: Instant) {
        const TEXT: &str = "more lines like this one were left out";
        for place in self.take(now) {
            let (lines, example) = (place.left_out, place.example);
            match place.level {
                Level::ERROR => tracing::error!(lines, "{TEXT}: {example}"),
                Level::WARN => tracing::warn!(lines, "{TEXT}: {example}"),
                _ => tracing::info!(lines, "{TEXT}: {example}"),
            }
        }
    }

    /// As [`tell`](Self::tell), for the last windows too, at the end of the log.
    pub(super) fn tell_rest(&self) {
        self.tell(Instant::now() + WINDOW);
    }

    fn take(&self, now: Instant) -> Vec<LineCount> {
        let mut places = self.places.lock();
        let over = places
            .values_mut()
            .filter(|place| place.left_out > 0 && place.over(now));
        over.map(|place| std::mem::replace(place, LineCount::new(place.level, now)))
            .collect()
    }
}

/// The hash of all fields of an event.
#[derive(Default)]
struct LineHash(DefaultHasher);

impl fmt::Write for LineHash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Visit for LineHash {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a hash does not fail.
        let _infallible = write!(self, "{field}={value:?};");
    }
}

/// The message of an event, cut to [`EXAMPLE_MAX`].
struct MessageText<'a>(&'a mut String);

impl Visit for MessageText<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing into a String does not fail.
            let _infallible = write!(self.0, "{value:?}");
            if let Some((end, _)) = self.0.char_indices().nth(EXAMPLE_MAX) {
                self.0.truncate(end);
            }
        }
    }
}

/// The limiter as a part of the subscriber.
#[derive(Debug)]
pub(super) struct Limit(pub(super) Arc<Limiter>);

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admits(event, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_place_logs_so_many_lines_a_second_and_the_rest_is_counted() {
        let begun = Instant::now();
        let mut place = LineCount::new(Level::WARN, begun);
        let lines = 0..u64::from(LINES_MAX) + 7;
        let admitted = lines.filter(|line| place.admit(begun, *line)).count();
        assert_eq!(u32::try_from(admitted), Ok(LINES_MAX));
        assert_eq!(place.left_out, 7);
        assert!(
            !place.admit(begun + WINDOW, 0),
            "the seven are not told yet"
        );
    }

    #[test]
    fn equal_lines_that_follow_each_other_are_counted_and_written_once() {
        let begun = Instant::now();
        let mut place = LineCount::new(Level::WARN, begun);
        let admitted = [1, 1, 1, 2, 1].map(|line| place.admit(begun, line));
        assert_eq!(admitted, [true, false, false, true, true]);
        assert_eq!(place.left_out, 2);
        let mut place = LineCount::new(Level::WARN, begun);
        assert!(place.admit(begun, 1) && place.admit(begun + WINDOW, 1));
    }

    /// The lines that `say` logs, and the limiter.
    fn logged(say: impl FnOnce(&Limiter)) -> (String, Arc<Limiter>) {
        let log = Log::default();
        let limiter = Arc::<Limiter>::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(log.clone());
        let subscriber = tracing_subscriber::registry()
            .with(Limit(Arc::clone(&limiter)))
            .with(layer.with_ansi(false).without_time());
        tracing::subscriber::with_default(subscriber, || say(&limiter));
        let text = String::from_utf8(log.0.lock().clone()).unwrap();
        (text, limiter)
    }

    #[test]
    fn outcomes_are_all_written_equal_ones_too() {
        let (text, limiter) = logged(|limiter| {
            for _ in 0..3 * LINES_MAX {
                tracing::error!(name: OUTCOME, "refused");
            }
            limiter.tell_rest();
        });
        assert_eq!(text.matches(": refused\n").count(), 300, "{text}");
        assert_eq!(limiter.left_out.get(), 0);
    }

    #[test]
    fn what_was_left_out_is_told_once_with_its_number_and_an_example() {
        let (text, limiter) = logged(|limiter| {
            for _ in 0..3 {
                tracing::warn!(peer = 1, "a bad request");
            }
            limiter.tell(Instant::now());
            limiter.tell_rest();
            limiter.tell_rest();
        });
        let told = "more lines like this one were left out: a bad request lines=2";
        assert_eq!(text.matches(told).count(), 1, "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(limiter.left_out.get(), 2);
    }

    #[derive(Debug, Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }
}
