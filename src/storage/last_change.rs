//! The number of the last change on the disk, for those who wait for another one.

use tokio::sync::watch;

/// The last change on the disk, which can be waited for. An engine sends its number whenever it is another one, and once more
/// when the store was opened again.
#[derive(Debug)]
pub(crate) struct LastChange(watch::Receiver<u64>);

impl LastChange {
    /// The last change whose number is sent here.
    pub(crate) fn of(numbers: &watch::Sender<u64>) -> Self {
        Self(numbers.subscribe())
    }

    /// Waits until a number is sent, and returns it. `None` if the store is gone.
    pub(crate) async fn next(&mut self) -> Option<u64> {
        self.0.changed().await.ok()?;
        Some(self.now())
    }

    /// Its number.
    pub(crate) fn now(&mut self) -> u64 {
        *self.0.borrow_and_update()
    }
}
