//! The numbers of backups, for `/metrics`.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::Gauge;

use super::target::Found;
use crate::telemetry::{Counter, metrics};

metrics! {
    /// Counters and times, shared by all incarnations of the child.
    #[derive(Clone)]
    pub(super) struct BackupMetrics {
        success: Gauge<u64, AtomicU64> = "perennial_backup_last_success_timestamp_seconds",
            "When the newest backup was begun; 0 if there is none";
        verified: Gauge<u64, AtomicU64> = "perennial_backup_verified_timestamp_seconds",
            "When the newest backup was begun that was restored and compared; 0 if there is none";
        failures: Counter = "perennial_backup_failures",
            "Attempts to make or to verify a backup that failed";
        bytes: Gauge<u64, AtomicU64> = "perennial_backup_bytes",
            "The size of the newest backup";
        change: Gauge<u64, AtomicU64> = "perennial_backup_change",
            "The newest backup has all changes up to the one of this number";
        kept: Gauge<u64, AtomicU64> = "perennial_backup_kept",
            "How many backups there are";
    }
}

impl BackupMetrics {
    /// Takes over what is there.
    pub(super) fn found(&self, found: &Found) {
        if let Some((newest, bytes)) = found.backups.last() {
            self.success.set(newest.taken);
            self.bytes.set(*bytes);
            self.change.set(newest.change);
        }
        if let Some(newest) = found.verified.last() {
            self.verified.set(newest.taken);
        }
        self.kept.set(crate::num::as_u64(found.backups.len()));
    }
}
