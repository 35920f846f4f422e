//! Backups by schedule: a child that writes one in each period, verifies it, and removes those that are not kept.
//!
//! Order of reading: `name`, then the decisions, which are pure: `due` (when the next one is made) and `thinning` (which are
//! removed); `target` with `folder_target` and `s3_target` (where they are), `run` (one backup, on a thread of its own),
//! `child` (what waits for the next one), `schedule` (which child that is while the settings change), `by_hand` (what the commands do),
//! `metrics`.
//!
//! A failure is told and tried again. It never reaches the store, of which a backup is only a reader.

mod by_hand;
mod child;
mod due;
mod folder_target;
mod metrics;
mod name;
mod run;
mod s3_target;
mod schedule;
mod target;
mod thinning;

pub(crate) use by_hand::{BackupPlace, back_up, restore};
pub(crate) use run::BackupRunError;
pub(crate) use schedule::Backups;
