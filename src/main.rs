//! The daemon's process: the only place that ends it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let env = std::env::vars_os().filter_map(|(name, value)| {
        // Variables that are not UTF-8 are not settings.
        Some((name.into_string().ok()?, value.into_string().ok()?))
    });
    ExitCode::from(perennial::cli::run(std::env::args_os(), env.collect()).code())
}
