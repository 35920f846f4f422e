//! `perennial journal`: the changes that a store has, and whether its journal and its snapshots are whole.

use std::io::{self, BufWriter, Write as _};

use super::{Exit, say};
use crate::settings::LoadedSettings;
use crate::storage::{PrintError, print_journal, verify_journal};

pub(super) fn run(loaded: &LoadedSettings, from: Option<u64>, verify: bool) -> Exit {
    let data = &loaded.settings.server.data;
    let done = if verify {
        verify_journal(data).map(Some)
    } else {
        let mut out = BufWriter::new(io::stdout().lock());
        let printed = print_journal(data, from, &mut out);
        printed.and_then(|()| Ok(out.flush().map(|()| None)?))
    };
    match done {
        Ok(None) => Exit::Ok,
        Ok(Some(last)) => super::print(&format!(
            "the journal and its snapshots are whole, up to change {last}\n"
        )),
        Err(PrintError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) if error.is_damage() => {
            say(format_args!("perennial: {error}"));
            say(format_args!(
                "keep a copy of the folder; the daemon makes it again from the view when it runs, if that has all changes"
            ));
            Exit::Data
        }
        Err(error) => {
            say(format_args!("perennial: {error}"));
            Exit::Failed
        }
    }
}
