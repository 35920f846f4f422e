//! The file cache: files of the configured folders, kept in memory, looked at again before they grow old.
//!
//! Two ways lead through it. The **hot way** ([`Files::hit`]) reads a published, immutable table: no lock, no message, no
//! allocation. The **slow way** ([`Files::load`]) asks the file-cache child, the only one that touches the disk and the
//! only one that publishes a new table. The table outlives the child: while the child grows back, hits go on.
//!
//! Order of reading: [`containment`] (which paths are let through, and why), `folder` (how they are opened), `reading`
//! (no torn file), `entry`, `table`, `budget`, `freshness` (pure), `cache` (the child), `handle` (what the edge holds).
//!
//! This room knows no HTTP status: it answers with [`Loaded`] and [`FileError`].

mod budget;
mod cache;
mod cache_rules;
pub(crate) mod containment;
mod content_type;
mod entry;
mod figures;
mod file_error;
mod fingerprint;
mod folder;
mod freshness;
mod handle;
mod large;
mod loader;
mod message;
mod published;
mod reading;
mod root;
mod stamp;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod traversal;

pub(crate) use cache_rules::CacheRules;
pub(crate) use containment::Refusal;
pub(crate) use entry::Entry;
pub(crate) use file_error::FileError;
pub(crate) use handle::Files;
pub(crate) use large::Large;
pub(crate) use message::Loaded;
pub(crate) use root::{Root, RootId};
