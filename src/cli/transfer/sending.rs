//! Sends parcels of rows to the daemon, one after the other, and keeps the state of the import.
//!
//! If the answer to a parcel is missing, the parcel is sent again, and the daemon finds out from its log of changes whether it was taken:
//! it is sent with the change
//! before it. So is the first parcel of an import that goes on, and those after it as long as they turn out to have been taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::time::Instant;

use super::import_state::ImportState;
use super::meter::Meter;
use super::records_path;
use super::rows_in::RowsSent;
use super::seen_rows::SeenRows;
use super::waiting::{WaitingRow, WaitingRows, parcel_of};
use crate::admin::{ParcelDone, RefusedLine};
use crate::cli::admin_client::{AdminAnswer, AdminClient, ClientError};
use crate::cli::say;
use crate::num::as_u64;

/// The time for which a daemon that does not answer, or fails, is asked again.
const RETRY_FOR: Duration = Duration::from_secs(5);
/// The time for which a daemon is asked again that says that it can't take records now: its store is being made again, or has
/// no room.
const RETRY_LATER_FOR: Duration = Duration::from_secs(60);
/// The pause between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Rows on their way to the daemon.
#[derive(Debug, Default)]
pub(super) struct RowParcel {
    pub(super) resource: String,
    /// A line of JSON for each row; an empty one for a row that is not sent.
    pub(super) body: Vec<u8>,
    pub(super) rows: Vec<ParcelRow>,
}

/// A row of a parcel.
#[derive(Debug)]
pub(super) struct ParcelRow {
    /// Its line in the file.
    pub(super) line: u64,
    pub(super) fate: RowFate,
}

/// The fate of a row.
#[derive(Debug)]
pub(super) enum RowFate {
    /// It is sent.
    Sent { hash: u64 },
    /// It is wrong already.
    Wrong(Vec<String>),
    /// Its resource is not declared.
    LeftOut,
    /// An earlier run has brought it.
    IsIn,
}

impl RowParcel {
    /// The rows that the daemon gets, if there are any.
    fn sent(&self) -> Option<RowsSent> {
        let hashes = self.rows.iter().filter_map(|row| match row.fate {
            RowFate::Sent { hash } => Some(hash),
            RowFate::Wrong(_) | RowFate::LeftOut | RowFate::IsIn => None,
        });
        let sum = hashes.reduce(u64::wrapping_add)?;
        let rows = as_u64(self.rows.len());
        Some(RowsSent { rows, sum })
    }
}

/// The reason why parcels were not all sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendingFault {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "rows were refused in more than 100 000 places: the import stops here; mend them, and give the same command again"
    )]
    Scattered,
}

/// The time for which a parcel is sent again after this error.
fn patience(error: &ClientError) -> Duration {
    if !error.is_passing() {
        Duration::ZERO
    } else if error.asks_for_patience() {
        RETRY_LATER_FOR
    } else {
        RETRY_FOR
    }
}

/// Sends parcels.
pub(super) struct ParcelSender<'a> {
    pub(super) client: &'a AdminClient,
    pub(super) state: ImportState,
    /// The place of the state; none if the import can't go on later.
    pub(super) state_file: Option<PathBuf>,
    /// Whether the next parcel may have been taken already.
    pub(super) unsure: bool,
    /// The rows that a dry run has seen; none if it is no dry run.
    pub(super) seen: Option<SeenRows>,
    /// The rows that lack records to which they refer.
    pub(super) waiting: WaitingRows,
    /// The number of rows that were sent again.
    pub(super) again: u64,
    /// The name of the file, for people.
    pub(super) name: String,
    pub(super) meter: Meter,
    /// The bytes of the file that were read.
    pub(super) read: Arc<AtomicU64>,
}

