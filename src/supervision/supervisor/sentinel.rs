//! The sentinel: a plain OS thread that checks whether the root supervisor still answers.
//!
//! It is no actor, so it goes on when an actor blocks. It asks every [`BEAT`] and writes down in the [`Pulse`] that it did;
//! the supervisor answers by writing there too. Whoever wants to know whether the process is alive reads
//! [`Pulse::silence`]. At each beat, and once at the end, the sentinel also calls a function of the program, for example to
//! tell a watchdog.

// Decision: The sentinel does not detect hung children.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

use super::whole_tree::Stopper;

/// The time between two checks of the sentinel.
pub const BEAT: Duration = Duration::from_millis(100);

/// Called at each beat, and once at the end, with the [silence](Pulse::silence).
pub type OnBeat = Box<dyn FnMut(Duration) + Send>;

/// The running sentinel. Dropping it ends the thread.
pub struct Sentinel {
    /// Dropped to end the thread.
    stop: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Sentinel {
    /// Starts the thread. `tree` is the tree whose root supervisor it asks, and `pulse` the one the tree was prepared with.
    pub fn start(tree: Stopper, pulse: Arc<Pulse>, mut on_beat: OnBeat) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("sentinel".to_owned())
            .spawn(move || {
                while tree.tick() {
                    pulse.sentinel_ticked();
                    on_beat(pulse.silence());
                    if stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Disconnected) {
                        break;
                    }
                }
                on_beat(pulse.silence());
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // If `on_beat` panicked, there is nobody left to tell.
            drop(thread.join());
        }
    }
}

/// The times at which the sentinel and the root supervisor last showed that they are alive.
#[derive(Debug)]
pub struct Pulse {
    base: Instant,
    sentinel_ms: AtomicU64,
    supervisor_ms: AtomicU64,
}

impl Pulse {
    /// A pulse that counts both as alive now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            sentinel_ms: AtomicU64::new(0),
            supervisor_ms: AtomicU64::new(0),
        })
    }

    fn now_ms(&self) -> u64 {
        crate::num::as_millis(self.base.elapsed())
    }

    pub(crate) fn supervisor_ticked(&self) {
        self.supervisor_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn sentinel_ticked(&self) {
        self.sentinel_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// The time since the slower of the two last showed that it is alive.
    pub fn silence(&self) -> Duration {
        let sentinel = self.sentinel_ms.load(Ordering::Relaxed);
        let supervisor = self.supervisor_ms.load(Ordering::Relaxed);
        let last = sentinel.min(supervisor);
        Duration::from_millis(self.now_ms().saturating_sub(last))
    }
}
