//! Integration tests: each test starts the real binary in a temporary folder and talks to it over real sockets.
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
    reason = "a test fails by panicking, drills print results, tests measure real time, and tables of cases are long"
)]

mod access;
mod access_log;
mod admin;
mod archive;
mod backup;
mod backup_schedule;
mod batches;
mod broken_off;
mod call;
mod chaos;
mod check;
mod client;
mod compressed_lists;
mod cors;
mod crowd;
mod cut_off;
mod daemon;
mod damage;
mod damage_under_load;
mod described;
mod dialect;
mod disk;
mod disk_full;
mod drills;
mod encodings;
mod errors_for_people;
mod exactly_once;
mod explain;
mod faults;
mod faulty_settings;
mod feed;
mod file_faults;
mod fixed_answers;
mod floods;
mod foreign_pages;
mod frames;
mod fuzz;
mod history;
mod identities;
mod ill_disk;
mod incidents;
mod large_files;
mod library;
mod limits;
mod linear;
mod live_children;
mod load;
mod many_routes;
mod model;
mod nginx;
mod old_data;
mod operation;
mod orders;
mod over_http2;
mod owners;
mod pairs;
mod powercut;
mod probe;
mod proxy_header;
#[path = "../../src/record/tests/random_input.rs"]
mod random_input;
mod ranges;
mod rates;
mod redirects;
mod references;
mod released;
mod reload;
mod reload_children;
mod reload_drills;
mod reload_limits;
mod reload_logs;
mod reload_many;
mod reload_narrower;
mod reload_resources;
mod reload_unique;
mod reload_ways;
mod reload_wrong;
mod required;
mod resources;
mod restored;
mod routes;
mod routes_of_hosts;
mod salvage;
mod scans;
mod scrub;
mod service;
mod shutdown;
mod signals;
mod site_options;
mod sockets;
mod spellings;
mod start_failures;
mod static_pages;
mod strategies;
mod streams;
mod stuck_logs;
mod tls;
mod transfer;
mod transfer_ends;
mod unique;
mod unread;
mod varied_traffic;
#[path = "../../src/wire/http1/tests/cases.rs"]
mod wire_cases;
mod wire_corpus;
mod writes;
