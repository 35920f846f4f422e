//! Probes of folders, few at a time, so that requests for files do not wait behind them. Of folders that are the same on the disk
//! one is looked at.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

use super::root_io::RootIo;
use super::roots::{RootFault, RootHandle};

/// Probes at a time, those left out that are slow.
const AT_A_TIME: usize = 4;
/// A probe that takes longer than this waits for its disk, and gives its place to the next one.
const SLOW: Duration = Duration::from_millis(50);

/// Looks whether these folders can be read, within a time limit, those left out that somebody else uses. A folder that is in use
/// already may well be ill: that is no reason against a new generation, and its requests and `/readyz` tell of it.
pub(crate) async fn probe_new<'a>(roots: impl Iterator<Item = &'a RootHandle>) -> Vec<RootFault> {
    let new: Vec<&RootHandle> = roots.filter(|root| root.is_the_only_one()).collect();
    probe_all(new.iter().map(|root| Arc::clone(&root.0))).await;
    new.into_iter().filter_map(RootHandle::fault).collect()
}

/// Looks whether these folders answer, and judges them by that.
pub(super) async fn probe_all(roots: impl Iterator<Item = Arc<RootIo>>) {
    let mut on_disk: HashMap<_, Vec<Arc<RootIo>>> = HashMap::new();
    for root in roots {
        root.postpone_probe();
        on_disk.entry(root.probed_place()).or_default().push(root);
    }
    let places = Semaphore::new(AT_A_TIME);
    join_all(on_disk.values().map(|same| probe(&places, same))).await;
}

/// Probes one of folders that are the same on the disk.
async fn probe(places: &Semaphore, same: &[Arc<RootIo>]) {
    let mut place = places.acquire().await.ok();
    for root in same {
        let mut probe = pin!(root.probe());
        let condition = if let Ok(condition) = timeout(SLOW, &mut probe).await {
            condition
        } else {
            drop(place.take());
            probe.await
        };
        // If nothing was found out, all probes of this one are stuck, and another may tell.
        if let Some(condition) = condition {
            let others = same.iter().filter(|other| *other != root);
            return others.for_each(|other| other.probed(condition));
        }
    }
}
