//! A limit to how many lines a second each place in the code may log: a client can cause events, but not fill a disk.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines that one place in the code may log within [`WINDOW`].
const LINES_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);
/// Characters of a left out line that are kept, to tell what it was.
const EXAMPLE_MAX: usize = 120;

/// Counts the lines of each place in the code.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    places: Mutex<HashMap<Identifier, LineCount>>,
    left_out: AtomicU64,
}

#[derive(Debug)]
struct LineCount {
    since: Instant,
    lines: u32,
    left_out: u64,
    level: Level,
    example: String,
}

impl LineCount {
    /// Counts one more line; false if it is one too many.
    fn admit(&mut self, now: Instant) -> bool {
        if self.over(now) && self.left_out == 0 {
            (self.since, self.lines) = (now, 0);
        }
        self.lines = self.lines.saturating_add(1);
        let admitted = self.lines <= LINES_MAX;
        self.left_out += u64::from(!admitted);
        admitted
    }

    fn over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

impl Limiter {
    /// Lines that were left out so far.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    fn admits(&self, event: &Event<'_>, now: Instant) -> bool {
        let mut places = self.places.lock();
        let place = places
            .entry(event.metadata().callsite())
            .or_insert_with(|| LineCount {
                since: now,
                lines: 0,
                left_out: 0,
                level: *event.metadata().level(),
                example: String::new(),
            });
        let admitted = place.admit(now);
        if !admitted {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            if place.left_out == 1 {
                place.example.clear();
                event.record(&mut MessageText(&mut place.example));
            }
        }
        admitted
    }

    /// Logs how many lines were left out in the windows that are over.
    pub(super) fn tell(&self, now: Instant) {
        for (level, lines, example) in self.take(now) {
            if level == Level::ERROR {
                tracing::error!(lines, "more lines like this one were left out: {example}");
            } else {
                tracing::warn!(lines, "more lines like this one were left out: {example}");
            }
        }
    }

    fn take(&self, now: Instant) -> Vec<(Level, u64, String)> {
        let mut places = self.places.lock();
        let over = places
            .values_mut()
            .filter(|place| place.left_out > 0 && place.over(now));
        over.map(|place| {
            (place.since, place.lines) = (now, 0);
            let lines = std::mem::take(&mut place.left_out);
            (place.level, lines, std::mem::take(&mut place.example))
        })
        .collect()
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
    use super::*;

    #[test]
    fn a_place_logs_so_many_lines_a_second_and_the_rest_is_counted() {
        let begun = Instant::now();
        let limiter = Limiter::default();
        let mut window = LineCount {
            since: begun,
            lines: 0,
            left_out: 0,
            level: Level::WARN,
            example: String::new(),
        };
        let admitted = (0..LINES_MAX + 7).filter(|_| window.admit(begun)).count();
        assert_eq!(u32::try_from(admitted), Ok(LINES_MAX));
        let places = [(
            tracing::callsite!(name: "x", kind: tracing::metadata::Kind::EVENT, fields: message),
            window,
        )];
        let places =
            places.map(|(place, window)| (tracing::Callsite::metadata(place).callsite(), window));
        *limiter.places.lock() = places.into();
        assert!(limiter.take(begun).is_empty(), "the window is not over");
        let told = limiter.take(begun + WINDOW);
        assert_eq!(told, [(Level::WARN, 7, String::new())]);
        assert!(limiter.take(begun + 2 * WINDOW).is_empty());
    }
}
