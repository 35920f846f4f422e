//! Signals: TERM, INT and QUIT stop the daemon, HUP reads the settings again, and USR1 opens the log files again.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Stop;
use crate::admin::ReloadOrder;
use crate::supervision::ChildRef;
use crate::telemetry::{LogControl, OUTCOME, Reopen};

/// The answer to a signal that comes while the daemon stops.
const ALREADY: &str = "already stopping; requests in flight may take until server.drain has passed. SIGKILL ends the \
    process at once, and loses no write that was answered";

/// The parts that signals have something to do.
#[derive(Debug)]
pub(crate) struct OnSignal {
    pub(crate) stop: Stop,
    /// Reads the settings again, if they can be.
    pub(crate) reloader: Option<ChildRef<ReloadOrder>>,
    pub(crate) access_log: Reopen,
    /// The log of the program, if the daemon is one of its own.
    pub(crate) log: Option<LogControl>,
}

impl OnSignal {
    /// SIGHUP: the settings may have changed. The child logs the outcome.
    fn hangup(&self) {
        let order = |reloader: &ChildRef<ReloadOrder>| reloader.tell(ReloadOrder::apply());
        match self.reloader.as_ref().map(order) {
            Some(Ok(())) => tracing::info!(name: OUTCOME, "SIGHUP: the settings are read again"),
            Some(Err(refused)) => tracing::error!(
                name: OUTCOME,
                "SIGHUP: the settings are not read again: {:?}",
                refused.reason
            ),
            None => tracing::info!(name: OUTCOME, "SIGHUP: there is no file to read again"),
        }
    }

    /// SIGUSR1: the log files may have been moved away.
    fn user1(&self) {
        self.access_log.ask();
        if self.log.as_ref().is_some_and(LogControl::reopen) {
            tracing::info!("SIGUSR1: log files are opened again");
        } else {
            tracing::info!("SIGUSR1: there is no log file to open again");
        }
    }
}

/// The signals that must never end the process, with their names. They are caught before the settings are read.
const FIRST: [(&str, SignalKind); 2] = [
    ("SIGHUP", SignalKind::hangup()),
    ("SIGUSR1", SignalKind::user_defined1()),
];
/// The signals that end the process. Until they are caught, they end it at once, also if a folder does not answer that is looked
/// at.
const ENDING: [(&str, SignalKind); 3] = [
    ("SIGTERM", SignalKind::terminate()),
    ("SIGINT", SignalKind::interrupt()),
    ("SIGQUIT", SignalKind::quit()),
];

/// Signals that are caught from now on, and acted on once [`Signals::watch`] runs.
#[derive(Debug)]
pub(crate) struct Signals {
    runtime: tokio::runtime::Runtime,
    caught: Vec<(&'static str, Signal)>,
}

impl Signals {
    /// Catches the signals that must never end the process.
    pub(crate) fn catch_first() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let caught = Vec::new();
        Self { runtime, caught }.and(&FIRST)
    }

    /// Catches the others, too, so that none of them kills the process while it starts.
    pub(crate) fn catch_all(self) -> io::Result<Self> {
        self.and(&ENDING)
    }

    fn and(mut self, more: &[(&'static str, SignalKind)]) -> io::Result<Self> {
        let entered = self.runtime.enter();
        for (name, kind) in more {
            self.caught.push((name, signal(*kind)?));
        }
        drop(entered);
        Ok(self)
    }

    /// Acts on them, on a thread that ends with the process.
    pub(crate) fn watch(self, on_signal: OnSignal) -> io::Result<()> {
        let mut caught = self.caught;
        let watch = async move {
            loop {
                match next(&mut caught).await {
                    "SIGHUP" => on_signal.hangup(),
                    "SIGUSR1" => on_signal.user1(),
                    name if on_signal.stop.stop() => tracing::info!("{name}: stopping"),
                    name => tracing::info!("{name}: {ALREADY}"),
                }
            }
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || self.runtime.block_on(watch))
            .map(drop)
    }
}

/// The name of the next signal that arrives.
async fn next(caught: &mut [(&'static str, Signal)]) -> &'static str {
    poll_fn(|cx| {
        let mut arrived = caught
            .iter_mut()
            .filter_map(|(name, signal)| signal.poll_recv(cx).is_ready().then_some(*name));
        arrived.next().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
