//! `perennial journal`: the changes that a store has.

use std::io::{self, BufWriter, Write as _};

use super::{Exit, LoadOrSay as _, check, say};
use crate::settings::SettingsSource;
use crate::storage::{PrintError, print_journal};

pub(super) fn run(source: &SettingsSource, from: Option<u64>, verify: bool) -> Exit {
    if verify {
        return check::data(source);
    }
    let data = match source.data_or_say() {
        Ok(data) => data,
        Err(exit) => return exit,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = print_journal(&data, from, &mut out);
    match printed.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => Exit::Ok,
        Err(PrintError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            say(format_args!("perennial: {error}"));
            if error.is_damage() {
                Exit::Data
            } else {
                Exit::Failed
            }
        }
    }
}
