//! `perennial journal`: the changes that a store has.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use super::{Exit, LoadOrSay as _, check, say};
use crate::settings::SettingsSource;
use crate::storage::{PrintError, journal_begins, print_journal};

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
    let printed = printed.and_then(|()| {
        out.flush()?;
        from.map_or(Ok(true), |from| has_change(&data, from))
    });
    match printed {
        Ok(true) => Exit::Ok,
        Ok(false) => Exit::Failed,
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

/// Whether the journal has this change or begins before it; says so if not.
fn has_change(data: &Path, from: u64) -> Result<bool, PrintError> {
    let first = journal_begins(data)?;
    let has = from.max(1) >= first;
    if !has {
        let last = first - 1;
        say(format_args!(
            "perennial: the journal begins with change {first}: what was asked for up to change {last} is not kept any more; an archive or a backup may have it"
        ));
    }
    Ok(has)
}
