//! Signals: TERM, INT and QUIT stop the daemon; the program around it decides what HUP and USR1 do.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Stop;
use crate::telemetry::{LogControl, Reopen};

/// The answer to a signal that comes while the daemon stops.
const ALREADY: &str = "already stopping; requests in flight may take until server.drain has passed. SIGKILL ends the \
    process at once, and loses no write that was answered";

/// What the program around the daemon does at the signals that do not stop it. By default it has no files.
pub(crate) trait OnSignal: Send + 'static {
    /// SIGHUP: the settings may have changed.
    fn hangup(&mut self) {
        tracing::info!("SIGHUP: there is no file to read again");
    }

    /// SIGUSR1: the log files may have been moved away. The daemon itself opens its access log again.
    fn user1(&mut self) {
        tracing::info!("SIGUSR1: the program has no files to open again");
    }

    /// The program's log, whose counters are exposed with the daemon's own metrics.
    fn log(&self) -> Option<LogControl> {
        None
    }
}

/// A program without a settings file and without log files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unattended;

impl OnSignal for Unattended {}

/// The signals that are caught, with their names.
const CAUGHT: [(&str, SignalKind); 5] = [
    ("SIGTERM", SignalKind::terminate()),
    ("SIGINT", SignalKind::interrupt()),
    ("SIGQUIT", SignalKind::quit()),
    ("SIGHUP", SignalKind::hangup()),
    ("SIGUSR1", SignalKind::user_defined1()),
];

/// Signals that are caught from now on, and acted on once [`Signals::watch`] runs.
#[derive(Debug)]
pub(crate) struct Signals {
    runtime: tokio::runtime::Runtime,
    caught: Vec<(&'static str, Signal)>,
}

impl Signals {
    /// Catches the signals, so that none of them kills the process while it starts.
    pub(crate) fn catch() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let entered = runtime.enter();
        let caught = CAUGHT.map(|(name, kind)| Ok((name, signal(kind)?)));
        let caught = caught.into_iter().collect::<io::Result<_>>()?;
        drop(entered);
        Ok(Self { runtime, caught })
    }

    /// Acts on them, on a thread that ends with the process.
    pub(crate) fn watch(
        self,
        stop: Stop,
        access_log: Option<Reopen>,
        mut on_signal: impl OnSignal,
    ) -> io::Result<()> {
        let mut caught = self.caught;
        let watch = async move {
            loop {
                match next(&mut caught).await {
                    "SIGHUP" => on_signal.hangup(),
                    "SIGUSR1" => {
                        access_log.iter().for_each(Reopen::ask);
                        on_signal.user1();
                    }
                    name if stop.stop() => tracing::info!("{name}: stopping"),
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
