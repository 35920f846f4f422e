//! Lets the reloading child wait on its own thread.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use crate::admin::NotReloaded;

/// The time between two looks whether what is waited for is still wanted.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// Waits on this thread, which is the child's own.
pub(super) fn wait_for<F: Future>(future: F) -> Result<F::Output, NotReloaded> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build();
    let runtime = runtime.map_err(NotReloaded::unusable)?;
    Ok(runtime.block_on(future))
}

/// Runs a future as long as it is `wanted`, which is checked now and then.
pub(super) fn wait_while<F: Future>(
    wanted: impl Fn() -> Result<(), NotReloaded>,
    future: F,
) -> Result<F::Output, NotReloaded> {
    wait_for(async {
        let mut future = pin!(future);
        loop {
            if let Ok(done) = timeout(LOOK, &mut future).await {
                return Ok(done);
            }
            wanted()?;
        }
    })?
}
