//! A clock that can be passed as an argument.

use tokio::time::Instant;

/// Where a part of the program takes the time from. The default is tokio's clock, which a test can pause.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// The time.
    pub fn now(self) -> Instant {
        Instant::now()
    }
}
