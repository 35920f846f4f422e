//! Reads what can be read of a view of which a part is damaged. sled writes into what it opens, so it is given a copy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::checked::{self, Checked, STORE_KEY};
use super::data_folder::copy_all;
use super::engine::{Engine, EngineError, Keyspace};
use super::opener::SledOpener;
use super::snapshots;
use super::value;
use crate::num::as_u64;
use crate::storage::CollectionId;
use crate::storage::journal::{JournalChange, StoreId};
use crate::supervision::contain;

/// The cache of the engine: each record is read twice at most.
const CACHE_BYTES: u64 = 16 << 20;

/// A record of a view.
pub(in crate::storage) enum ViewEntry {
    /// The change that made it what it is, or one that says which number the resource gives next.
    Whole(JournalChange),
    /// It is not what was written.
    Damaged { collection: String, key: Vec<u8> },
}

/// The reason why a view can't be read.
pub(in crate::storage) enum NoView {
    /// There is no room for the copy.
    Full(io::Error),
    /// The view can't be read, for this reason.
    Unreadable(String),
}

/// A copy of a view, removed with this value.
pub(in crate::storage) struct SalvagedView {
    engine: Option<Box<dyn Engine>>,
    figures: Option<Checked>,
    copy: PathBuf,
}

impl SalvagedView {
    /// Copies the view in the folder `view` to `copy`, and opens the copy. The error says why that can't be done.
    pub(in crate::storage) fn open(
        view: &Path,
        copy: PathBuf,
        store: StoreId,
    ) -> Result<Self, NoView> {
        let mut copied = Self {
            engine: None,
            figures: None,
            copy,
        };
        copy_all(view, &copied.copy).map_err(|error| {
            if error.kind() == io::ErrorKind::StorageFull {
                NoView::Full(error)
            } else {
                NoView::Unreadable(format!("it can't be copied: {error}"))
            }
        })?;
        let opener = SledOpener::new(copied.copy.clone(), CACHE_BYTES);
        let engine = opener.open_damaged().map_err(|fault| {
            if fault.is_full() {
                NoView::Full(io::Error::new(
                    io::ErrorKind::StorageFull,
                    fault.to_string(),
                ))
            } else {
                NoView::Unreadable(fault.to_string())
            }
        })?;
        let of = contain(|| engine.get(Keyspace::Meta, STORE_KEY));
        if let Ok(Ok(Some(of))) = of
            && of.as_ref() != store.0.to_be_bytes()
        {
            return Err(NoView::Unreadable("it is another store's".to_owned()));
        }
        // sled panics on some damage.
        if let Ok(Ok(figures)) = contain(|| checked::read(&*engine, store)) {
            copied.figures = figures;
        }
        copied.engine = Some(engine);
        Ok(copied)
    }

    /// The last change that it has, if that can be read.
    pub(in crate::storage) fn last(&self) -> Option<u64> {
        self.figures.as_ref().map(|figures| figures.last_seq)
    }

    /// Shows its records to `visit`. Returns what could not be read, nothing if all of it was.
    pub(in crate::storage) fn read<E>(
        &self,
        visit: &mut impl FnMut(ViewEntry) -> Result<(), E>,
    ) -> Result<Vec<String>, E> {
        let (Some(engine), mut faults) = (self.engine.as_deref(), Vec::new()) else {
            return Ok(Vec::new());
        };
        for (index, name) in engine.collections().iter().enumerate() {
            let collection = CollectionId(index);
            let mut read = Reading {
                engine,
                collection,
                name,
                count: 0,
                visit,
                stopped: Ok(()),
            };
            let fault = read.all();
            let count = read.count;
            read.stopped?;
            let counted = self.figures.as_ref();
            let counted = counted.and_then(|figures| figures.tallies.get(index));
            match (fault, counted.map(|tally| tally.records)) {
                (Some(fault), _) => faults.push(format!("{name}: {fault}")),
                (None, Some(counted)) if counted != count => {
                    faults.push(format!(
                        "{name}: it counts {counted} records, and has {count}"
                    ));
                }
                (None, None) => faults.push("its figures can't be read".to_owned()),
                (None, Some(_)) => {}
            }
            if let Ok(Ok(Some(numbers))) = contain(|| snapshots::numbers(engine, collection)) {
                visit(ViewEntry::Whole(numbers))?;
            }
        }
        Ok(faults)
    }
}

impl Drop for SalvagedView {
    fn drop(&mut self) {
        // sled may panic when it is closed, too.
        let engine = self.engine.take();
        drop(contain(|| drop(engine)));
        drop(fs::remove_dir_all(&self.copy));
    }
}

/// A reading of the records of one resource.
struct Reading<'a, V, E> {
    engine: &'a dyn Engine,
    collection: CollectionId,
    name: &'a str,
    count: u64,
    visit: &'a mut V,
    /// The error that ended it.
    stopped: Result<(), E>,
}

impl<E, V: FnMut(ViewEntry) -> Result<(), E>> Reading<'_, V, E> {
    /// Shows all records; from both ends, if a part between them can't be read. Returns why not all can be read.
    fn all(&mut self) -> Option<String> {
        let (engine, records) = (self.engine, Keyspace::Records(self.collection));
        let mut last = None;
        let forward = contain(|| {
            engine.scan(records, &[], &mut |key, value| {
                last = Some(key.to_vec());
                self.show(key, value)
            })
        });
        let fault = fault_of(forward)?;
        let backward = contain(|| {
            engine.scan_back(records, &[0xff; 64], &mut |key, value| {
                let is_new = last.as_deref().is_none_or(|last| key > last);
                is_new && self.show(key, value)
            })
        });
        drop(backward);
        Some(fault)
    }

    fn show(&mut self, key: &[u8], value: &[u8]) -> bool {
        let value = Bytes::copy_from_slice(value);
        let read = contain(|| value::whole(self.engine, None, self.collection, key, value));
        let entry = if let Ok(Ok(record)) = read {
            ViewEntry::Whole(snapshots::change(self.name, key.to_vec(), record))
        } else {
            let collection = self.name.to_owned();
            let key = key.to_vec();
            ViewEntry::Damaged { collection, key }
        };
        self.count += as_u64(usize::from(matches!(entry, ViewEntry::Whole(_))));
        self.stopped = (self.visit)(entry);
        self.stopped.is_ok()
    }
}

fn fault_of<P: std::fmt::Display>(read: Result<Result<(), EngineError>, P>) -> Option<String> {
    match read {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(panic.to_string()),
    }
}
