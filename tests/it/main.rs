//! The daemon from outside: the real binary, real sockets, a folder of its own for each test.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, drills print, and time outside the daemon is the real one"
)]

mod admin;
mod check;
mod client;
mod daemon;
mod drills;
mod faults;
mod library;
mod limits;
mod load;
mod resources;
mod shutdown;
mod start_failures;
mod static_pages;
mod strategies;
