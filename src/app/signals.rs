//! Signals, for a program that is the daemon: TERM and INT stop it, HUP and USR1 are taken note of.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Stop;

/// Signals that are caught from now on, and acted on once [`Signals::watch`] runs.
#[derive(Debug)]
pub(crate) struct Signals {
    runtime: tokio::runtime::Runtime,
    term: Signal,
    int: Signal,
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
        let hup = signal(SignalKind::hangup())?;
        let usr1 = signal(SignalKind::user_defined1())?;
        drop(entered);
        Ok(Self {
            runtime,
            term,
            int,
            hup,
            usr1,
        })
    }

    /// Acts on them, on a thread that ends with the process.
    pub(crate) fn watch(self, stop: Stop) -> io::Result<()> {
        let Self {
            runtime,
            mut term,
            mut int,
            mut hup,
            mut usr1,
        } = self;
        let watch = async move {
            loop {
                tokio::select! {
                    _ = term.recv() => {
                        tracing::info!("SIGTERM: stopping");
                        stop.stop();
                    }
                    _ = int.recv() => {
                        tracing::info!("SIGINT: stopping");
                        stop.stop();
                    }
                    _ = hup.recv() => {
                        tracing::warn!("SIGHUP: reloading is not available yet, restart to apply new settings");
                    }
                    _ = usr1.recv() => {
                        tracing::info!("SIGUSR1: log files rotate by themselves, nothing to reopen");
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(watch))
            .map(drop)
    }
}
