//! The command line: a file for each command, or for a few that belong together (`orders`, `history`, `transfer`).

mod admin_client;
mod asking;
mod backup;
mod call;
mod check;
mod explain;
mod healthcheck;
mod history;
mod journal;
mod key;
mod orders;
mod probe;
mod reload;
mod restore;
mod salvage;
mod scans;
mod serve;
mod status;
mod transfer;
mod types;
mod user;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::app::with_causes;
use crate::settings::{AdminListen, CheckedFolders, LoadError, LoadedSettings, SettingsSource};
use crate::storage::Moment;
use call::CallArgs;
use explain::ExplainArgs;
use history::{HistoryArgs, RevertArgs};
use key::KeyCommand;
use orders::PartArgs;
use probe::ProbeArgs;
use transfer::{ExportArgs, ImportArgs};
use user::UserCommand;

/// The end of a command, as its caller sees it (`sysexits.h` where it has a number).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or stopped on request.
    Ok = 0,
    /// The command could not be carried out.
    Failed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// The data folder can't be used; the text says what to do.
    Data = 65,
    /// An address could not be bound, or nothing answers at it.
    Unavailable = 69,
    /// Children died too often: whoever started the daemon decides.
    GaveUp = 70,
    /// The store is in use, can't be read now or takes no writes: try again.
    TryAgain = 75,
    /// The settings are wrong.
    Config = 78,
}

impl Exit {
    /// The number.
    #[expect(clippy::as_conversions, reason = "it is written as a `u8` above")]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The end of a command that does something else next, if this went well.
    fn and_then(self, next: impl FnOnce() -> Self) -> Self {
        if self == Self::Ok { next() } else { self }
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
    /// Look for faults in the settings and, if asked for, in the data folder, and name all of them
    Check {
        /// The settings, instead of --config
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Read the whole data folder, too: exit code 0 if it is whole, 65 if damaged, 75 if it can't be read now
        #[arg(long)]
        data: bool,
        /// Print what a reload would change in the running daemon, too: exit code 78 if it would be refused
        #[arg(long)]
        against_running: bool,
        #[command(flatten)]
        admin: AdminArg,
    },
    /// Print what a request would get, and why; nothing is changed
    Explain(ExplainArgs),
    /// Print the changes that the store has, a line of JSON for each
    Journal {
        /// The first change to print [default: the oldest that is kept]
        #[arg(long, value_name = "CHANGE")]
        from: Option<u64>,
        /// Only read the whole data folder, as `check --data` does
        #[arg(long, conflicts_with = "from")]
        verify: bool,
    },
    /// Print the earlier contents of a record: from the running daemon, or else from the files of the store
    History(HistoryArgs),
    /// Restore an earlier content of a record in the running daemon
    Revert(RevertArgs),
    /// Make a backup of the store, also while the daemon runs
    Backup {
        /// A new file, - for stdout, or a folder or bucket as backup.to names one
        #[arg(value_name = "TARGET")]
        target: PathBuf,
    },
    /// Make a store from a backup, a data folder or an archive, as it was at a moment
    Restore {
        /// The backup, - for stdin, or the folder or bucket
        #[arg(value_name = "SOURCE")]
        source: PathBuf,
        /// The last change to restore, or a time that has passed, such as 2026-11-29T14:00:00Z: all changes up to it [default: the
        /// end]
        #[arg(long, value_name = "CHANGE|TIME", value_parser = restore::moment)]
        at: Option<Moment>,
        /// The new data folder [default: server.data]
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
    },
    /// Make a store from what can be read of one that is damaged in all its copies: exit code 0 if all that was acknowledged came
    /// out, 65 if something is missing, 75 if a daemon uses it
    Salvage {
        /// Data folders and archives of one store [default: server.data and storage.archive]
        #[arg(value_name = "FOLDER")]
        from: Vec<PathBuf>,
        /// The new data folder
        #[arg(long, value_name = "FOLDER")]
        into: PathBuf,
    },
    /// Write the records of the running daemon to a file
    Export {
        #[command(flatten)]
        args: ExportArgs,
        #[command(flatten)]
        admin: AdminArg,
    },
    /// Bring the records of a file into the running daemon: exit code 0 if all went in, else 65
    Import {
        #[command(flatten)]
        args: ImportArgs,
        #[command(flatten)]
        admin: AdminArg,
    },
    /// Have the running daemon read its settings again, and print what changes: exit code 78 if the settings are refused
    Reload {
        /// Only print what would change
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        admin: AdminArg,
    },
    /// Send the requests of a file at the same time, and print how each ended: exit code 0 if all went well, 69 if none was answered,
    /// 78 if the file is wrong, else 1
    Call(CallArgs),
    /// Send concurrent requests to a server, and print how long they took: exit code 0 if all were answered without an error, 69
    /// if none was answered, else 1
    Probe(ProbeArgs),
    /// Make keys for clients
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make passwords for users
    #[command(subcommand)]
    User(UserCommand),
    /// Print types of the records of all resources
    Types {
        /// In TypeScript
        #[arg(long, required = true)]
        ts: bool,
    },
    /// Show what runs, as a tree
    Status {
        /// Print the tree as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: AdminArg,
    },
    /// Restart a part of the running daemon, such as writer; its callers wait meanwhile
    Restart(PartArgs),
    /// Stop a part of the running daemon until it is started again
    Stop(PartArgs),
    /// Start a part of the running daemon that is stopped
    Start(PartArgs),
    /// Ask the running daemon whether it is ready: exit code 0 if so, else 1
    Healthcheck {
        #[command(flatten)]
        admin: AdminArg,
    },
}

/// The address of the running daemon.
#[derive(Debug, clap::Args)]
struct AdminArg {
    /// The admin address of the daemon, HOST:PORT or unix:PATH, instead of the one in the settings
    #[arg(long, value_name = "ADDRESS", value_parser = asked_address)]
    admin: Option<String>,
}

/// The path of a unix socket, or an address as curl takes it, without what a URL has around it.
fn asked_address(text: &str) -> Result<String, &'static str> {
    if text
        .strip_prefix("unix:")
        .is_some_and(|path| !path.is_empty())
    {
        return Ok(text.to_owned());
    }
    let address = text.strip_prefix("http://").unwrap_or(text);
    let address = address.trim_end_matches('/');
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && matches!(port.parse::<u16>(), Ok(1..)) => {
            Ok(address.to_owned())
        }
        Some(_) | None => {
            Err("write HOST:PORT, such as localhost:3001 or [::1]:3001, or unix:PATH")
        }
    }
}

