//! The daemon's process: the only place that ends it.

use std::process::ExitCode;

// Decision: The allocator is jemalloc.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Its threads give unused memory back to the system after ten seconds, whether something is allocated then or not. Without
    // them, memory is given back later.
    let _started = tikv_jemalloc_ctl::background_thread::write(true);
    // A variable that is not UTF-8 is kept: if it is one of the settings, it must be refused and not be ignored.
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let env = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    ExitCode::from(perennial::cli::run(std::env::args_os(), env.collect()).code())
}
