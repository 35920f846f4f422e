//! The file cache: files of the configured folders, kept in memory and compared with their files again and again.
//!
//! Two ways lead through it. The **hot way** ([`Files::hit`]) reads a published, immutable table: no lock, no message, no
//! allocation. The **slow way** ([`Files::load`]) asks the file-cache child, which has the file looked at by a thread of
//! its root, and is the only one that publishes a new table. The table outlives the child: while the child restarts, hits
//! go on. A folder that does not answer delays nobody but those who want its files.
//!
//! Order of reading: [`containment`] (which paths are let through, and why), `folder` (how they are opened), `reading`
//! (no torn file), `loader` (one look), `health` (does a folder answer; pure), `root_io` (blocking calls), `entry`,
//! `table`, `budget`, `freshness` (pure), `cache` (the child), `handle` (what the request handlers hold).
//!
//! This room knows no HTTP status: it answers with [`Loaded`] and [`FileError`].

mod budget;
mod cache;
mod cache_counters;
mod cache_rules;
pub(crate) mod containment;
mod content_type;
mod entry;
mod file_error;
mod fingerprint;
mod folder;
mod freshness;
mod handle;
mod health;
mod large;
mod loader;
mod message;
mod metrics;
mod published;
mod reading;
mod representation;
mod root;
mod root_io;
mod stamp;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod traversal;
mod waiting;

pub(crate) use cache_rules::CacheRules;
pub(crate) use containment::PathRefusal;
pub(crate) use content_type::ContentTypes;
pub(crate) use entry::Entry;
pub(crate) use file_error::FileError;
pub(crate) use handle::Files;
pub(crate) use message::Loaded;
pub(crate) use metrics::FileMetrics;
pub(crate) use published::FilesSetup;
pub(crate) use representation::Representation;
pub(crate) use root::{RootId, SiteRoot};
pub(crate) use root_io::CallThreads;
