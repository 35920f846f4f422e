//! The time, injected.

use tokio::time::Instant;

/// Where the time comes from. The default is tokio's clock, which a test can pause.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    now: fn() -> Instant,
}

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: fn() -> Instant) -> Self {
        Self { now }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        (self.now)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Instant::now)
    }
}
