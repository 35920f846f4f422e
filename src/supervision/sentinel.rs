//! The sentinel: a plain OS thread that looks whether the root supervisor still answers.
//!
//! It is no actor, so nothing that blocks an actor blocks it. It asks every [`BEAT`]; whoever wants to know whether the
//! process is alive compares the two stamps of the [`Pulse`] with the time. At each beat, and once at the end, it also calls
//! whoever has something to say from outside the tree, such as a watchdog.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Clock;
use super::root::Stopper;

/// How often the sentinel asks.
pub const BEAT: Duration = Duration::from_millis(100);

/// When the sentinel and the supervisor were last known to live.
#[derive(Debug)]
pub struct Pulse {
    base: Instant,
    clock: Clock,
    sentinel_ms: AtomicU64,
    supervisor_ms: AtomicU64,
}

impl Pulse {
    /// Everything lives now.
    pub fn new(clock: Clock) -> Arc<Self> {
        let (sentinel_ms, supervisor_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self {
            base: clock.now(),
            clock,
            sentinel_ms,
            supervisor_ms,
        })
    }

    fn now_ms(&self) -> u64 {
        let since = self.clock.now().saturating_duration_since(self.base);
        crate::num::as_millis(since)
    }

    pub(crate) fn supervisor_ticked(&self) {
        self.supervisor_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn sentinel_ticked(&self) {
        self.sentinel_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// For how long nothing has been heard of the slower of the two.
    pub fn silence(&self) -> Duration {
        let heard = |at: &AtomicU64| at.load(Ordering::Relaxed);
        let last = heard(&self.sentinel_ms).min(heard(&self.supervisor_ms));
        Duration::from_millis(self.now_ms().saturating_sub(last))
    }
}

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
