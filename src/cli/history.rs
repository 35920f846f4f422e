//! `perennial history` and `perennial revert`: what a record was, and the way back.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::admin_client::{self, ClientError};
use super::{AdminArg, Exit, complain, config_fault, print, reachable, say};
use crate::record::HistoryQuery;
use crate::settings::{IdScheme, SettingsSource};
use crate::storage::{PrintError, read_past};

/// A record, as the command line names it.
#[derive(Debug, Clone)]
pub(super) struct RecordName {
    resource: String,
    id: String,
}

impl FromStr for RecordName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim_start_matches('/').split_once('/') {
            Some((resource, id)) if !resource.is_empty() && !id.is_empty() => Ok(Self {
                resource: resource.to_owned(),
                id: id.to_owned(),
            }),
            Some(_) | None => {
                Err("write the name of its resource, a slash and its id, such as books/17")
            }
        }
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.resource, self.id)
    }
}

impl RecordName {
    /// Its path on the admin listener.
    fn path(&self, query: &str) -> String {
        let [resource, id] =
            [&self.resource, &self.id].map(|name| utf8_percent_encode(name, NON_ALPHANUMERIC));
        format!("/history/{resource}/{id}?{query}")
    }
}

/// `perennial history`
#[derive(Debug, clap::Args)]
pub(super) struct HistoryArgs {
    /// The record, such as books/17: the name of its resource and its id
    #[arg(value_name = "RESOURCE/ID")]
    record: RecordName,
    /// The most changes to print, 100 at most
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Print only changes before this one
    #[arg(long, value_name = "CHANGE")]
    before: Option<u64>,
    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArg,
}

impl HistoryArgs {
    /// Asks the running daemon; if none runs with these settings, the files are read.
    pub(super) fn run(self, source: SettingsSource) -> Exit {
        let before = self.before.map(|before| format!("&_before={before}"));
        let query = format!("_limit={}{}", self.limit, before.unwrap_or_default());
        let ask = |address: &str| admin_client::get(address, &self.record.path(&query));
        if let Some(address) = &self.admin.admin {
            return match ask(address) {
                Ok(history) => self.show(&history),
                Err(error) => complain(&error, error.exit()),
            };
        }
        let asked = source
            .admin()
            .map(|admin| ask(&reachable(admin).to_string()));
        match asked {
            Ok(Ok(history)) => self.show(&history),
            Ok(Err(ClientError::Unreachable(..))) => self.read(&source, &query),
            Ok(Err(error)) => complain(&error, error.exit()),
            Err(error) => config_fault(&error),
        }
    }

    /// Reads the files of the store. The settings say where they are and of which kind the ids are, whatever else is wrong with
    /// them.
    fn read(&self, source: &SettingsSource, query: &str) -> Exit {
        let RecordName { resource, id } = &self.record;
        let read = source
            .data()
            .and_then(|data| Ok((data, source.ids(resource)?)));
        let (data, ids) = match read {
            Ok(read) => read,
            Err(error) => return config_fault(&error),
        };
        let ids = ids.unwrap_or(IdScheme::Sequence);
        let id = match ids.parse(id) {
            Ok(id) => id,
            Err(error) => return complain(&error, Exit::Failed),
        };
        let query = match HistoryQuery::parse(query) {
            Ok(query) => query,
            Err(error) => return complain(&error, Exit::Failed),
        };
        match read_past(&data, resource, &id, query) {
            Ok(history) => self.show(&history.json()),
            Err(error) => complain(&error, exit_of_files(&error)),
        }
    }

    fn show(&self, history: &[u8]) -> Exit {
        if self.json {
            return print_json(history);
        }
        let history: PrintedHistory = match serde_json::from_slice(history) {
            Ok(history) => history,
            Err(error) => return complain(&error, Exit::Failed),
        };
        if let Some(cut_off) = history.cut_off {
            say(cut_off);
        }
        let Some(last) = history.changes.last() else {
            say(format_args!("no change of {} is known", self.record));
            return Exit::Failed;
        };
        if history.more {
            let change = last.change;
            say(format_args!("there are older changes: --before {change}"));
        }
        print(&text(&history.changes))
    }
}

/// The answer of the daemon, as far as it is printed.
#[derive(serde::Deserialize)]
struct PrintedHistory {
    changes: Vec<PrintedChange>,
    more: bool,
    cut_off: Option<String>,
}

/// A change in it; a deletion has no record.
#[derive(serde::Deserialize)]
struct PrintedChange {
    change: u64,
    at: String,
    #[serde(default)]
    by: Option<String>,
    record: Option<Value>,
}

/// Prints a JSON text with a line for each member.
fn print_json(text: &[u8]) -> Exit {
    match serde_json::from_slice::<Value>(text) {
        Ok(value) => print(&format!("{value:#}\n")),
        Err(error) => complain(&error, Exit::Failed),
    }
}

/// The changes with a line each.
fn text(changes: &[PrintedChange]) -> String {
    let mut out = String::new();
    for PrintedChange {
        change,
        at,
        by,
        record,
    } in changes
    {
        let by = by.as_ref().map_or(String::new(), |by| format!("{by}  "));
        // Writing into a String does not fail.
        let _infallible = match record {
            Some(record) => writeln!(out, "{change}  {at}  {by}{record}"),
            None => writeln!(out, "{change}  {at}  {by}deleted"),
        };
    }
    out
}

/// `perennial revert`
#[derive(Debug, clap::Args)]
pub(super) struct RevertArgs {
    /// The record, such as books/17: the name of its resource and its id
    #[arg(value_name = "RESOURCE/ID")]
    record: RecordName,
    /// The change after which the record was as it should be again, as `perennial history` prints it
    #[arg(long, value_name = "CHANGE")]
    to: u64,
    /// Print the record as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArg,
}

impl RevertArgs {
    pub(super) fn run(self, source: SettingsSource) -> Exit {
        let Self {
            record,
            to,
            json,
            admin,
        } = self;
        admin.ask(source, |address| {
            let path = record.path(&format!("to={to}"));
            let answer = match admin_client::post(address, &path) {
                Ok(answer) => answer,
                Err(error) => return complain(&error, error.exit()),
            };
            if json {
                return print_json(&answer);
            }
            match serde_json::from_slice(&answer) {
                Ok(RevertDone { change }) => print(&format!(
                    "{record} is again as it was after change {to}; that was change {change}\n"
                )),
                Err(error) => complain(&error, Exit::Failed),
            }
        })
    }
}

/// The answer of the daemon to a revert, as far as it is printed.
#[derive(serde::Deserialize)]
struct RevertDone {
    change: u64,
}

fn exit_of_files(error: &PrintError) -> Exit {
    if error.is_damage() {
        Exit::Data
    } else {
        Exit::Failed
    }
}
