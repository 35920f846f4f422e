//! The record store: records of declared resources, kept durably.
//!
//! Order of reading: [`store`] (the interface, the same for every engine) with [`writes`], [`store_error`], [`proposal`]
//! (resources on their way to be declared) and [`last_change`], [`plan`] (how a query is answered), [`journal`] (the changes on
//! the disk), [`history`] (what a record was), [`feed`] (the changes in order), [`fit`] (whether settings and stored records fit
//! together), then [`sled`](self::sled), the one engine there is, whose head has an order of reading of its own. Of this room
//! only this file names the engine. [`backup`] makes copies of a store and stores from copies, [`salvage`] a store from what is
//! left of one.

mod backup;
mod feed;
mod fit;
mod found;
mod history;
mod journal;
mod last_change;
mod list_page;
mod plan;
mod progress;
mod proposal;
mod salvage;
mod sled;
mod store;
mod store_error;
#[cfg(test)]
mod tests;
mod unserved;
mod writes;

pub(crate) use self::backup::{
    BackupError, BackupPlan, Manifest, Moment, moment_text, no_store, restore_backup,
    restore_folder, verify_backup,
};
pub(crate) use self::sled::{
    DataCheck, FolderFault, PrintError, ViewCheck, check_data, data_fit, journal_begins,
    print_journal, read_past, spare_bytes, storage, store_in,
};
use self::sled::{
    DataFolder, NoView, SalvagedView, ViewEntry, identify, is_trusted, own_marks_of_copy,
};
pub(crate) use feed::{ChangesPage, FeedChange, FeedKind, FeedStep, Following, RecentChanges};
use fit::ANSWERS;
pub(crate) use fit::{DataFinding, Resources};
pub(crate) use found::{FoundBatch, FoundIds};
pub(crate) use history::RecordHistory;
pub(crate) use journal::JournalFiles;
pub(crate) use last_change::LastChange;
pub(crate) use list_page::{ListPage, QueryCost};
pub(crate) use plan::{IndexPart, IndexSet, Plan, PlanCost, PlanFacts, unknown_size};
pub(crate) use progress::{BackupTask, ReadCounter, TaskProgress, Untold};
pub(crate) use proposal::{PreparedResources, ProposedResources};
pub(crate) use salvage::{SalvageError, Salvaged, salvage};
use store::{CHANGES_MAX, ChangeKind};
pub(crate) use store::{
    Change, ChangeSource, Changes, CollectionId, OldestMoment, Refusal, Store, StoreReply, unix_ms,
};
pub(crate) use store_error::{ResourcesFault, ScanLimit, StoreError};
pub(crate) use unserved::Unserved;
pub(crate) use writes::{BATCH_COMMANDS_MAX, BatchWritten, Write, WriteBatch, Written};
