//! The command line: one file per command.

mod admin_client;
mod check;
mod serve;
mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::settings::{self, LoadError, Settings};

/// How a command ended, as its caller sees it (`sysexits.h` where it has a number).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or stopped on request.
    Ok,
    /// The command could not be carried out.
    Failed,
    /// The command line is wrong.
    Usage,
    /// The data folder can't be used; the text says what to do.
    Data,
    /// An address could not be bound, or there is nobody at it.
    Unavailable,
    /// Too much died: whoever started the daemon decides.
    GaveUp,
    /// The settings are wrong.
    Config,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::GaveUp => 70,
            Self::Config => 78,
        }
    }
}

#[derive(Debug, Parser)]
#[command(name = "perennial", version, about, arg_required_else_help = false)]
struct Args {
    /// The settings [default: `$PERENNIAL_CONFIG`, config/perennial.toml, /etc/perennial/perennial.toml]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop (the default)
    Serve,
    /// Look for faults in the settings, and name all of them
    Check,
    /// Show what runs, as a tree
    Status,
}

/// Runs the command line `args` in the environment `env`.
pub fn run(args: impl Iterator<Item = std::ffi::OsString>, env: &BTreeMap<String, String>) -> Exit {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(text) => {
            let usage = text.use_stderr();
            // Without a terminal to write to there is nobody to tell.
            drop(text.print());
            return if usage { Exit::Usage } else { Exit::Ok };
        }
    };
    let path = settings::find(args.config, env, std::path::Path::is_file);
    let settings = match settings::load(path.as_deref(), env) {
        Ok(settings) => settings,
        Err(error) => return refuse(&error),
    };
    let path = path.map_or_else(
        || "built-in defaults".to_owned(),
        |p| p.display().to_string(),
    );
    match args.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(settings, &path),
        Command::Check => check::run(&settings, &path),
        Command::Status => status::run(&settings),
    }
}

#[expect(clippy::print_stderr, reason = "the command line speaks to people")]
fn refuse(error: &LoadError) -> Exit {
    eprintln!("{error}");
    Exit::Config
}

/// Prints an error with its causes, once.
#[expect(clippy::print_stderr, reason = "the command line speaks to people")]
fn complain(error: &dyn std::error::Error) {
    let mut text = format!("perennial: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str("\n  because ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    eprintln!("{text}");
}

/// Where the admin listener of a running daemon with these settings is.
fn admin_address(settings: &Settings) -> std::net::SocketAddr {
    settings.server.admin
}
