//! Decides whether the folder of a route answers, and when it is looked at again. Pure.
//!
//! A call that takes longer than its limit shows that the folder *hangs* (a network disk whose server is gone). From then
//! on no request waits for it; it is probed with growing pauses, until a probe answers or every call that was overdue has
//! come back. A request's call that is answered in time does not end the hang, since it may have been answered before the
//! hang began.

// Decision: A folder is judged and not a file.

use rustix::io::Errno;
use tokio::time::{Duration, Instant};

/// The time between two probes of a folder that answers, so that its loss is noticed without requests.
pub(crate) const PROBE_HEALTHY: Duration = Duration::from_secs(5);
/// The time between two probes of a folder that can't be read.
pub(crate) const PROBE_UNREADABLE: Duration = Duration::from_secs(1);
/// The pause before the first probe of a folder that does not answer; it doubles with each failure.
pub(crate) const PROBE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause between two probes.
pub(crate) const PROBE_LAST: Duration = Duration::from_secs(30);

/// The condition of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It can be read.
    Healthy,
    /// It answers with an error: it is missing, or no folder, or may not be read.
    Unreadable(Errno),
    /// It does not answer.
    Hung,
}

/// The condition of one folder, and what it follows from.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) condition: Condition,
    /// Calls that are overdue and have not come back.
    pub(crate) stuck: u32,
    /// The time of the next probe.
    pub(crate) probe_at: Instant,
    /// The time between the last probe of a folder that does not answer and the next one.
    pause: Duration,
}

impl Health {
    /// Nothing is known yet: a first probe is due at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            condition: Condition::Healthy,
            stuck: 0,
            probe_at: now,
            pause: PROBE_FIRST,
        }
    }

    /// A call is overdue. This and the next four methods return the condition if it has changed.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Condition> {
        self.stuck += 1;
        self.hangs(now)
    }

    /// A folder that is the same on the disk does not answer.
    pub(crate) fn hangs(&mut self, now: Instant) -> Option<Condition> {
        self.change_to(Condition::Hung, now)
    }

    /// A call that was overdue has come back.
    pub(crate) fn returned(&mut self, now: Instant) -> Option<Condition> {
        self.stuck = self.stuck.saturating_sub(1);
        if self.condition != Condition::Hung || self.stuck > 0 {
            return None;
        }
        self.change_to(Condition::Healthy, now)
    }

    /// A call was answered in time, and showed the folder to be in `condition`.
    pub(crate) fn answered(&mut self, condition: Condition, now: Instant) -> Option<Condition> {
        if self.condition == Condition::Hung {
            return None;
        }
        self.change_to(condition, now)
    }

    /// A probe was answered in time, and showed the folder to be in `condition`.
    pub(crate) fn probed(&mut self, condition: Condition, now: Instant) -> Option<Condition> {
        let news = self.change_to(condition, now);
        self.postpone(now);
        news
    }

    /// Puts the next probe off: a probe was made, or can't be made now.
    pub(crate) fn postpone(&mut self, now: Instant) {
        let pause = match self.condition {
            Condition::Healthy => PROBE_HEALTHY,
            Condition::Unreadable(_) => PROBE_UNREADABLE,
            Condition::Hung => {
                let pause = self.pause;
                self.pause = (pause * 2).min(PROBE_LAST);
                pause
            }
        };
        self.probe_at = now + pause;
    }

    fn change_to(&mut self, condition: Condition, now: Instant) -> Option<Condition> {
        if self.condition == condition {
            return None;
        }
        self.condition = condition;
        self.pause = PROBE_FIRST;
        self.postpone(now);
        Some(condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: Condition = Condition::Unreadable(Errno::NOENT);

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_folder_that_hangs_is_told_once_and_probed_later_and_later() {
        let now = Instant::now();
        let mut health = Health::new(now);
        assert_eq!(health.probe_at, now, "a first probe is due at once");
        assert_eq!(health.overdue(now), Some(Condition::Hung));
        assert_eq!(health.overdue(now), None, "no news");
        assert_eq!(
            health.answered(Condition::Healthy, now),
            None,
            "begun before it hung"
        );
        assert_eq!(health.condition, Condition::Hung);
        let mut pauses = Vec::new();
        let mut at = now;
        for _ in 0..8 {
            at = health.probe_at;
            health.postpone(at);
            pauses.push((health.probe_at - at).as_millis());
        }
        assert_eq!(pauses, [1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        assert_eq!(
            health.probed(Condition::Healthy, at),
            Some(Condition::Healthy)
        );
        assert_eq!(health.probe_at, at + PROBE_HEALTHY);
    }

    #[test]
    fn it_is_healthy_again_when_every_overdue_call_has_come_back() {
        let now = Instant::now();
        let mut health = Health::new(now);
        health.overdue(now);
        health.overdue(now);
        assert_eq!(health.returned(after(now, 1)), None);
        assert_eq!(health.stuck, 1);
        assert_eq!(health.returned(after(now, 2)), Some(Condition::Healthy));
        assert_eq!(health.returned(after(now, 3)), None, "never below zero");
        // A second hang begins with short pauses again.
        health.overdue(after(now, 4));
        assert_eq!(health.probe_at, after(now, 4) + PROBE_FIRST);
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_once_and_asked_on() {
        let now = Instant::now();
        let mut health = Health::new(now);
        assert_eq!(health.answered(MISSING, now), Some(MISSING));
        assert_eq!(health.answered(MISSING, now), None);
        assert_eq!(health.probed(MISSING, now), None);
        assert_eq!(health.overdue(now), Some(Condition::Hung));
        assert_eq!(health.probed(MISSING, now), Some(MISSING));
        assert_eq!(
            health.answered(Condition::Healthy, now),
            Some(Condition::Healthy)
        );
    }
}
