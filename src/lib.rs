//! Perennial: a web site and a durable JSON API that heal themselves.

pub mod file_cache;
pub mod record;
pub mod settings;
pub mod storage;
pub mod supervision;
pub mod telemetry;
