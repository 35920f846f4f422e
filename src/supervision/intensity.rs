//! OTP's restart intensity: how many restarts a supervisor allows within a sliding window (`supervisor:add_restart/1`).

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

/// The number of restarts that a supervisor allows within a period before it gives up and escalates.
///
/// In settings the fields are called `count` and `within`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Intensity {
    /// The restarts that are allowed; 0 allows none.
    #[serde(rename = "count")]
    pub max_restarts: usize,
    /// The length of the window; more than zero.
    #[serde(rename = "within", with = "humantime_serde")]
    pub period: Duration,
}

impl Default for Intensity {
    /// One restart in five seconds, as in OTP.
    fn default() -> Self {
        Self {
            max_restarts: 1,
            period: Duration::from_secs(5),
        }
    }
}

/// The times of the restarts within the window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    restarts: Vec<Instant>,
}

impl Window {
    /// Counts a restart. Returns false if it is one too many.
    pub(crate) fn allows(&mut self, intensity: Intensity, now: Instant) -> bool {
        let inside = |at: &Instant| now.saturating_duration_since(*at) <= intensity.period;
        self.restarts.retain(inside);
        let allowed = self.restarts.len() < intensity.max_restarts;
        if allowed {
            self.restarts.push(now);
        }
        allowed
    }

    /// The number of restarts within the window.
    pub(crate) fn fill(&self, intensity: Intensity, now: Instant) -> usize {
        let inside = |at: &&Instant| now.saturating_duration_since(**at) <= intensity.period;
        self.restarts.iter().filter(inside).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_window_slides() {
        let intensity = Intensity {
            max_restarts: 2,
            period: Duration::from_secs(5),
        };
        let mut window = Window::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert!(window.allows(intensity, at(0)));
        assert!(window.allows(intensity, at(1)));
        assert!(
            !window.allows(intensity, at(5)),
            "0 s is still inside: the period is inclusive"
        );
        assert!(window.allows(intensity, at(6)));
        assert_eq!(window.fill(intensity, at(6)), 2);
        assert_eq!(window.fill(intensity, at(60)), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_intensity_of_zero_allows_nothing() {
        let intensity = Intensity {
            max_restarts: 0,
            period: Duration::from_secs(5),
        };
        assert!(!Window::default().allows(intensity, Instant::now()));
    }
}
