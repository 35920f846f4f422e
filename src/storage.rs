//! The record store: records of declared resources, kept durably.
//!
//! Order of reading: [`store`] (the interface, the same for every engine), [`plan`] (how a query is answered), [`journal`] (the
//! changes on the disk), [`history`] (what a record was), [`feed`] (the changes in order), [`fit`] (whether settings and stored records fit together), then
//! [`sled`](self::sled), the one engine there is, whose head has an order of reading of its own. [`backup`] makes copies of a
//! store and stores from copies, [`salvage`] a store from what is left of one.

mod backup;
mod feed;
mod fit;
mod history;
mod journal;
mod list_page;
mod plan;
mod progress;
mod salvage;
mod sled;
mod store;
mod unserved;

pub(crate) use self::backup::{
    BackupError, BackupPlan, Manifest, Moment, moment_text, restore_backup, restore_folder,
    verify_backup,
};
#[cfg(test)]
pub(crate) use self::sled::TestProgress;
use self::sled::{ANSWERS, DataFolder, NoView, SalvagedView, ViewEntry, is_trusted};
pub(crate) use self::sled::{
    DataCheck, FolderFault, LastChange, PreparedResources, PrintError, ProposedResources,
    ViewCheck, check_data, data_fit, print_journal, read_past, spare_bytes, storage, store_in,
};
pub(crate) use feed::{ChangesPage, FeedChange, FeedKind, FeedStep, Following, RecentChanges};
pub(crate) use fit::{DataFinding, Resources};
pub(crate) use history::RecordHistory;
pub(crate) use journal::JournalFiles;
pub(crate) use list_page::{ListPage, QueryCost};
pub(crate) use plan::{IndexPart, IndexSet, Plan, PlanCost, PlanFacts, unknown_size};
pub(crate) use progress::{BackupTask, ReadCounter, TaskProgress, Untold};
pub(crate) use salvage::{SalvageError, Salvaged, salvage};
pub(crate) use store::{
    BATCH_COMMANDS_MAX, BatchWritten, Change, ChangeSource, Changes, CollectionId, OldestMoment,
    Refusal, ResourcesFault, ScanLimit, Store, StoreError, StoreReply, Write, WriteBatch, Written,
    unix_ms,
};
use store::{CHANGES_MAX, ChangeKind};
pub(crate) use unserved::Unserved;
