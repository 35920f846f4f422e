//! The daemon from outside: the real binary, real sockets, a folder of its own for each test.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::string_slice,
    clippy::too_many_lines,
    reason = "a test fails by panicking, drills print, time outside the daemon is the real one, and tables are long"
)]

mod access_log;
mod admin;
mod check;
mod client;
mod daemon;
mod damage;
mod dialect;
mod disk;
mod disk_full;
mod drills;
mod faults;
mod fuzz;
mod library;
mod limits;
mod linear;
mod load;
mod model;
mod noise;
mod powercut;
mod resources;
mod routes;
mod service;
mod shutdown;
mod signals;
mod sockets;
mod start_failures;
mod static_pages;
mod strategies;
mod wide;
