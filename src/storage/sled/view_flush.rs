//! Hands what was applied to the view over to the kernel from time to time: sled keeps the last changes in the memory of the
//! process, and if that is killed, the journal would be their only copy.

use std::sync::Arc;
use std::time::Duration;

use super::holder::Holder;

/// The time from one look to the next. A change is written one or two looks after it was answered.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks after the view as long as the store is used, on a thread of its own.
pub(super) fn in_background(holder: &Arc<Holder>) {
    let holder = Arc::clone(holder);
    let flush = move || {
        let mut last = 0;
        // A group that was on its way into the view at the first look is there at the next.
        let mut once_more = false;
        let mut told = false;
        while holder.wait_look(PERIOD) {
            let durable = holder.readers.progress().borrow().durable;
            let changed = durable != last;
            if !changed && !once_more {
                continue;
            }
            match holder.look(|open| open.engine.flush()) {
                Some(Ok(())) => (last, once_more, told) = (durable, changed, false),
                Some(Err(error)) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!(%error, "the last changes of the view are in memory only: they could not be written");
                }
                Some(Err(_)) | None => {}
            }
        }
    };
    let thread = std::thread::Builder::new().name("view-flush".to_owned());
    if let Err(error) = thread.spawn(flush) {
        tracing::warn!(%error, "no thread that writes the view: after a kill the journal is the only copy of the last changes");
    }
}
