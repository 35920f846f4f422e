//! The file cache: files of the configured folders, kept in memory and compared with their files again and again.
//!
//! A request for a file is answered in one of two ways. The **hot way** ([`Files::hit`]) reads the published, immutable table of its folder:
//! no lock, no message, no allocation. The **slow way** ([`Files::load`]) asks the file-cache child, which has the file looked
//! at by a thread of its root. The child alone publishes new tables. They outlive the child: while the child restarts,
//! hits go on. A folder that does not answer delays only requests for its files.
//!
//! Order of reading: [`containment`] (which paths are let through, and why), `folder` (how they are opened), `loader` (one
//! look at a file; `listing` of a folder), `health` (whether a folder answers; pure), `root_io` (blocking calls), `probing` (few at a time), `roots` (folders come and
//! go), `entry`, `table`, `budget`, `cache`
//! (the child), `handle` (what the request handlers hold). Encoded contents: `encodings` (those of one file), `siblings` (files that
//! were compressed by their owner), `compressor`, `making` (the part of the child that makes them).
//!
//! HTTP statuses are not known here: the answers are [`Loaded`] and [`FileError`].

mod budget;
mod cache;
mod cache_rules;
mod compressor;
pub(crate) mod containment;
mod content_type;
mod encodings;
mod entry;
mod file_error;
mod fingerprint;
mod folder;
mod glance;
mod handle;
mod health;
mod large;
mod limits;
mod listing;
mod loader;
mod making;
mod message;
mod metrics;
mod probing;
mod published;
mod representation;
mod root;
mod root_io;
mod roots;
mod siblings;
mod stamp;
mod table;
mod waiting;

pub(crate) use cache_rules::{CacheRules, Patterns};
pub(crate) use compressor::compress_quickly;
pub(crate) use containment::PathRefusal;
pub(crate) use content_type::ContentTypes;
pub(crate) use encodings::CodingState;
pub(crate) use entry::Entry;
pub(crate) use file_error::FileError;
pub(crate) use fingerprint::of_content as content_tag;
pub(crate) use glance::{ContentPlace, EncodedPlace, Glance, glance, roots_alone};
pub(crate) use handle::Files;
pub(crate) use large::{Download, Large};
pub(crate) use listing::{ListedFile, ListedKind, Listing};
pub(crate) use message::Loaded;
pub(crate) use probing::probe_new;
pub(crate) use representation::Representation;
pub(crate) use root::SiteRoot;
pub(crate) use root_io::CallThreads;
pub(crate) use roots::{RootFault, RootHandle};

#[cfg(test)]
mod tests;
