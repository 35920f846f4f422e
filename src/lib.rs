#![doc = include_str!("ARCHITECTURE.md")]

pub mod admin;
pub mod app;
pub mod cli;
pub mod file_cache;
pub mod http;
pub mod listener;
pub mod record;
pub mod request_handler;
pub mod settings;
pub mod storage;
pub mod supervision;
pub mod telemetry;

pub use app::{System, run};
