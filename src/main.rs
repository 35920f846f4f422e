//! The daemon's process: the only place that ends it.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A variable that is not UTF-8 is kept: if it is one of the settings, it must be refused and not be ignored.
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let env = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    ExitCode::from(perennial::cli::run(std::env::args_os(), env.collect()).code())
}
