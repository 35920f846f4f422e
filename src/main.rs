//! The daemon's process: the only place that ends it.

use std::process::ExitCode;

use tikv_jemalloc_ctl::{Access as _, AsName as _};

// Decision: The allocator is jemalloc.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The time after which unused memory goes back to the system.
const DECAY_MILLISECONDS: isize = 1000;

fn main() -> ExitCode {
    // Its threads give unused memory back to the system within a second, whether something is allocated then or not. Where that
    // can't be set, memory is given back later.
    for time in ["arenas.dirty_decay_ms\0", "arena.0.dirty_decay_ms\0"] {
        let _set = time.name().write(DECAY_MILLISECONDS);
    }
    let _started = tikv_jemalloc_ctl::background_thread::write(true);
    // A variable that is not UTF-8 is kept: if it is one of the settings, it must be refused and not be ignored.
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let env = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    ExitCode::from(perennial::cli::run(std::env::args_os(), env.collect()).code())
}
