//! Panics outside of every child are logged like everything else, so that no thread waits for a stuck stderr.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::time::Duration;

use super::logs::LogControl;
use crate::supervision::{payload_text, short_path};

/// The longest time that a thread that panics waits for its message to be written, in case the process dies of it.
const WAIT: Duration = Duration::from_millis(200);

/// Logs every panic from now on; `$RUST_BACKTRACE` adds a backtrace.
pub(crate) fn log_panics(log: LogControl) {
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let backtrace = Backtrace::capture();
        let told = told(info);
        if backtrace.status() == BacktraceStatus::Captured {
            tracing::error!(thread, "{told}\n{backtrace}");
        } else {
            tracing::error!(thread, "{told}");
        }
        log.flush(WAIT);
    }));
}

fn told(info: &PanicHookInfo<'_>) -> String {
    let text = payload_text(info.payload());
    match info.location() {
        Some(at) => {
            let file = short_path(at.file());
            format!("panicked at {file}:{}: {text}", at.line())
        }
        None => format!("panicked: {text}"),
    }
}