/// Runs the command line `args` in the environment `env`.
pub fn run(args: impl Iterator<Item = std::ffi::OsString>, env: BTreeMap<String, String>) -> Exit {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(text) => {
            let usage = text.use_stderr();
            return match text.print() {
                _ if usage => Exit::Usage,
                Ok(()) => Exit::Ok,
                Err(error) => unwritten(&error),
            };
        }
    };
    let command = args.command.unwrap_or(Command::Serve);
    let is_healthcheck = matches!(command, Command::Healthcheck { .. });
    let exit = command.run(args.config, env);
    // A health check ends with 0 or 1 only, whatever is wrong.
    if is_healthcheck && exit != Exit::Ok {
        return Exit::Failed;
    }
    exit
}

impl Command {
    fn run(self, config: Option<PathBuf>, env: BTreeMap<String, String>) -> Exit {
        let source = |config| SettingsSource::find(config, env);
        match self {
            Self::Serve => serve::run(source(config)),
            Self::Check { file: Some(_), .. } if config.is_some() => {
                say("perennial: name one settings file: either --config FILE or check FILE");
                Exit::Usage
            }
            Self::Check {
                file,
                data,
                against_running,
                admin,
            } => {
                let running = (against_running || admin.admin.is_some()).then_some(admin);
                source(file.or(config)).with_file(CheckedFolders::All, |loaded, source| {
                    check::run(&loaded, source, data, running)
                })
            }
            Self::Explain(args) => args.run(source(config)),
            Self::Journal { from, verify } => journal::run(&source(config), from, verify),
            Self::History(args) => args.run(source(config)),
            Self::Revert(args) => args.run(source(config)),
            Self::Backup { target } => backup::run(&source(config), &target),
            Self::Restore {
                source: from,
                at,
                into,
            } => {
                let at = at.unwrap_or(Moment::Latest);
                restore::run(&source(config), &from, at, into)
            }
            Self::Salvage { from, into } => salvage::run(&source(config), from, &into),
            Self::Export { args, admin } => admin.ask(source(config), |address| args.run(address)),
            Self::Import { args, admin } => admin.ask(source(config), |address| args.run(address)),
            Self::Reload { dry_run, admin } => {
                let named = config.is_some() || admin.admin.is_none();
                let source = source(config);
                let file = source.file().filter(|_| named);
                let is_read = admin.admin.is_none();
                let exit = admin.ask(source, |address| {
                    reload::run(address, dry_run, file.as_deref())
                });
                if is_read && exit == Exit::Unavailable {
                    say(
                        "if a daemon runs and server.admin is another one than before, write --admin with the one before, where it listens until it is reloaded",
                    );
                }
                exit
            }
            Self::Call(args) => args.run(),
            Self::Key(command) => command.run(),
            Self::User(command) => command.run(),
            Self::Probe(args) => args.run(),
            Self::Types { ts: _ } => source(config).with_file(CheckedFolders::None, |loaded, _| {
                types::run(&loaded.settings)
            }),
            Self::Status { json, admin } => {
                admin.ask(source(config), |address| status::run(address, json))
            }
            Self::Restart(args) => args.order(source(config), "restart"),
            Self::Stop(args) => args.order(source(config), "stop"),
            Self::Start(args) => args.order(source(config), "start"),
            Self::Healthcheck { admin } => admin.ask(source(config), healthcheck::run),
        }
    }
}