impl ParcelSender<'_> {
    /// Sends all parcels, up to one that fails. Returns the state after the last one.
    pub(super) fn run(
        mut self,
        parcels: Receiver<RowParcel>,
    ) -> (ImportState, Result<(), SendingFault>) {
        let sent = parcels
            .into_iter()
            .try_for_each(|parcel| self.send_parcel(&parcel));
        let sent = sent.and_then(|()| self.send_waiting());
        for row in std::mem::take(&mut self.waiting).into_sorted() {
            self.tell(row.line, &row.faults);
        }
        self.save();
        self.meter.end();
        (self.state, sent)
    }

    fn send_parcel(&mut self, parcel: &RowParcel) -> Result<(), SendingFault> {
        self.state.sent = parcel.sent();
        self.save();
        let mut done = ParcelDone::default();
        if self.state.sent.is_some() {
            done = self.send(parcel, self.state.rows)?;
        }
        if let Some(seen) = &mut self.seen {
            seen.rehearse(parcel, &mut done, self.state.subject.upsert);
        }
        self.unsure = self.unsure && is_unsure_after(&done);
        let waiting = self.waiting.add(parcel, &done, self.state.rows);
        self.report(parcel, &done, &waiting);
        self.state.answered(&parcel.rows, &done);
        let read = self.read.load(Ordering::Relaxed);
        self.meter.show(read, self.state.rows);
        if self.state.rows_in.is_too_scattered() {
            return Err(SendingFault::Scattered);
        }
        Ok(())
    }

    /// Sends the rows that wait until none of them goes in any more.
    fn send_waiting(&mut self) -> Result<(), SendingFault> {
        loop {
            let all = self.waiting.len();
            let mut left = all;
            while left > 0 {
                let rows = self.waiting.next(left);
                left -= rows.len();
                self.send_again(rows)?;
            }
            if self.waiting.len() == all {
                return Ok(());
            }
        }
    }

    /// Sends rows again that waited.
    fn send_again(&mut self, rows: Vec<WaitingRow>) -> Result<(), SendingFault> {
        let parcel = parcel_of(&rows);
        // No other rows of this import have these numbers.
        let first = self.state.rows + self.again;
        self.again += as_u64(rows.len());
        let mut done = match self.send(&parcel, first) {
            Ok(done) => done,
            Err(error) => {
                for row in rows {
                    self.waiting.push(row);
                }
                return Err(error.into());
            }
        };
        if let Some(seen) = &mut self.seen {
            seen.rehearse(&parcel, &mut done, self.state.subject.upsert);
        }
        let refused = std::mem::take(&mut done.refused).into_iter();
        let mut refused: BTreeMap<_, _> = refused.map(|line| (line.at, line)).collect();
        for (at, row) in rows.into_iter().enumerate() {
            match refused.remove(&at) {
                None => self.state.went_in(row.number, row.hash),
                Some(RefusedLine { faults, lacks, .. }) if lacks.is_empty() => {
                    self.tell(row.line, &faults);
                }
                Some(RefusedLine { faults, .. }) => {
                    self.waiting.push(WaitingRow { faults, ..row });
                }
            }
        }
        self.state.answered_again(&done);
        self.save();
        Ok(())
    }

    /// Sends a parcel, again and again for a while if the daemon does not answer or can't take it. The number of its first row
    /// among all of the import is `first`.
    fn send(&mut self, parcel: &RowParcel, first: u64) -> Result<ParcelDone, ClientError> {
        let state = &self.state;
        let dry_run = self.seen.is_some();
        let set = |set: bool, word: &'static str| if set { word } else { "" };
        let path = format!(
            "{}?import={}&first={}{}{}",
            records_path(&parcel.resource),
            state.import,
            first,
            set(state.subject.upsert, "&upsert"),
            set(dry_run, "&dry_run"),
        );
        let begun = Instant::now();
        let mut unsure = self.unsure;
        let mut told = false;
        loop {
            let again = format!("{path}&again={}", self.state.change);
            let path = if unsure { &again } else { &path };
            let answer = self.client.post(path, &parcel.body);
            let error = match answer.and_then(AdminAnswer::json) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if begun.elapsed() >= patience(&error) {
                if !unsure && !error.is_passing() {
                    // It was refused as a whole.
                    self.state.sent = None;
                }
                return Err(error);
            }
            if !std::mem::replace(&mut told, true) {
                let name = &self.name;
                self.meter.say(format_args!("{name}: waits, since {error}"));
            }
            std::thread::park_timeout(RETRY_PAUSE);
            unsure = !dry_run;
        }
    }

    /// Prints what is wrong with rows that don't wait, in their order.
    fn report(&self, parcel: &RowParcel, done: &ParcelDone, waiting: &BTreeSet<usize>) {
        let refused = done.refused.iter().map(|line| (line.at, &line.faults));
        let refused = refused.filter(|(at, _)| !waiting.contains(at));
        let known = parcel.rows.iter().enumerate();
        let known = known.filter_map(|(at, row)| match &row.fate {
            RowFate::Wrong(faults) => Some((at, faults)),
            RowFate::Sent { .. } | RowFate::LeftOut | RowFate::IsIn => None,
        });
        let mut all: Vec<_> = refused.chain(known).collect();
        all.sort();
        for (at, faults) in all {
            let line = parcel.rows.get(at).map_or(0, |row| row.line);
            self.tell(line, faults);
        }
    }

    fn tell(&self, line: u64, faults: &[String]) {
        let faults = faults.join("; ");
        self.meter
            .say(format_args!("{}:{line}: {faults}", self.name));
    }

    fn save(&mut self) {
        if let Some(path) = &self.state_file
            && let Err(error) = self.state.save(path)
        {
            let path = path.display();
            say(format_args!(
                "perennial: can't write {path}: {error}; if this import is cut, it can't go on where it was"
            ));
            self.state_file = None;
        }
    }
}

/// Whether a parcel that may have been taken already leaves open whether the next one was.
fn is_unsure_after(done: &ParcelDone) -> bool {
    done.before > 0 || done.created + done.replaced == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_that_was_new_tells_that_all_later_ones_are() {
        let done = |created, before| ParcelDone {
            created,
            before,
            ..ParcelDone::default()
        };
        assert!(is_unsure_after(&done(0, 5)));
        assert!(is_unsure_after(&done(3, 5)), "it was taken in part");
        assert!(is_unsure_after(&done(0, 0)), "all of it was refused");
        assert!(!is_unsure_after(&done(5, 0)));
    }
}
