//! The record store.

mod metrics;
mod sled;

pub(crate) use self::sled::{CollectionId, ListPage, Store, StoreError, Written, storage};
pub(crate) use metrics::StoreMetrics;
