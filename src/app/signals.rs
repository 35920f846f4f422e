//! Signals: TERM, INT and QUIT stop the daemon; the program around it decides what HUP and USR1 do.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Stop;
use crate::telemetry::{LogControl, Reopen};

/// The answer to a signal that comes while the daemon stops.
const ALREADY: &str = "already stopping; requests in flight may take until server.drain has passed. SIGKILL ends the \
    process at once, and loses no write that was answered";

/// What the program around the daemon does at the signals that do not stop it.
pub(crate) trait OnSignal: Send + 'static {
    /// SIGHUP: the settings may have changed.
    fn hangup(&mut self);
    /// SIGUSR1: the log files may have been moved away. The daemon itself opens its access log again.
    fn user1(&mut self);
    /// The program's log, whose counters are exposed with the daemon's own metrics.
    fn log(&self) -> Option<LogControl>;
}

/// A program without a settings file and without log files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unattended;

impl OnSignal for Unattended {
    fn hangup(&mut self) {
        tracing::info!("SIGHUP: there is no file to read again");
    }

    fn user1(&mut self) {
        tracing::info!("SIGUSR1: the program has no files to open again");
    }

    fn log(&self) -> Option<LogControl> {
        None
    }
}

/// Signals that are caught from now on, and acted on once [`Signals::watch`] runs.
#[derive(Debug)]
pub(crate) struct Signals {
    runtime: tokio::runtime::Runtime,
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
    usr1: Signal,
}

impl Signals {
    /// Catches the signals, so that none of them kills the process while it starts.
    pub(crate) fn catch() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let entered = runtime.enter();
        let term = signal(SignalKind::terminate())?;
        let int = signal(SignalKind::interrupt())?;
        let quit = signal(SignalKind::quit())?;
        let hup = signal(SignalKind::hangup())?;
        let usr1 = signal(SignalKind::user_defined1())?;
        drop(entered);
        Ok(Self {
            runtime,
            term,
            int,
            quit,
            hup,
            usr1,
        })
    }

    /// Acts on them, on a thread that ends with the process.
    pub(crate) fn watch(
        self,
        stop: Stop,
        access_log: Option<Reopen>,
        mut on_signal: impl OnSignal,
    ) -> io::Result<()> {
        let Self {
            runtime,
            mut term,
            mut int,
            mut quit,
            mut hup,
            mut usr1,
        } = self;
        let watch = async move {
            loop {
                let signal = tokio::select! {
                    _ = term.recv() => "SIGTERM",
                    _ = int.recv() => "SIGINT",
                    _ = quit.recv() => "SIGQUIT",
                    _ = hup.recv() => {
                        on_signal.hangup();
                        continue;
                    }
                    _ = usr1.recv() => {
                        access_log.iter().for_each(Reopen::ask);
                        on_signal.user1();
                        continue;
                    }
                };
                if stop.stop() {
                    tracing::info!("{signal}: stopping");
                } else {
                    tracing::info!("{signal}: {ALREADY}");
                }
            }
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(watch))
            .map(drop)
    }
}
