//! The patterns of routes, each with a number under which its requests are counted and logged. A number is given once and for
//! all: a route that goes and comes back goes on counting.

use std::sync::OnceLock;

use fnv::FnvHashMap;
use parking_lot::Mutex;

use crate::telemetry::Counter;

/// The most patterns that may come by reloads, beside those of the start. Requests of more are counted without a route.
const PATTERNS_TO_COME: usize = 4096;

/// The patterns of all routes that there are and were.
#[derive(Debug)]
pub(crate) struct RoutePatterns {
    texts: Box<[OnceLock<String>]>,
    numbers: Mutex<FnvHashMap<String, usize>>,
    /// Patterns for which there was no room.
    pub(super) refused: Counter,
}

impl RoutePatterns {
    /// Room for this many patterns and for those to come.
    pub(crate) fn with_room(patterns: usize) -> Self {
        let texts = (0..patterns + PATTERNS_TO_COME).map(|_| OnceLock::new());
        Self {
            texts: texts.collect(),
            numbers: Mutex::default(),
            refused: Counter::default(),
        }
    }

    /// The number of a pattern; `None` if there is no room for another one.
    pub(crate) fn number(&self, pattern: &str) -> Option<usize> {
        let mut numbers = self.numbers.lock();
        if let Some(number) = numbers.get(pattern) {
            return Some(*number);
        }
        let number = numbers.len();
        let Some(text) = self.texts.get(number) else {
            self.refused.inc();
            return None;
        };
        text.get_or_init(|| pattern.to_owned());
        numbers.insert(pattern.to_owned(), number);
        Some(number)
    }

    /// The pattern of a number.
    pub(crate) fn text(&self, number: usize) -> Option<&str> {
        self.texts.get(number)?.get().map(String::as_str)
    }

    /// All patterns, in the order of their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.texts
            .iter()
            .map_while(|text| text.get().map(String::as_str))
    }

    /// The most patterns that there may be.
    pub(crate) fn room(&self) -> usize {
        self.texts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_one_number_and_those_beyond_the_room_have_none() {
        let patterns = RoutePatterns::with_room(1);
        assert_eq!(patterns.number("/"), Some(0));
        for n in 1..patterns.room() {
            assert_eq!(patterns.number(&format!("/{n}")), Some(n));
        }
        assert_eq!(patterns.number("/one-more"), None);
        assert_eq!(patterns.refused.get(), 1);
        assert_eq!(patterns.number("/7"), Some(7));
        assert_eq!(patterns.text(7), Some("/7"));
        assert_eq!(patterns.all().count(), patterns.room());
    }
}
