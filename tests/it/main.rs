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
mod static_pages;
