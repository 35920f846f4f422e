#![doc = include_str!("ARCHITECTURE.md")]
#![doc = include_str!("DECISIONS.md")]

mod admin;
mod api;
mod app;
mod backup;
mod certificates;
#[doc(hidden)]
pub mod cli;
mod descriptors;
mod file_cache;
mod incidents;
mod listener;
mod memory_file;
mod misread;
mod num;
mod percent;
mod places;
mod plain_file;
mod record;
mod request_handler;
pub mod settings;
mod storage;
pub mod supervision;
mod telemetry;
mod tokens;
mod wire;

pub use app::{Bound, BuildError, Ended, Phase, SocketError, Stop, System, run};