impl AdminArg {
    /// Asks the daemon at the address that is given, or else at that of the settings.
    fn ask(self, source: SettingsSource, ask: impl FnOnce(&str) -> Exit) -> Exit {
        if let Some(address) = self.admin {
            return ask(&address);
        }
        match source.admin() {
            Ok(admin) => ask(&reachable(admin).to_string()),
            Err(error) => {
                say(error);
                say(
                    "no daemon was asked: server.admin can't be read from the settings; mend them, or write --admin ADDRESS",
                );
                Exit::Config
            }
        }
    }
}

/// Settings that a command needs.
trait LoadOrSay: Sized {
    /// Loads the settings and carries out what needs them, or prints what is wrong with them.
    fn with(self, checked: CheckedFolders, run: impl FnOnce(LoadedSettings, Self) -> Exit) -> Exit;

    /// The same for a command whose output nobody could tell from that of other settings: it says if there is no file.
    fn with_file(
        self,
        checked: CheckedFolders,
        run: impl FnOnce(LoadedSettings, Self) -> Exit,
    ) -> Exit;

    /// The data folder, whatever else is wrong with the settings. Prints what is wrong if it can't be read from them.
    fn data_or_say(&self) -> Result<PathBuf, Exit>;
}

/// Prints what is wrong with the settings, which ends the command.
fn config_fault(error: &LoadError) -> Exit {
    say(error);
    Exit::Config
}

impl LoadOrSay for SettingsSource {
    fn with(self, checked: CheckedFolders, run: impl FnOnce(LoadedSettings, Self) -> Exit) -> Exit {
        match self.load(checked) {
            Ok(loaded) => run(loaded, self),
            Err(error) => config_fault(&error),
        }
    }

    fn with_file(
        self,
        checked: CheckedFolders,
        run: impl FnOnce(LoadedSettings, Self) -> Exit,
    ) -> Exit {
        if let Some(hint) = self.no_file() {
            say(hint);
        }
        self.with(checked, run)
    }

    fn data_or_say(&self) -> Result<PathBuf, Exit> {
        self.data().map_err(|error| config_fault(&error))
    }
}

/// Prints a line to stderr; nothing if that is closed.
fn say(text: impl std::fmt::Display) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Prints an error with its causes, which ends the command with `exit`.
fn complain(error: &(dyn std::error::Error + 'static), exit: Exit) -> Exit {
    say(format_args!("perennial: {}", with_causes(error)));
    exit
}

/// Prints the answer of a command. A stdout that is closed or full makes the command fail, and never panic.
fn print(text: &str) -> Exit {
    let mut stdout = std::io::stdout();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Ok(()) => Exit::Ok,
        Err(error) => unwritten(&error),
    }
}

fn unwritten(error: &std::io::Error) -> Exit {
    // Whoever closes a pipe early, such as `head`, has read what it wants.
    if error.kind() != std::io::ErrorKind::BrokenPipe {
        say(format_args!("perennial: cannot write to stdout: {error}"));
    }
    Exit::Failed
}

/// The address by which this machine reaches the admin listener.
fn reachable(mut admin: AdminListen) -> AdminListen {
    if let AdminListen::Tcp(address) = &mut admin {
        match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
    }
    admin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_this_machine() {
        for (written, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("127.0.0.2:3", "127.0.0.2:3"),
            ("unix:/run/admin.sock", "unix:/run/admin.sock"),
        ] {
            let admin = written.parse().unwrap();
            assert_eq!(reachable(admin).to_string(), asked);
        }
    }
}
