//! How long to wait before a restart.
//!
//! A child that has handled something since its start is restarted at once. Deaths that handled nothing, and failed
//! starts, wait: not at all the first time, then `first`, then each time `factor` longer, up to `max`. The delay is
//! forgotten after a life of `max(10 s, 2 x last delay)`.

use std::time::Duration;

/// The shape of the delays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first delay that is not zero.
    pub first: Duration,
    /// What each further one is multiplied by; at least 1.
    pub factor: f64,
    /// The longest.
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

/// A life this long forgives earlier deaths, however short their delays were.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Where one child stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BackoffState {
    fruitless: u32,
    last: Duration,
}

impl BackoffState {
    /// The delay before the next start, after a life of `lived` that did or did not get anything done; `random` is in
    /// 0.0..1.0.
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
    fn fruitless_lives_wait_longer_and_longer() {
        let mut state = BackoffState::default();
        let mut next = || state.next(PLAIN, false, SHORT, 0.5).as_millis();
        assert_eq!(
            [next(), next(), next(), next(), next(), next()],
            [0, 10, 20, 40, 50, 50]
        );
    }

    #[test]
    fn a_life_with_one_handled_message_forgives_all() {
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
