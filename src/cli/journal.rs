//! `perennial journal`: the changes that a store has, and whether its journal and its snapshots are whole.

use std::io::{self, BufWriter, Write as _};

use super::{Exit, say};
use crate::settings::LoadedSettings;
use crate::storage::{PrintError, print_journal};

pub(super) fn run(loaded: &LoadedSettings, from: Option<u64>, verify: bool) -> Exit {
    let data = &loaded.settings.server.data;
    let printed = if verify {
        print_journal(data, from, &mut io::sink())
    } else {
        let mut out = BufWriter::new(io::stdout().lock());
        print_journal(data, from, &mut out).and_then(|seen| {
            out.flush()?;
            Ok(seen)
        })
    };
    match printed {
        Ok((first, last)) if verify && last < first => {
            super::print("the journal and its snapshots are whole; it has no changes\n")
        }
        Ok((first, last)) if verify => super::print(&format!(
            "the journal and its snapshots are whole: changes {first} to {last}\n"
        )),
        Ok(_) => Exit::Ok,
        Err(PrintError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error @ PrintError::Journal(_)) => {
            say(format_args!("perennial: {error}"));
            say(format_args!(
                "the daemon makes it again from its other copy when it runs; keep a copy of the folder"
            ));
            Exit::Data
        }
        Err(error) => {
            say(format_args!("perennial: {error}"));
            Exit::Failed
        }
    }
}
