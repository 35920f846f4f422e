//! Backoff: how long a child waits before it is restarted.
//!
//! A child that handled something since its start is restarted at once. After an incarnation that handled nothing, and after a
//! failed start, it waits: 0 the first time, then `first`, then each time `factor` times longer, up to `max`. The delay is
//! reset after an incarnation that lived for `max(10 s, 2 x last delay)`.

use std::time::Duration;

use serde::Deserialize;

/// The delays between the restarts of a child that gets nothing done.
///
/// Read from settings, a duration is text such as `"10ms"`, and what is left out has its default.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The first delay that is not zero.
    #[serde(with = "humantime_serde")]
    pub first: Duration,
    /// Each further delay is this many times longer; at least 1.
    pub factor: f64,
    /// The longest delay.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
    /// The part of a delay that is random: 0.0 none, 1.0 all of it ("full jitter").
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(10),
            factor: 2.0,
            max: Duration::from_secs(30),
            jitter: 1.0,
        }
    }
}

/// An incarnation that lived this long resets the delay, however short the last delay was.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// The state of the delays of one child.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BackoffState {
    /// Incarnations in a row that handled nothing.
    fruitless: u32,
    last: Duration,
}

impl BackoffState {
    /// The delay before the next start, after an incarnation that lived for `lived` and did or did not handle something.
    /// `random` is in 0.0..1.0.
    pub(crate) fn next(
        &mut self,
        shape: Backoff,
        handled: bool,
        lived: Duration,
        random: f64,
    ) -> Duration {
        if handled || lived >= HEALTHY_AFTER.max(self.last * 2) {
            *self = Self::default();
            return Duration::ZERO;
        }
        let step = self.fruitless;
        self.fruitless = self.fruitless.saturating_add(1);
        self.last = match step.checked_sub(1) {
            None => Duration::ZERO,
            Some(power) => {
                let grown = shape.factor.powf(f64::from(power)) * shape.first.as_secs_f64();
                let full = Duration::try_from_secs_f64(grown)
                    .unwrap_or(shape.max)
                    .min(shape.max);
                full.mul_f64(1.0 - shape.jitter * random.clamp(0.0, 1.0))
            }
        };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Backoff = Backoff {
        first: Duration::from_millis(10),
        factor: 2.0,
        max: Duration::from_millis(50),
        jitter: 0.0,
    };
    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn incarnations_that_handle_nothing_wait_longer_and_longer() {
        let mut state = BackoffState::default();
        let mut next = || state.next(PLAIN, false, SHORT, 0.5).as_millis();
        assert_eq!(
            [next(), next(), next(), next(), next(), next()],
            [0, 10, 20, 40, 50, 50]
        );
    }

    #[test]
    fn one_handled_message_resets_the_delay() {
        let mut state = BackoffState::default();
        for _ in 0..5 {
            state.next(PLAIN, false, SHORT, 0.0);
        }
        assert_eq!(state.next(PLAIN, true, SHORT, 0.0), Duration::ZERO);
        assert_eq!(state.next(PLAIN, false, SHORT, 0.0), Duration::ZERO);
    }

    #[test]
    fn full_jitter_takes_any_part_of_the_delay() {
        let shape = Backoff {
            jitter: 1.0,
            ..PLAIN
        };
        let mut state = BackoffState::default();
        state.next(shape, false, SHORT, 0.0);
        assert_eq!(
            state.next(shape, false, SHORT, 0.75),
            Duration::from_micros(2_500)
        );
    }
}
