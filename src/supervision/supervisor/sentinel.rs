//! The sentinel: a plain OS thread that looks whether the root supervisor still answers.
//!
//! It is no actor, so nothing that blocks an actor blocks it. It asks every [`BEAT`]; whoever wants to know whether the
//! process is alive compares the two stamps of the [`Pulse`] with the time. At each beat, and once at the end, it also calls
//! whoever has something to say from outside the tree, such as a watchdog.

// Decision: The sentinel does not detect hung children.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::pulse::Pulse;
use super::root::Stopper;

/// How often the sentinel asks.
pub const BEAT: Duration = Duration::from_millis(100);

/// Is called at each beat, and once at the end, with the time nothing has been heard of the supervisor.
pub type OnBeat = Box<dyn FnMut(Duration) + Send>;

/// The running sentinel; it ends when this is dropped.
#[derive(Debug)]
pub struct Sentinel {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sentinel {
    /// Starts the thread.
    pub fn start(root: Stopper, pulse: Arc<Pulse>, mut on_beat: OnBeat) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let watch = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("sentinel".to_owned())
            .spawn(move || {
                let (stop, woken) = &*watch;
                let mut stopped = stop.lock().unwrap_or_else(PoisonError::into_inner);
                while !*stopped && root.tick() {
                    pulse.sentinel_ticked();
                    on_beat(pulse.silence());
                    let waited = woken.wait_timeout(stopped, BEAT);
                    stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
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
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has no way to panic; and if it had, there is nobody left to tell.
            drop(thread.join());
        }
    }
}
