//! The sentinel: a plain OS thread that checks whether the root supervisor still answers.
//!
//! It is no actor, so it goes on when an actor blocks. It asks every [`BEAT`] and writes down in the [`Pulse`] that it did;
//! the supervisor answers by writing there too. Whoever wants to know whether the process is alive reads
//! [`Pulse::silence`]. At each beat, and once at the end, the sentinel also calls a function of the program, for example to
//! tell a watchdog.

// Decision: The sentinel does not detect hung children.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::pulse::Pulse;
use super::running_tree::Stopper;

/// The time between two checks of the sentinel.
pub const BEAT: Duration = Duration::from_millis(100);

/// Called at each beat, and once at the end, with the [silence](Pulse::silence).
pub type OnBeat = Box<dyn FnMut(Duration) + Send>;

/// The running sentinel. Dropping it ends the thread.
pub struct Sentinel {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Sentinel {
    /// Starts the thread. `tree` is the tree whose root supervisor it asks, and `pulse` the one the tree was prepared with.
    pub fn start(tree: Stopper, pulse: Arc<Pulse>, mut on_beat: OnBeat) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let watch = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("sentinel".to_owned())
            .spawn(move || {
                let (stop, woken) = &*watch;
                let mut stopped = stop.lock();
                while !*stopped && tree.tick() {
                    pulse.sentinel_ticked();
                    on_beat(pulse.silence());
                    woken.wait_for(&mut stopped, BEAT);
                }
                drop(stopped);
                on_beat(pulse.silence());
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // If `on_beat` panicked, there is nobody left to tell.
            drop(thread.join());
        }
    }
}
