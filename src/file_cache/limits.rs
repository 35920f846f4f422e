//! The limits of the cache. They may change while it runs, and a request reads them without a lock.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::num::as_millis;
use crate::settings::FileCacheSettings;

/// The longest time that a call may take before the root counts as hung, whatever the settings allow a request to wait.
const CALL_LIMIT_MAX: Duration = Duration::from_secs(10);

/// The limits as they are now. Each one changes by itself; nobody needs two of them from the same moment.
#[derive(Debug, Default)]
pub(crate) struct CacheLimits {
    budget_bytes: AtomicUsize,
    max_file_bytes: AtomicUsize,
    revalidate_ms: AtomicU64,
    deadline_ms: AtomicU64,
}

impl CacheLimits {
    pub(crate) fn new(settings: &FileCacheSettings, deadline: Duration) -> Self {
        let limits = Self::default();
        limits.set(settings, deadline);
        limits
    }

    pub(crate) fn set(&self, settings: &FileCacheSettings, deadline: Duration) {
        let FileCacheSettings {
            budget_bytes,
            max_file_bytes,
            revalidate,
        } = settings;
        self.budget_bytes.store(*budget_bytes, Ordering::Relaxed);
        self.max_file_bytes
            .store(*max_file_bytes, Ordering::Relaxed);
        self.revalidate_ms
            .store(as_millis(*revalidate), Ordering::Relaxed);
        self.deadline_ms
            .store(as_millis(deadline), Ordering::Relaxed);
    }

    /// Bytes that all entries may count for.
    pub(crate) fn budget_bytes(&self) -> usize {
        self.budget_bytes.load(Ordering::Relaxed)
    }

    /// A larger file is not kept.
    pub(crate) fn max_file_bytes(&self) -> usize {
        self.max_file_bytes.load(Ordering::Relaxed)
    }

    /// The age at which an entry is compared with its file again.
    pub(crate) fn revalidate_ms(&self) -> u64 {
        self.revalidate_ms.load(Ordering::Relaxed)
    }

    /// The time that a request waits for a file.
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.load(Ordering::Relaxed))
    }

    /// The time after which a call is overdue: early enough for the request to be answered.
    pub(crate) fn call_time(&self) -> Duration {
        (self.deadline() * 3 / 4).min(CALL_LIMIT_MAX)
    }
}
