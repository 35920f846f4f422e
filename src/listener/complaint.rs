//! Limits how often the same error is logged. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two equal log lines.
const EVERY: Duration = Duration::from_secs(1);

/// The time of the last log line, and the number of suppressed ones since.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    told: Option<Instant>,
    kept: u64,
}

impl Complaint {
    /// Whether to log it at `now`; if so, how many were kept back since the last line.
    pub(super) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now < told + EVERY) {
            self.kept += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_told_once_a_second_with_what_was_kept_back() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut complaint = Complaint::default();
        let told: Vec<_> = [0, 20, 999, 1000, 1500, 2100]
            .map(|ms| complaint.due(at(ms)))
            .into_iter()
            .collect();
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
