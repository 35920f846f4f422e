#![doc = include_str!("ARCHITECTURE.md")]

mod admin;
mod app;
#[doc(hidden)]
pub mod cli;
mod file_cache;
mod http;
mod listener;
mod num;
pub mod record;
mod request_handler;
pub mod settings;
mod storage;
pub mod supervision;
mod telemetry;

pub use app::{Bound, BuildError, Ended, Phase, Stop, System, run};
